//! What a worker says to the coordinator.

use super::Shown;
use proto::report::Batch;
use proto::trace::SegmentStatement;
use proto::{Digest, LeaseId, UnitIndex};

/// What a worker says to the coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Work is wanted.
    Want {
        /// Most units.
        units: u32,
        /// Worth of computing, summed over the slots, seconds.
        seconds: u64,
        /// Speed of one slot; 0 when not known.
        fuel_per_second: u64,
        /// Most memory of one unit, bytes.
        memory_bytes: u64,
        /// Kernels compiled here.
        kernels: Vec<Digest>,
    },
    /// A batch to be signed.
    Reports(Batch),
    /// These leases go on.
    Heartbeat {
        /// With units whose reports are not acknowledged.
        leases: Vec<LeaseId>,
        /// Whether the owner has paused the worker.
        paused: bool,
        /// Of running units.
        progress: Vec<Progress>,
    },
    /// Units are given back.
    Returns(Vec<Return>),
    /// The answer to a show.
    Shown {
        /// Its number.
        show: u64,
        /// What is shown; why nothing can be, for people.
        shown: Result<Shown, String>,
    },
    /// The answer to a segment, to be signed.
    Segment {
        /// Its number.
        segment: u64,
        /// What was found; why it could not be run, for people.
        found: Result<SegmentStatement, String>,
    },
    /// The stream will end.
    Goodbye {
        /// The worker leaves the project.
        leaving: bool,
    },
}

/// How far a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its lease.
    pub lease: LeaseId,
    /// Which unit.
    pub unit: UnitIndex,
    /// In the kernel's own measure.
    pub done: u64,
    /// In the kernel's own measure; 0 if it does not know.
    pub total: u64,
}

/// A unit given back without a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    /// Its lease.
    pub lease: LeaseId,
    /// Which unit.
    pub unit: UnitIndex,
    /// For people.
    pub reason: String,
    /// Whether it counts as an attempt.
    pub failure: bool,
}
