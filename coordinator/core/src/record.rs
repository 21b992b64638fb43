//! What the coordinator keeps on disk: keys and versioned records. A report batch is kept once, as it came; verdicts
//! point into batches, so that a run of a thousand units settled alike costs one small record.

mod job;
mod key;
mod logs;
mod verdict;

use proto::key::Signature;
use proto::log::Frontier;
use proto::trace::{Claim, Point};
use proto::{AccountKey, Digest, JobId, ProjectKey, WorkerKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use job::JobRecord;
pub use key::{
    batch_key, first_number, last_number, lease_key, output_key, output_of, put_key, standing_key,
    standing_of,
};
pub use logs::{LogEnd, LogsRecord, UnitLogRecord};
pub use verdict::{
    End, IndexRecord, LogRecord, Place, ResettledRecord, SoleReport, Span, VoidRecord,
};

/// Version of every record's form; its first byte. Raise it with any change, and read the older ones.
pub const VERSION: u8 = 3;

/// First byte of a key: the table that the record is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// [`Meta`], one record.
    Meta = b'm',
    /// [`JobRecord`] by job.
    Job = b'j',
    /// Bytes of a specification as they were submitted, by job.
    Spec = b's',
    /// [`WorkerRecord`] by number.
    Worker = b'w',
    /// [`AccountRecord`] by number.
    Account = b'a',
    /// [`LeaseRecord`] by lease, while it may be reported under.
    Lease = b'l',
    /// A report batch by worker and sequence: signature, then canonical bytes.
    Batch = b'b',
    /// [`OpenRecord`] by worker and sequence, while the batch holds reports without a verdict.
    Open = b'o',
    /// [`LogRecord`] by job and position: the verdicts of one commit.
    Log = b'r',
    /// [`IndexRecord`] by job and first unit: which verdicts are where.
    Index = b'u',
    /// [`AttemptRecord`] by job and position, while the job runs.
    Attempt = b't',
    /// [`crate::token::Token`] by its id.
    Token = b'k',
    /// [`crate::trust::estimate::Standing`] by whose it is and class; see [`standing_key`].
    Standing = b'h',
    /// [`VoidRecord`] by job and number of the worker: which verdicts hold no more.
    Void = b'v',
    /// [`ResettledRecord`] by job and unit, for units whose verdict was withdrawn: what holds instead of the index.
    Again = b'g',
    /// [`proto::log::Entry`] by position in the project's log: canonical bytes, which are what its leaf is of.
    Entry = b'y',
    /// A digest by level (1 is above the leaves) and position: the complete inner nodes of the tree over the log.
    Node = b'n',
    /// [`EvidenceRecord`] by job and position: who was proved wrong, and how.
    Evidence = b'e',
    /// [`crate::tally::Tally`], one record: what all others come to.
    Tally = b'z',
    /// [`LogsRecord`] by job: how much is kept of what its units have logged.
    Logs = b'q',
    /// [`UnitLogRecord`] by job and position: what a unit has logged.
    UnitLog = b'x',
    /// [`KeptRecord`] by job: how much is kept of it.
    Kept = b'c',
    /// Bytes of an output that is a blob, by its digest and its job; see [`output_key`].
    Output = b'p',
    /// Bytes of a blob that was put, by its digest and the account that has put it; see [`put_key`].
    Put = b'd',
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 24] = [
        Self::Meta,
        Self::Job,
        Self::Spec,
        Self::Worker,
        Self::Account,
        Self::Lease,
        Self::Batch,
        Self::Open,
        Self::Log,
        Self::Index,
        Self::Attempt,
        Self::Token,
        Self::Standing,
        Self::Void,
        Self::Again,
        Self::Entry,
        Self::Node,
        Self::Evidence,
        Self::Tally,
        Self::Logs,
        Self::UnitLog,
        Self::Kept,
        Self::Output,
        Self::Put,
    ];

    /// What the keys of the table start with.
    #[must_use]
    pub fn prefix(self) -> Vec<u8> {
        vec![self as u8]
    }

    /// A key of one number.
    #[must_use]
    pub fn key(self, number: u64) -> Vec<u8> {
        let mut key = Vec::with_capacity(9);
        key.push(self as u8);
        key.extend_from_slice(&number.to_be_bytes());
        key
    }

    /// A key of two numbers.
    #[must_use]
    pub fn key2(self, first: u64, second: u64) -> Vec<u8> {
        let mut key = Vec::with_capacity(17);
        key.push(self as u8);
        key.extend_from_slice(&first.to_be_bytes());
        key.extend_from_slice(&second.to_be_bytes());
        key
    }

    /// The key of a token.
    #[must_use]
    pub fn token(id: &str) -> Vec<u8> {
        [&[Self::Token as u8], id.as_bytes()].concat()
    }
}

