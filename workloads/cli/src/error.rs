//! What can go wrong, and the exit code that tells it to scripts.

use crate::job_file::Mistake;
use program::error::chain;
use std::io;
use std::path::{Path, PathBuf};

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// In a job file.
    #[error(transparent)]
    Mistake(#[from] Mistake),
    /// In the arguments.
    #[error("{0}")]
    Usage(String),
    /// Nobody, or somebody else, answers.
    #[error(
        "could not reach the coordinator at {address}: {why}\n  is it running (starling-coordinator run), and can this machine reach that address? after a move, log in again with the new join string: starling login JOIN"
    )]
    Unreachable {
        /// Host and port.
        address: String,
        /// What happened, with its causes.
        why: String,
    },
    /// The coordinator said no.
    #[error("the coordinator refused to {doing}: {message}{hint}")]
    Refused {
        /// What was asked.
        doing: String,
        /// Its words.
        message: String,
        /// What to do, when it is known here.
        hint: &'static str,
    },
    /// Content, a receipt or a repeated run is not what it should be.
    #[error("verification failed: {0}")]
    Unverified(String),
    /// The job has ended without a result for each unit.
    #[error("{0}")]
    NotWhole(String),
    /// A file.
    #[error("could not {doing} {path}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The folder for what lives as long as a command.
    #[error(
        "could not create a folder in {path}: name one that you may write to in the variable TMPDIR"
    )]
    NoScratch {
        /// Where it was tried.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The sandbox.
    #[error("could not run a unit here")]
    Execute(#[from] sandbox::Error),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Whoever read the answers has gone, and wants no more.
    #[error("nobody reads the answers any more")]
    Closed,
    /// Standard output does not take an answer, on a full disk for instance.
    #[error("{why}; this is what it did not take:\n{text}")]
    Unwritten {
        /// What happened.
        why: String,
        /// The answer.
        text: String,
    },
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// What the program ends with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::File { .. }
            | Self::NoScratch { .. }
            | Self::Execute(_)
            | Self::Failed(_)
            | Self::Unwritten { .. } => 1,
            Self::Mistake(_) | Self::Usage(_) => 2,
            Self::Unreachable { .. } => 3,
            Self::Refused { .. } => 4,
            Self::Unverified(_) => 5,
            Self::NotWhole(_) => 6,
            Self::Interrupted => 130,
        }
    }

    /// For `map_err`: a file could not be used.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    /// The error and its causes in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// The part of `--help` that scripts need.
pub(crate) const EXIT_CODES: &str = "Exit codes:
    0  done, or nobody reads the answers any more
    1  failed: a file, a local run, an answer that makes no sense or that standard output does not take
    2  wrong arguments, or a mistake in a job file
    3  the coordinator cannot be reached
    4  the coordinator refused: not logged in, not allowed, no such job, over a quota
    5  verification failed: content, a receipt or a repeated run is not what it should be
    6  the job ended without a result for each unit: cancelled, or units failed
  130  interrupted";
