//! What is kept of what units have logged.

use proto::WorkerKey;
use proto::unit_log::Line;
use serde::{Deserialize, Serialize};

/// How much is kept of what the units of a job have logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsRecord {
    /// The next position.
    pub next: u64,
    /// What the records take, about.
    pub bytes: u64,
    /// Units of which nothing is kept for want of room.
    pub left_out: u64,
}

/// What one worker says that a unit has logged: text of strangers, verified by nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitLogRecord {
    /// The unit.
    pub unit: u64,
    /// Who says so.
    pub worker: WorkerKey,
    /// What came of the unit there.
    pub end: LogEnd,
    /// In order; gaps are what was left out.
    pub lines: Vec<Line>,
}

/// What came of a unit of which a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogEnd {
    /// It was reported with an output.
    Done,
    /// It was reported as failing on every machine.
    Failed,
    /// The worker could not run it.
    Returned,
}