/// The bytes of a record.
#[must_use]
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_extend(record, vec![VERSION]).expect("plain data always encodes")
}

/// Reads the bytes of a record; `None` when they are damaged or of another version.
#[must_use]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (&VERSION, bytes) = bytes.split_first()? else { return None };
    let (record, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(record)
}

/// The bytes of a batch's record.
#[must_use]
pub fn encode_batch(payload: &[u8], signature: &Signature) -> Vec<u8> {
    [&[VERSION], signature.as_slice(), payload].concat()
}

/// Splits a batch's record; `None` when it is damaged or of another version.
#[must_use]
pub fn decode_batch(bytes: &[u8]) -> Option<(&Signature, &[u8])> {
    let (&VERSION, bytes) = bytes.split_first()? else { return None };
    bytes.split_first_chunk::<64>()
}

/// Counters of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Whose records these are.
    pub project: ProjectKey,
    /// The next job's id.
    pub next_job: u64,
    /// The next lease's id.
    pub next_lease: u64,
    /// Units with a verdict, over all jobs.
    pub settled: u64,
    /// Granted, over all jobs.
    pub credit: u128,
    /// The right edge of the tree over the project's log.
    pub log: Frontier,
    /// When a head of it was last signed, milliseconds since 1970: the next one is not of earlier.
    pub head_at_ms: u64,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// The machine.
    pub key: WorkerKey,
    /// Number of its owner.
    pub account: u32,
    /// The machine's name.
    pub name: String,
    /// The network that it was last seen in; 0 when that tells nothing.
    pub network: u64,
    /// The highest sequence of its batches that is stored.
    pub sequence: u64,
    /// Reports accepted.
    pub reported: u64,
    /// Reports that lost against the canonical one.
    pub disagreed: u64,
    /// Times that it was caught with a wrong result.
    pub caught: u64,
    /// Whether the operator has appointed it: what it finds of a segment decides.
    pub referee: bool,
    /// Units given back as failures or let expire.
    pub failures: u64,
    /// Granted for its reports.
    pub credit: u128,
    /// Milliseconds since 1970.
    pub seen_at_ms: u64,
}

impl WorkerRecord {
    /// Whether no report of it was ever accepted.
    pub(super) fn is_newcomer(&self) -> bool {
        self.reported == 0
    }

    /// Whether it has shown that it computes what it is lent.
    pub(super) fn has_shown(&self) -> bool {
        0 < self.credit && self.failures <= self.reported
    }
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// The owner of workers.
    pub key: AccountKey,
    /// As its owner calls it.
    pub name: String,
    /// Granted.
    pub credit: u128,
}

/// A lease under which reports are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Number of the worker.
    pub worker: u32,
    /// The job.
    pub job: JobId,
    /// Of the units.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// Units given back, as offsets from `first` and counts.
    pub given_back: Vec<(u32, u32)>,
    /// Whether its deadline has passed.
    pub overdue: bool,
}

/// Reports of a batch that were accepted while their units had no verdict: positions and counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRecord {
    /// First position and how many, in order.
    pub positions: Vec<(u32, u32)>,
}

/// Proof that reports of a unit are wrong: whoever runs the segment again finds `truth`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRecord {
    /// The unit.
    pub unit: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The reports that were proved wrong; none when only those who ran the segment differed.
    pub accused: Vec<Place>,
    /// The trace that they commit to, canonical bytes.
    pub trace: Option<Vec<u8>>,
    /// Fuel between two points; 0 for the whole unit.
    pub spacing: u64,
    /// Points of the trace before the segment.
    pub points: u64,
    /// Where it begins; `None` at the start of the unit.
    pub from: Option<Point>,
    /// The blob with the state there, and its bytes.
    pub state: Option<(Digest, u64)>,
    /// How it ends.
    pub truth: Claim,
    /// What those found who ran it.
    pub heard: Vec<HeardRecord>,
}

/// What one worker found who ran a segment again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardRecord {
    /// Number of the worker.
    pub worker: u32,
    /// Canonical bytes of [`proto::trace::SegmentStatement`].
    pub statement: Vec<u8>,
    /// Of the worker, 64 bytes.
    pub signature: Vec<u8>,
}

/// How much is kept of a job beside its logs, in the quota of the account that has submitted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRecord {
    /// Whose job it is.
    pub account: String,
    /// Bytes of the specification.
    pub spec: u64,
    /// Bytes of outputs that are blobs.
    pub outputs: u64,
    /// Until when the outputs are wanted, milliseconds since 1970, should that have an end; then they go in the background.
    pub until_ms: Option<u64>,
}

/// An attempt at consecutive units that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The first unit.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// Number of the account whose worker failed, or `u32::MAX` for one that had shown nothing yet where others had; `None` when
    /// the coordinator did.
    pub account: Option<u32>,
    /// For people.
    pub reason: String,
}

#[cfg(test)]
mod tests;
