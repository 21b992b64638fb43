//! How a worker is run, as its owner has it.

use crate::{machine, network};
use sandbox::Priority;
use std::path::PathBuf;
use std::time::Duration;
use worker_core::custody;

/// How a worker is run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program whose children run units: it calls [`sandbox::child_main`] when its first argument is
    /// [`sandbox::CHILD_VERB`].
    pub program: PathBuf,
    /// Units that run at the same time.
    pub slots: u32,
    /// Memory that they may use together, bytes.
    pub memory_bytes: u64,
    /// Disk for kernels and inputs, bytes.
    pub cache_bytes: u64,
    /// Disk for traces and states on them, bytes.
    pub trace_bytes: u64,
    /// What is left free on the disk, bytes; when absent what suits the disk.
    pub reserve_bytes: Option<u64>,
    /// Computing to hold ahead for each slot.
    pub buffer: Duration,
    /// Time between two snapshots of a unit.
    pub snapshot_interval: Duration,
    /// Whom the slots let go first.
    pub priority: Priority,
    /// Whether nothing is computed where the system lacks the walls that count.
    pub require_walls: bool,
    /// Peers that are given each report of this worker.
    pub held_copies: usize,
    /// Disk for reports held for others, bytes.
    pub held_bytes: u64,
    /// How long a report of somebody else is held before the coordinator is told of it.
    pub held_patience: Duration,
    /// How often the project's log is asked for, unless peers tell of it.
    pub log_every: Duration,
    /// How to take part in the peer network; not at all when absent.
    pub peers: Option<network::Config>,
}

impl Config {
    /// All cores and most of the memory that this process may use, low priority.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            slots: machine::cores(),
            memory_bytes: machine::memory().map_or(2 << 30, |all| all.value / 4 * 3),
            cache_bytes: 10 << 30,
            trace_bytes: 2 << 30,
            reserve_bytes: None,
            buffer: Duration::from_secs(300),
            snapshot_interval: Duration::from_secs(60),
            priority: Priority::Background,
            require_walls: false,
            held_copies: custody::bounds::COPIES,
            held_bytes: custody::bounds::OTHERS_BYTES,
            held_patience: custody::bounds::PATIENCE,
            log_every: Duration::from_secs(300),
            peers: None,
        }
    }
}
