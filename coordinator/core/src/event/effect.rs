//! What has to be said and done because of an event.

use super::Session;
use proto::job::{Extra, Outline};
use proto::trace::Point;
use proto::{Digest, JobId, LeaseId, UnitIndex};
use std::sync::Arc;

/// What the core says to a worker, after the commit.
#[derive(Clone, Debug)]
pub enum ToWorker {
    /// Sent once per stream before the first lease of a job, with its specification, which whoever sends it reads.
    Job {
        /// Which.
        job: JobId,
    },
    /// Units are lent.
    Lease(Lease),
    /// Leases are over, whatever became of their units.
    Cancel {
        /// Which.
        leases: Vec<LeaseId>,
        /// For people.
        reason: String,
    },
    /// There is nothing (more) to lease.
    Idle {
        /// For people.
        reason: String,
        /// Ask again no sooner, milliseconds.
        retry_after_ms: u64,
    },
    /// Show what a report commits to.
    Show(Show),
    /// Run a segment of a unit.
    Segment(Segment),
    /// What the owner should know of this machine.
    Advice(String),
    /// Another stream of the same worker has taken over; nothing follows.
    Replaced,
}

/// The trace of a unit that a worker has reported is wanted.
#[derive(Clone, Debug)]
pub struct Show {
    /// Number of the question.
    pub ask: u64,
    /// The job.
    pub job: JobId,
    /// The unit.
    pub unit: UnitIndex,
    /// The state at the last point at or below this fuel is wanted too.
    pub fuel: Option<u64>,
    /// What the unit's lease brings; the engine fills it in.
    pub extra: Option<Extra>,
    /// Of the job's specification.
    pub spec: Arc<Outline>,
}

/// A segment of a unit to be run.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Number of the question.
    pub ask: u64,
    /// The job.
    pub job: JobId,
    /// The unit.
    pub unit: UnitIndex,
    /// Fuel between two points; 0 for the whole unit.
    pub spacing: u64,
    /// Where it begins; `None` at the start.
    pub from: Option<Point>,
    /// The blob with the state there, and its bytes.
    pub state: Option<(Digest, u64)>,
    /// From receipt of the message, milliseconds.
    pub expires_in_ms: u64,
    /// What the unit's lease brings; the engine fills it in.
    pub extra: Option<Extra>,
    /// Of the job's specification.
    pub spec: Arc<Outline>,
}

/// A run of consecutive units of one job, lent until a deadline.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Within the project.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// Of the units.
    pub first: UnitIndex,
    /// How many.
    pub count: u32,
    /// From receipt of the message, milliseconds.
    pub expires_in_ms: u64,
    /// Empty, or one per unit.
    pub extras: Vec<Extra>,
    /// Of the job's specification.
    pub spec: Arc<Outline>,
}

/// What has to be said because of an event.
#[derive(Debug, Default)]
pub struct Effects {
    /// In order, each to the worker at the other end of the stream.
    pub messages: Vec<(Session, ToWorker)>,
    /// States that were shown and are needed no more: blobs that nothing else names.
    pub forgotten: Vec<Digest>,
    /// Outputs that are a job's no more: blobs that may be somebody else's.
    pub disowned: Vec<Digest>,
}
