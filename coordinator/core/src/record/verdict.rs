//! Verdicts: how units ended, where the reports are that say so, and which verdicts hold no more.

use crate::trust::estimate::Risk;
use serde::{Deserialize, Serialize};

/// A report, by where it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Number of the worker.
    pub worker: u32,
    /// Sequence of the batch.
    pub sequence: u64,
    /// Position in the batch.
    pub position: u32,
}

impl Place {
    /// The report `offset` behind it in the same batch.
    #[must_use]
    pub fn following(self, offset: u32) -> Self {
        Self { position: self.position + offset, ..self }
    }
}

/// How units ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// With an output. The agreeing reports of the first unit, the canonical one first; those of each following unit are
    /// one position further.
    Done(Vec<Place>),
    /// As they would everywhere. Places as for `Done`.
    Failed(Vec<Place>),
    /// Without an answer, for this reason.
    GivenUp(String),
    /// The verdict before holds no more, for this reason; another will follow.
    Withdrawn(String),
}

impl End {
    /// The reports that it rests on.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        match self {
            Self::Done(places) | Self::Failed(places) => places,
            Self::GivenUp(_) | Self::Withdrawn(_) => &[],
        }
    }
}

/// Consecutive units that ended alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first unit.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// How they ended.
    pub end: End,
    /// The estimated chance that one of them is wrong; 0 for a job that asks for copies.
    pub risk: Risk,
    /// Of the canonical reports, summed.
    pub fuel: u128,
}

impl Span {
    /// How the unit `offset` behind the first ended.
    #[must_use]
    pub fn end_of(&self, offset: u32) -> End {
        let following =
            |places: &[Place]| places.iter().map(|place| place.following(offset)).collect();
        match &self.end {
            End::Done(places) => End::Done(following(places)),
            End::Failed(places) => End::Failed(following(places)),
            other @ (End::GivenUp(_) | End::Withdrawn(_)) => other.clone(),
        }
    }
}

/// The verdicts of one commit on one job, in the order in which they were reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Position in the project's log of the entry that says the same for everybody.
    pub entry: u64,
    /// Milliseconds since 1970.
    pub settled_at_ms: u64,
    /// The verdicts.
    pub spans: Vec<Span>,
}

/// Consecutive units whose verdicts are in one record of the log; the key has the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRecord {
    /// How many.
    pub count: u64,
    /// Position in the log.
    pub log: u64,
    /// Of these, failed or given up: offsets from the first and counts.
    pub failed: Vec<(u64, u64)>,
    /// Of these, given up.
    pub given_up: Vec<(u64, u64)>,
    /// Of these, accepted on the word of one worker.
    pub alone: Vec<(u64, u64, SoleReport)>,
}

/// The word of one worker that units were accepted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoleReport {
    /// Number of the worker.
    pub worker: u32,
    /// Of each unit.
    pub risk: Risk,
    /// Of all of them.
    pub fuel: u128,
}

/// Verdicts that hold no more because their worker was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidRecord {
    /// Those on the worker's word alone at positions of the log below this.
    pub before_log: u64,
}

/// Where a unit stands whose verdict was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResettledRecord {
    /// Without a verdict, because what it was merged from has none.
    Withdrawn,
    /// With another verdict.
    Settled {
        /// Position in the log.
        log: u64,
        /// Whether it failed or was given up.
        failed: bool,
        /// Whether it was given up.
        given_up: bool,
        /// The one worker whose word it rests on, if it is one.
        alone: Option<SoleReport>,
    },
}
