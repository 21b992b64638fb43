//! The one owner of the core: gathers events, applies them, commits once, then answers. Nothing is said before it is on
//! disk. Everybody else holds a cheap [`Handle`].

mod blobs;
mod driver;
mod handle;
mod reader;
mod sink;

use crate::core::admission::Admission;
use crate::core::saved;
use crate::core::time::Clock;
use crate::store::{self, Store};
use proto::{ProjectKey, WorkerKey};
use std::sync::Arc;

pub use blobs::{Blobs, MemoryBlobs};
pub use driver::Engine;
pub use handle::Handle;
pub use sink::{FromCore, Sink, sink};

/// Free disk space below which nothing more is taken in, bytes: room for a few full commits and for the store's own
/// housekeeping, so that a full disk is met by us, with a message, and never by the store in the middle of a write.
pub const RESERVE_BYTES: u64 = 256 << 20;

/// What an engine works with.
#[derive(Clone)]
pub struct Config {
    /// The project that reports must be for.
    pub project: ProjectKey,
    /// Where records are kept.
    pub store: Arc<dyn Store>,
    /// Where content is kept.
    pub blobs: Arc<dyn Blobs>,
    /// Gives the time.
    pub clock: Arc<dyn Clock>,
    /// Free disk space to leave alone, bytes; see [`RESERVE_BYTES`].
    pub reserve_bytes: u64,
    /// Share of a trusted worker's units that are checked, from 0 to 1.
    pub check_floor: f64,
    /// What accounts must show that are not known yet.
    pub admission: Admission,
    /// Most bytes that are kept for one submitting account.
    pub account_bytes: u64,
    /// The referee that comes with the coordinator, if one does.
    pub referee: Option<WorkerKey>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("project", &self.project)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Why the engine does not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has stopped: on request, or because a commit failed.
    #[error("the coordinator has stopped{}", .0.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    Stopped(Option<String>),
    /// It decides nothing any more: its records are not all that this project has signed.
    #[error("{0}")]
    Halted(String),
    /// The store cannot be read, or what is in it.
    #[error(transparent)]
    Saved(#[from] saved::Error),
    /// Who has put which blob cannot be read.
    #[error("the log of who has put which blob cannot be read")]
    Owners(#[source] std::io::Error),
    /// The system has no thread for it.
    #[error("the engine's thread cannot be started")]
    Thread(#[from] std::io::Error),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Saved(error.into())
    }
}
