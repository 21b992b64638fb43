//! The files that a job names: read once, known by their digests.

use super::{pattern, suggest};
use program::error::chain;
use proto::Digest;
use proto::bounds::{INPUTS_MAX, SPEC_BYTES_MAX};
use proto::job::{Input, JobSpec};
use proto::lines::{Lines, RAW_BYTES_MAX};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Largest module that is looked at, bytes: beyond what any kernel may be.
const KERNEL_BYTES_MAX: u64 = 64 << 20;

/// Bytes of an input in a specification beside its name.
const INPUT_BYTES: usize = 110;
/// Part of a specification that the names of its inputs may take: beyond it they go into a list of their own.
const INPUTS_BYTES_MAX: usize = SPEC_BYTES_MAX / 2;

/// Content that a job needs at the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Of the content.
    pub digest: Digest,
    /// Bytes of the content.
    pub len: u64,
    /// Where it is.
    pub content: Content,
}

/// Where content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In a file.
    File(PathBuf),
    /// Here.
    Bytes(Cow<'static, [u8]>),
}

/// Reads what is asked for, relative to a folder, and keeps account of it.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    blobs: Vec<Blob>,
    known: HashSet<Digest>,
    lines: Option<(String, Lines)>,
    notes: Vec<String>,
}

/// The files of an axis.
#[derive(Debug)]
pub(super) enum Axis {
    /// Few enough to be named in the specification.
    Named(Vec<Input>),
    /// A list of them: its digest, bytes and lines.
    Listed(Digest, u64, u64),
}

type Answer<T> = Result<T, String>;

