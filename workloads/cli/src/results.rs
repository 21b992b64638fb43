//! A folder of fetched results: `results.jsonl`, one line for each unit in the order in which they were settled, and
//! `outputs/`, the outputs that are too large for a line. `state.json` says how far it is whole.

mod line;

use crate::error::Error;
use crate::profile::write_private;
pub(crate) use line::inside;
pub use line::{Inclusion, Line, Output, Place, SignedReceipt};
use memchr::memmem;
use proto::job::JobSpec;
use proto::{Digest, JobId, ProjectKey, UnitIndex};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Version of the folder's layout: from 2 on a page may end within a record of the coordinator's log, and receipts may be
/// signed together.
const VERSION: u32 = 2;
/// The oldest version that is read, and gone on with.
const VERSION_MIN: u32 = 1;
/// Longest line that is read back, bytes: an inline output and a receipt of many copies are far smaller.
const LINE_BYTES_MAX: u64 = 4 << 20;

/// How far a folder is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// Whose results these are.
    pub job: JobId,
    /// The project that signed the receipts.
    pub project: ProjectKey,
    /// Digest of `spec.json`, the specification as it was submitted.
    pub spec: Digest,
    /// Where the coordinator goes on.
    #[serde(flatten)]
    at: Position,
    /// Results kept.
    pub results: u64,
    /// Bytes of `results.jsonl` that they take; what is beyond was cut short.
    pub bytes: u64,
}

/// How far the results of a job were taken, in the coordinator's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Moves with what is settled together.
    pub cursor: u64,
    /// Units behind it that were taken too.
    #[serde(default)]
    pub offset: u64,
}

impl State {
    /// Where the coordinator goes on.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }
}

/// An open folder of results.
#[derive(Debug)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// How far it is whole.
    pub state: State,
    file: File,
}

impl Folder {
    /// Opens the folder to add results, makes it where there is none, and drops what was written half.
    ///
    /// # Errors
    /// When it holds another job's results, is in use, or cannot be written.
    pub fn open(path: &Path, job: JobId, project: ProjectKey, spec: &[u8]) -> Result<Self, Error> {
        fs::create_dir_all(path.join("outputs")).map_err(Error::file("create", path))?;
        let new = State {
            version: VERSION,
            job,
            project,
            spec: Digest::of(spec),
            at: Position::default(),
            results: 0,
            bytes: 0,
        };
        let results = path.join("results.jsonl");
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&results)
            .map_err(Error::file("open", &results))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Failed(format!(
                    "another fetch is writing to {}: wait, or name another folder with --to",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(Error::file("lock", &results)(error)),
        }
        let kept = if path.join("state.json").exists() { load(path)? } else { new.clone() };
        let state = State { version: VERSION, ..kept };
        if (state.job, state.project, state.spec) != (new.job, new.project, new.spec) {
            let message = format!(
                "{} holds results of another job ({}): name another folder with --to",
                path.display(),
                state.job
            );
            return Err(Error::Usage(message));
        }
        write_private(&path.join("spec.json"), spec)?;
        file.set_len(state.bytes).map_err(Error::file("cut", &results))?;
        file.seek(std::io::SeekFrom::End(0)).map_err(Error::file("read", &results))?;
        let folder = Self { path: path.to_owned(), state, file };
        folder.save()?;
        Ok(folder)
    }

    /// Adds a page of results and makes it durable.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, lines: &[Line], at: Position) -> Result<(), Error> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)
                .map_err(|error| Error::Failed(error.to_string()))?;
            text.push(b'\n');
        }
        let path = self.path.join("results.jsonl");
        self.file
            .write_all(&text)
            .and_then(|()| self.file.sync_data())
            .map_err(Error::file("write", &path))?;
        self.state.at = at;
        self.state.results += lines.len() as u64;
        self.state.bytes += text.len() as u64;
        self.save()
    }

    fn save(&self) -> Result<(), Error> {
        let bytes =
            serde_json::to_vec(&self.state).map_err(|error| Error::Failed(error.to_string()))?;
        write_private(&self.path.join("state.json"), &bytes)
    }
}

/// Where the output of a unit is kept when it is too large for a line, relative to the folder.
#[must_use]
pub fn output_name(unit: UnitIndex) -> String {
    format!("outputs/{unit}")
}

/// How far the folder at `path` is whole.
///
/// # Errors
/// When it is no folder of results.
pub fn load(path: &Path) -> Result<State, Error> {
    let file = path.join("state.json");
    let bytes = fs::read(&file).map_err(Error::file("read", &file))?;
    let state: State = serde_json::from_slice(&bytes).map_err(|error| {
        Error::Failed(format!("{} is damaged ({error}): fetch into a new folder", file.display()))
    })?;
    if !(VERSION_MIN..=VERSION).contains(&state.version) {
        return Err(Error::Failed(format!(
            "{} is of another version of Starling: fetch into a new folder",
            file.display()
        )));
    }
    Ok(state)
}

/// The job's specification as it was submitted, checked against its digest.
///
/// # Errors
/// When it is not what was submitted.
pub fn load_spec(path: &Path, state: &State) -> Result<JobSpec, Error> {
    let file = path.join("spec.json");
    let bytes = fs::read(&file).map_err(Error::file("read", &file))?;
    if Digest::of(&bytes) != state.spec {
        return Err(Error::Unverified(format!(
            "{} is not the specification that was submitted",
            file.display()
        )));
    }
    JobSpec::parse(&bytes)
        .map_err(|invalid| Error::Unverified(format!("{}: {invalid}", file.display())))
}

/// Hands each kept result to `each` that holds: what was withdrawn later, and the notices of that, are left out.
///
/// # Errors
/// When the file cannot be read, a line is none, or `each` fails.
pub fn for_each(
    path: &Path,
    state: &State,
    mut each: impl FnMut(Line) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut withdrawn: HashMap<u64, u64> = HashMap::new();
    for_each_line(path, state, |number, text| {
        // Most lines are none, and reading all of them twice would take twice as long.
        if memmem::find(text, b"\"withdrawn\"").is_some() {
            let line = parsed(path, number, text)?;
            if line.withdrawn.is_some() {
                withdrawn.insert(line.unit, number);
            }
        }
        Ok(())
    })?;
    for_each_line(path, state, |number, text| {
        let line = parsed(path, number, text)?;
        let holds = withdrawn.get(&line.unit).is_none_or(|withdrawn| *withdrawn < number);
        if holds { each(line) } else { Ok(()) }
    })
}

fn parsed(path: &Path, number: u64, text: &[u8]) -> Result<Line, Error> {
    serde_json::from_slice(text).map_err(|error| {
        let file = path.join("results.jsonl");
        Error::Unverified(format!("{}:{number} is no result: {error}", file.display()))
    })
}

/// Hands the text of each line to `each`, with its number.
fn for_each_line(
    path: &Path,
    state: &State,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let file = path.join("results.jsonl");
    let whole = File::open(&file).map_err(Error::file("read", &file))?;
    let mut reader = BufReader::with_capacity(1 << 16, whole.take(state.bytes));
    let (mut text, mut seen) = (Vec::new(), 0);
    loop {
        text.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text);
        if read.map_err(Error::file("read", &file))? == 0 {
            break;
        }
        seen += 1;
        each(seen, &text)?;
    }
    if seen == state.results {
        return Ok(());
    }
    Err(Error::Unverified(format!(
        "{} has {seen} results, {} were fetched",
        file.display(),
        state.results
    )))
}

#[cfg(test)]
mod tests;
