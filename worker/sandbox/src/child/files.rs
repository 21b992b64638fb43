//! The files of the unit that runs, as its child gets them: opened by its parent, which alone knows paths.

use crate::protocol::Need;
#[cfg(test)]
use crate::unit::Unit;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Inputs that are kept open: a kernel that walks over more of them at once has them opened again and again.
const OPEN_MAX: usize = 64;

/// Asks whoever hands out files.
type Ask = dyn Fn(Need) -> io::Result<Option<File>>;

/// Inputs that are open, the last used first.
type Open = VecDeque<(PathBuf, Rc<File>)>;

/// The files of the unit that runs, as its child has them.
#[derive(Clone)]
pub(crate) struct Files {
    ask: Rc<Ask>,
    inputs: Rc<RefCell<Open>>,
}

impl Files {
    pub(crate) fn new(ask: impl Fn(Need) -> io::Result<Option<File>> + 'static) -> Self {
        Self { ask: Rc::new(ask), inputs: Rc::default() }
    }

    /// A file.
    pub(crate) fn open(&self, need: Need) -> io::Result<File> {
        (self.ask)(need)?.ok_or_else(|| io::Error::other("no file came"))
    }

    /// What is done without a file coming of it.
    pub(crate) fn tell(&self, need: Need) -> io::Result<()> {
        (self.ask)(need).map(drop)
    }

    /// The file at this path, which is known to be the one that this need names.
    pub(crate) fn input(&self, path: &Path, need: Need) -> io::Result<Rc<File>> {
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
    pub(crate) fn close_inputs(&self) {
        self.inputs.borrow_mut().clear();
    }
}

#[cfg(test)]
impl Files {
    /// Opened by whoever runs the test.
    pub(crate) fn of(unit: Unit) -> Self {
        Self::new(move |need| crate::parent::files::meet(&unit, need))
    }
}

/// A unit of nothing.
#[cfg(test)]
pub(crate) fn bare() -> Unit {
    use crate::unit::{Kernel, Limits};

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
