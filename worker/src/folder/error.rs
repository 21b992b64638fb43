//! Why a worker's folder cannot be used.

use program::file::Unfit;
use std::io;
use std::path::PathBuf;

/// Why a worker's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others could have replaced what is in the folder.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder itself cannot be made, or nothing can be made in it.
    #[error(
        "cannot use the worker's folder {path}: {source}; give one that you may write to with --data DIR, or in the variable STARLING_WORKER_DATA"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process runs on the folder.
    #[error("another worker runs on {0}: stop it first, or give another folder with --data")]
    Locked(PathBuf),
    /// No project was joined.
    #[error(
        "{0} belongs to no project, for it has no project.json: `starling-worker join JOIN_STRING` first"
    )]
    NotJoined(PathBuf),
    /// Another project was joined.
    #[error(
        "{path} belongs to the project at {address}: `starling-worker leave` first, or give another folder with --data"
    )]
    OtherProject {
        /// The folder.
        path: PathBuf,
        /// Of its project.
        address: String,
    },
    /// A file's content is not what it should be.
    #[error("{path} is damaged: it should hold {expected}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// A file that cannot be made again is gone.
    #[error(
        "{0} is gone, and the project knows this worker by it: put it back, or `leave` and `join` as somebody new"
    )]
    Lost(PathBuf),
    /// An account key that is no key.
    #[error(
        "that is no account key: 64 hexadecimal digits, as `starling-worker key export` prints them"
    )]
    NoKey,
    /// The account cannot change while a project is joined.
    #[error(
        "{0} works for a project already: import the account's key before `join`, or `leave` first"
    )]
    Joined(PathBuf),
}