impl Files {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            blobs: Vec::new(),
            known: HashSet::new(),
            lines: None,
            notes: Vec::new(),
        }
    }

    /// The content, and what people should know of it.
    pub(super) fn into_parts(self) -> (Vec<Blob>, Vec<String>) {
        (self.blobs, self.notes)
    }

    /// Adds something that people should know.
    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Whether a number in the lines is another one as 64-bit integer or double.
    pub(super) fn lines_are_lossy(&self) -> bool {
        self.lines.as_ref().is_some_and(|(_, lines)| lines.lossy().is_some())
    }

    /// Checks that the lines fit the job.
    pub(super) fn check_lines(&self, spec: &JobSpec) -> Answer<()> {
        let Some((name, lines)) = &self.lines else { return Ok(()) };
        lines.check(spec).map_err(|wrong| format!("{name}:{}: {}", wrong.number, wrong.why))
    }

    fn keep(&mut self, digest: Digest, len: u64, content: Content) {
        if self.known.insert(digest) {
            self.blobs.push(Blob { digest, len, content });
        }
    }

    /// A shipped kernel by name, or a module by path; looked into, so that a wrong one is refused here.
    pub(super) fn kernel(&mut self, name: &str) -> Answer<Digest> {
        let (wasm, content) = match shipped::find(name) {
            Some(shipped) => {
                (Cow::Borrowed(shipped.wasm), Content::Bytes(Cow::Borrowed(shipped.wasm)))
            }
            None => {
                let path = self.folder.join(name);
                let wasm =
                    read_kernel(&path).map_err(|error| unknown_kernel(name, &path, &error))?;
                (Cow::Owned(wasm), Content::File(path))
            }
        };
        kernel::inspect(&wasm).map_err(|refusal| {
            format!("\"{name}\" is no admissible kernel: {}", chain(&refusal))
        })?;
        let digest = Digest::of(&wasm);
        self.keep(digest, wasm.len() as u64, content);
        Ok(digest)
    }

    /// A file as an input.
    pub(super) fn input(&mut self, name: &str) -> Answer<Input> {
        let path = self.folder.join(name);
        let (digest, len) = digest(&path)?;
        let name = path
            .file_name()
            .map_or_else(|| name.to_owned(), |name| name.to_string_lossy().into_owned());
        self.keep(digest, len, Content::File(path));
        Ok(Input { name, digest, len })
    }

    /// The files that the patterns name, each pattern's in alphabetical order; `others` inputs are named already.
    pub(super) fn glob(&mut self, patterns: &[String], others: usize) -> Answer<Axis> {
        let found = pattern::expand(&self.folder, patterns)?;
        self.notes.extend(found.notes);
        let mut names: BTreeMap<String, u32> = BTreeMap::new();
        for (name, _) in &found.files {
            *names.entry(last(name).to_owned()).or_default() += 1;
        }
        let mut inputs = Vec::with_capacity(found.files.len());
        for (name, path) in found.files {
            let (digest, len) = digest(&path)?;
            self.keep(digest, len, Content::File(path));
            // Files of one name are told apart by their folders.
            let unique = names.get(last(&name)) == Some(&1);
            let name = if unique { last(&name).to_owned() } else { name };
            inputs.push(Input { name, digest, len });
        }
        let bytes: usize = inputs.iter().map(|input| input.name.len() + INPUT_BYTES).sum();
        if others + inputs.len() <= INPUTS_MAX && bytes <= INPUTS_BYTES_MAX {
            return Ok(Axis::Named(inputs));
        }
        self.list(&inputs)
    }

    /// A list of files, one in each line.
    fn list(&mut self, inputs: &[Input]) -> Answer<Axis> {
        let mut text = Vec::new();
        for input in inputs {
            serde_json::to_writer(&mut text, input).map_err(|error| error.to_string())?;
            text.push(b'\n');
        }
        let (digest, len) = (Digest::of(&text), text.len() as u64);
        self.keep(digest, len, Content::Bytes(Cow::Owned(text)));
        Ok(Axis::Listed(digest, len, inputs.len() as u64))
    }

    /// A file of parameters, one JSON object in each line: its digest, bytes and number of lines.
    pub(super) fn lines(&mut self, name: &str) -> Answer<(Digest, u64, u64)> {
        let path = self.folder.join(name);
        let mut reader =
            BufReader::new(Hashing { inner: open(&path)?, hasher: blake3::Hasher::new() });
        let mut lines = Lines::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(RAW_BYTES_MAX as u64).read_until(b'\n', &mut line);
            if read.map_err(|error| unreadable(&path, &error))? == 0 {
                break;
            }
            lines
                .next_object(&line)
                .map_err(|wrong| format!("{name}:{}: {}", wrong.number, wrong.why))?;
        }
        let hasher = reader.into_inner().hasher;
        let (digest, len) = (Digest(*hasher.finalize().as_bytes()), hasher.count());
        self.keep(digest, len, Content::File(path));
        let count = lines.count();
        self.lines = Some((name.to_owned(), lines));
        Ok((digest, len, count))
    }
}

/// A file whose digest is taken while it is read.
struct Hashing {
    inner: File,
    hasher: blake3::Hasher,
}

impl Read for Hashing {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(into)?;
        self.hasher.update(&into[..count]);
        Ok(count)
    }
}

/// The last part of a path.
fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn read_kernel(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut wasm = Vec::new();
    regular(path)?.take(KERNEL_BYTES_MAX).read_to_end(&mut wasm)?;
    Ok(wasm)
}

fn unknown_kernel(name: &str, path: &Path, error: &std::io::Error) -> String {
    let names: Vec<&str> = shipped::ALL.iter().map(|shipped| shipped.name).collect();
    let hint = suggest(name, &names);
    format!(
        "{} cannot be read ({error}), and no shipped kernel is called \"{name}\"{hint}",
        path.display()
    )
}

fn open(path: &Path) -> Answer<File> {
    regular(path).map_err(|error| unreadable(path, &error))
}

/// Opens a file that can be read again and again: opening a pipe may wait for ever.
fn regular(path: &Path) -> std::io::Result<File> {
    match pattern::kind(&std::fs::metadata(path)?) {
        None => File::open(path),
        Some(kind) => Err(std::io::Error::other(format!("it is {kind}, and a file is needed"))),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

/// Digest and length of a file.
fn digest(path: &Path) -> Answer<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(open(path)?).map_err(|error| unreadable(path, &error))?;
    Ok((Digest(*hasher.finalize().as_bytes()), hasher.count()))
}
