//! What the coordinator keeps on disk: keys and versioned records. A report batch is kept once, as it came; verdicts
//! point into batches, so that a run of a thousand units settled alike costs one small record.

use crate::status::JobState;
use crate::trust::estimate::Risk;
use crate::trust::standings::Who;
use proto::job::JobSpec;
use proto::key::Signature;
use proto::log::Frontier;
use proto::trace::{Claim, Point};
use proto::unit_log::Line;
use proto::{AccountKey, Digest, JobId, LeaseId, ProjectKey, WorkerKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// The number in a key of one number, or the last of two.
#[must_use]
pub fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The first number in a key.
#[must_use]
pub fn first_number(key: &[u8]) -> Option<u64> {
    key.get(1..)?.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
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

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// For people.
    pub name: String,
    /// Who submitted it.
    pub account: String,
    /// Drawn by who submitted it.
    pub submission: [u8; 16],
    /// Of the specification's bytes.
    pub spec_digest: Digest,
    /// Where it stands.
    pub state: JobState,
    /// Milliseconds since 1970.
    pub submitted_at_ms: u64,
    /// Milliseconds since 1970; `None` while it runs.
    pub ended_at_ms: Option<u64>,
    /// Units in all, merges included.
    pub units: u64,
    /// With a verdict.
    pub settled: u64,
    /// Of these, failed or given up.
    pub failed: u64,
    /// Of these, given up.
    pub given_up: u64,
    /// Fuel of canonical reports.
    pub fuel: u128,
    /// Granted.
    pub credit: u128,
    /// Reports accepted.
    pub copies: u64,
    /// Units of the cut below this have been lent at least once.
    pub next_unit: u64,
    /// The next position in the log of verdicts.
    pub next_log: u64,
    /// The next position among the attempts.
    pub next_attempt: u64,
    /// Verdicts withdrawn.
    pub withdrawn: u64,
    /// Units by the figure of their verdict, for a job that asks for confidence.
    pub risks: BTreeMap<Risk, u64>,
    /// Segments run again to check reports or to settle disputes.
    pub segments: u64,
    /// Fuel of these.
    pub segments_fuel: u128,
    /// The next position among the evidence.
    pub next_evidence: u64,
}

impl JobRecord {
    /// A job that was submitted at this moment (milliseconds since 1970) and of which nothing is computed.
    pub(super) fn new(
        spec: &JobSpec,
        spec_digest: Digest,
        account: String,
        submission: [u8; 16],
        submitted_at_ms: u64,
    ) -> Self {
        Self {
            name: spec.name.clone(),
            account,
            submission,
            spec_digest,
            state: JobState::Running,
            submitted_at_ms,
            ended_at_ms: None,
            units: spec.units(),
            settled: 0,
            failed: 0,
            given_up: 0,
            fuel: 0,
            credit: 0,
            copies: 0,
            next_unit: 0,
            next_log: 0,
            next_attempt: 0,
            withdrawn: 0,
            risks: BTreeMap::new(),
            segments: 0,
            segments_fuel: 0,
            next_evidence: 0,
        }
    }
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

/// The key of what is known of somebody for a class of units.
#[must_use]
pub fn standing_key(who: Who, class: u64) -> Vec<u8> {
    let (kind, number) = match who {
        Who::Worker(number) => (0, u64::from(number)),
        Who::Account(number) => (1, u64::from(number)),
        Who::Network(number) => (2, number),
        Who::Crowd => (3, 0),
        Who::Refereed(number) => (4, u64::from(number)),
    };
    let mut key = vec![Table::Standing as u8, kind];
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(&class.to_be_bytes());
    key
}

/// Whose standing a key is of, and for which class.
#[must_use]
pub fn standing_of(key: &[u8]) -> Option<(Who, u64)> {
    let (&[_, kind], rest) = key.split_first_chunk::<2>()?;
    let (number, class) = rest.split_first_chunk::<8>()?;
    let number = u64::from_be_bytes(*number);
    let who = match kind {
        0 => Who::Worker(u32::try_from(number).ok()?),
        1 => Who::Account(u32::try_from(number).ok()?),
        2 => Who::Network(number),
        3 => Who::Crowd,
        4 => Who::Refereed(u32::try_from(number).ok()?),
        _ => return None,
    };
    Some((who, u64::from_be_bytes(class.try_into().ok()?)))
}

/// The key under which it is noted that a blob is an output of a job; without a job, what all such keys of the blob start
/// with.
#[must_use]
pub fn output_key(digest: &Digest, job: Option<JobId>) -> Vec<u8> {
    let mut key = [&[Table::Output as u8], digest.0.as_slice()].concat();
    key.extend(job.into_iter().flat_map(|job| job.0.to_be_bytes()));
    key
}

/// The key under which it is noted that an account has put a blob; with an empty account, what all such keys of the blob
/// start with.
#[must_use]
pub fn put_key(digest: &Digest, account: &str) -> Vec<u8> {
    [&[Table::Put as u8], digest.0.as_slice(), account.as_bytes()].concat()
}

/// The blob and the job of which a key says that one is an output of the other.
#[must_use]
pub fn output_of(key: &[u8]) -> Option<(Digest, JobId)> {
    let (digest, job) = key.get(1..)?.split_first_chunk::<32>()?;
    Some((Digest(*digest), JobId(u64::from_be_bytes(job.try_into().ok()?))))
}

/// The key of a lease's record.
#[must_use]
pub fn lease_key(lease: LeaseId) -> Vec<u8> {
    Table::Lease.key(lease.0)
}

/// The key of a record about a batch.
#[must_use]
pub fn batch_key(table: Table, worker: u32, sequence: u64) -> Vec<u8> {
    table.key2(worker.into(), sequence)
}

#[cfg(test)]
mod tests;
