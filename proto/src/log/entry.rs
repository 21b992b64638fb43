//! What the log's leaves say: canonical bytes that mean something to a stranger.

use crate::bounds::{BATCH_REPORTS_MAX, LOG_ENTRY_BYTES_MAX};
use crate::{AccountKey, Digest, JobId, ProjectKey, WorkerKey, merkle};
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"starling.v1 log entry";

/// One leaf of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    version: u8,
    /// Whose log it is.
    pub project: ProjectKey,
    /// When it was concluded, milliseconds since 1970.
    pub at_ms: u64,
    /// The job.
    pub job: JobId,
    /// Of the job's specification: what the id means to somebody outside the project.
    pub spec: Digest,
    /// What happened to it.
    pub event: Event,
}

/// What happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// It was submitted.
    Submitted {
        /// By whom.
        account: String,
        /// Drawn by who submitted it.
        submission: [u8; 16],
    },
    /// Verdicts were reached, in this order.
    Verdicts {
        /// Counts the job's entries of this kind from 0.
        position: u64,
        /// The batches of reports that they rest on.
        sources: Vec<Source>,
        /// The verdicts.
        spans: Vec<Span>,
    },
    /// Every unit had a verdict.
    Done,
    /// Somebody cancelled it.
    Cancelled,
}

/// A signed batch of reports: what the worker signed pins all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Who signed it.
    pub worker: WorkerKey,
    /// Who owns the worker.
    pub account: AccountKey,
    /// Of the batch.
    pub sequence: u64,
    /// Merkle root over the reports.
    pub root: Digest,
}

/// Consecutive units that ended alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first unit.
    pub first: u64,
    /// How many, at least 1.
    pub count: u32,
    /// How they ended.
    pub end: End,
    /// The estimated chance that one of them is wrong is 10^(-figure / 10); 0: not estimated.
    pub figure: u8,
    /// Of the canonical reports, summed. Each agreeing report was granted as much.
    pub fuel: u128,
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

/// A report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Which of [`Event::Verdicts::sources`].
    pub source: u32,
    /// Position in the batch.
    pub position: u32,
}

/// The bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the bytes are no entry of a log of version {VERSION}, or one with more than {LOG_ENTRY_BYTES_MAX} bytes"
)]
pub struct Malformed;

impl Entry {
    /// An entry of the log of `project`.
    #[must_use]
    pub fn new(project: ProjectKey, at_ms: u64, job: JobId, spec: Digest, event: Event) -> Self {
        Self { version: VERSION, project, at_ms, job, spec, event }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain data always encodes")
    }

    /// Reads canonical bytes; whatever a span points to is there.
    ///
    /// # Errors
    /// [`Malformed`] when they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if LOG_ENTRY_BYTES_MAX < bytes.len() {
            return Err(Malformed);
        }
        let (entry, rest) = postcard::take_from_bytes::<Self>(bytes).map_err(|_| Malformed)?;
        if !rest.is_empty() || entry.version != VERSION {
            return Err(Malformed);
        }
        if let Event::Verdicts { sources, spans, .. } = &entry.event {
            let there = |place: &Place, count: u32| {
                let end = u64::from(place.position) + u64::from(count);
                (place.source as usize) < sources.len() && end <= BATCH_REPORTS_MAX as u64
            };
            let sound = |span: &Span| {
                let rests = matches!(span.end, End::Done(_) | End::Failed(_));
                let places = span.end.places();
                0 < span.count
                    && span.first.checked_add(span.count.into()).is_some()
                    && rests != places.is_empty()
                    && places.iter().all(|place| there(place, span.count))
            };
            if !spans.iter().all(sound) {
                return Err(Malformed);
            }
        }
        Ok(entry)
    }

    /// The leaf that stands for canonical bytes.
    #[must_use]
    pub fn leaf(bytes: &[u8]) -> Digest {
        merkle::leaf(&[DOMAIN, bytes].concat())
    }
}
