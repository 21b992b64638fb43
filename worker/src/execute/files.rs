//! The files of a unit: its child says what it needs one for, and its parent, which alone knows paths, opens it and hands it
//! over. So a child that a stranger has taken over reaches the files of the units it was given and no others.

use super::snapshot;
use super::unit::{Begin, Unit, Until};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Inputs that are kept open: a kernel that walks over more of them at once has them opened again and again.
const OPEN_MAX: usize = 64;

/// What a child needs of its parent for the unit that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Need {
    /// The compiled kernel, to be read.
    Compiled,
    /// The file of a segment of an input, to be read.
    Input { input: u32, segment: u32 },
    /// The snapshot that an earlier run has left, to be read and appended to.
    Snapshot,
    /// An empty file beside it.
    NewSnapshot,
    /// That the file beside becomes the snapshot.
    Publish,
    /// That the file beside goes.
    Discard,
    /// The state at which the run begins, shown or kept, to be read.
    Begin,
    /// The file of states that are kept, as it is or empty.
    Keep,
    /// An empty file for the state that is to be shown.
    Show,
}

/// Does what is needed for this unit, but for [`Need::Compiled`]; a file where the need is one.
pub(super) fn meet(unit: &Unit, need: Need) -> io::Result<Option<File>> {
    let none = || io::Error::from(io::ErrorKind::NotFound);
    let snapshot = || unit.snapshot.as_ref().map(|plan| plan.path.as_path()).ok_or_else(none);
    let trace = || unit.trace.as_ref().ok_or_else(none);
    let file = match need {
        Need::Compiled => return Err(none()),
        Need::Input { input, segment } => {
            let input = unit.inputs.get(input as usize).ok_or_else(none)?;
            File::open(&input.segments.get(segment as usize).ok_or_else(none)?.path)?
        }
        Need::Snapshot => OpenOptions::new().read(true).write(true).open(snapshot()?)?,
        Need::NewSnapshot => program::file::create_anew(&snapshot::part(snapshot()?))?,
        Need::Publish => {
            let path = snapshot()?;
            fs::rename(snapshot::part(path), path)?;
            program::file::sync_folder_of(path)?;
            return Ok(None);
        }
        Need::Discard => {
            fs::remove_file(snapshot::part(snapshot()?))?;
            return Ok(None);
        }
        Need::Begin => match &trace()?.begin {
            Begin::State { path, .. } | Begin::Kept(path) => File::open(path)?,
            Begin::Start => return Err(none()),
        },
        Need::Keep => {
            let plan = trace()?.keep.as_ref().ok_or_else(none)?;
            program::file::open_private(&plan.path)?
        }
        Need::Show => match &trace()?.until {
            Until::State { to, .. } => program::file::create_anew(to)?,
            Until::End | Until::NextPoint => return Err(none()),
        },
    };
    Ok(Some(file))
}

/// Asks whoever hands out files.
type Ask = dyn Fn(Need) -> io::Result<Option<File>>;

/// Inputs that are open, the last used first.
type Open = VecDeque<(PathBuf, Rc<File>)>;

/// The files of the unit that runs, as its child has them.
#[derive(Clone)]
pub(super) struct Files {
    ask: Rc<Ask>,
    inputs: Rc<RefCell<Open>>,
}

impl Files {
    pub(super) fn new(ask: impl Fn(Need) -> io::Result<Option<File>> + 'static) -> Self {
        Self { ask: Rc::new(ask), inputs: Rc::default() }
    }

    /// A file.
    pub(super) fn open(&self, need: Need) -> io::Result<File> {
        (self.ask)(need)?.ok_or_else(|| io::Error::other("no file came"))
    }

    /// What is done without a file coming of it.
    pub(super) fn tell(&self, need: Need) -> io::Result<()> {
        (self.ask)(need).map(drop)
    }

    /// The file at this path, which is known to be the one that this need names.
    pub(super) fn input(&self, path: &Path, need: Need) -> io::Result<Rc<File>> {
        let mut open = self.inputs.borrow_mut();
        match open.iter().position(|(other, _)| other == path) {
            Some(0) => {}
            Some(index) => open.swap(0, index),
            None => {
                let file = Rc::new(self.open(need)?);
                open.truncate(OPEN_MAX - 1);
                open.push_front((path.to_owned(), file));
            }
        }
        let front = open.front().map(|(_, file)| Rc::clone(file));
        front.ok_or_else(|| io::Error::other("no file was opened"))
    }

    /// Closes the inputs: what the cache of blobs has removed takes room until then.
    pub(super) fn close_inputs(&self) {
        self.inputs.borrow_mut().clear();
    }
}

#[cfg(test)]
impl Files {
    /// Opened by whoever runs the test.
    pub(super) fn of(unit: Unit) -> Self {
        Self::new(move |need| meet(&unit, need))
    }
}

/// A unit of nothing.
#[cfg(test)]
pub(super) fn bare() -> Unit {
    use super::unit::{Kernel, Limits};

    Unit {
        kernel: Kernel {
            path: PathBuf::new(),
            digest: [1; 32],
            nan: kernel::NanMode::Canonical,
            contract: kernel::Contract::NEWEST,
        },
        params: Vec::new(),
        inputs: Vec::new(),
        seed: [0; 32],
        limits: Limits { memory: 1 << 20, fuel: 1_000_000, output: 1 << 20, log: 0 },
        time: std::time::Duration::ZERO,
        snapshot: None,
        exit_codes: vec![0],
        trace: None,
    }
}
