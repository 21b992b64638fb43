//! Reports: what a worker says that a unit came to, in batches under one signature.
//!
//! The signature covers the root of a Merkle tree over the reports, so that one report can be shown to others without
//! its neighbours, at one signature for a whole batch. The bytes are [postcard](https://postcard.jamesmunns.com/wire-format),
//! pinned by a golden test.

use crate::bounds::{BATCH_REPORTS_MAX, INLINE_OUTPUT_BYTES_MAX};
use crate::key::{Signature, Verified, WrongSignature};
use crate::{Digest, JobId, LeaseId, ProjectKey, UnitIndex, WorkerKey, key, merkle, pb};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of the canonical bytes of a batch.
const VERSION: u8 = 1;
const LEAF_DOMAIN: &[u8] = b"starling.v1 report";
const BATCH_DOMAIN: &[u8] = b"starling.v1 report batch";

/// What a unit put out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Output {
    /// The content itself, at most [`INLINE_OUTPUT_BYTES_MAX`] bytes.
    Inline(Vec<u8>),
    /// A blob that was put before the report.
    Blob {
        /// Of the content.
        digest: Digest,
        /// Bytes of the content.
        len: u64,
    },
}

impl Output {
    /// Digest of the content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Inline(content) => Digest::of(content),
            Self::Blob { digest, .. } => *digest,
        }
    }

    /// Bytes of the content.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(content) => content.len() as u64,
            Self::Blob { len, .. } => *len,
        }
    }

    /// Whether the content is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&Output> for pb::Output {
    fn from(output: &Output) -> Self {
        use pb::output::Kind;
        Self {
            kind: Some(match output {
                Output::Inline(content) => Kind::Inline(content.clone().into()),
                Output::Blob { digest, len } => {
                    Kind::Blob(pb::BlobRef { digest: digest.0.to_vec().into(), len: *len })
                }
            }),
        }
    }
}

impl TryFrom<&pb::Output> for Output {
    type Error = Malformed;
    fn try_from(output: &pb::Output) -> Result<Self, Malformed> {
        use pb::output::Kind;
        match output.kind.as_ref().ok_or(Malformed::Output)? {
            Kind::Inline(content) if content.len() <= INLINE_OUTPUT_BYTES_MAX => {
                Ok(Self::Inline(content.to_vec()))
            }
            Kind::Inline(_) => Err(Malformed::Output),
            Kind::Blob(blob) => {
                let digest =
                    Digest::try_from(blob.digest.as_ref()).map_err(|_| Malformed::Output)?;
                Ok(Self::Blob { digest, len: blob.len })
            }
        }
    }
}

/// How a kernel fails in the same way on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Failure {
    /// `unreachable` was executed: a panic, an abort, an error that the kernel logged.
    Unreachable,
    /// The fuel budget was spent.
    FuelSpent,
    /// An access outside memory or a table.
    OutOfBounds,
    /// An integer division by zero, or an integer out of range: from a division, or converted from a float.
    Division,
    /// A NaN was converted to an integer.
    BadConversion,
    /// A call through a table to nothing or to another signature.
    BadCall,
    /// The output grew beyond its limit.
    OutputTooLarge,
    /// A step answered neither 0 nor 1.
    BadStep(i32),
    /// A command ended with this exit code.
    Exit(i32),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str(
                "the kernel stopped itself (unreachable: a panic or an error it logged)",
            ),
            Self::FuelSpent => f.write_str(
                "the unit's fuel budget was spent: raise limits.fuel or cut smaller units",
            ),
            Self::OutOfBounds => f.write_str("the kernel accessed memory or a table out of bounds"),
            Self::Division => {
                f.write_str("the kernel divided an integer by zero, or a division or a conversion from a float gave an integer out of range")
            }
            Self::BadConversion => {
                f.write_str("the kernel converted a NaN to an integer")
            }
            Self::BadCall => f.write_str(
                "the kernel called through a table what is not there or has another signature",
            ),
            Self::OutputTooLarge => f.write_str("the output grew beyond limits.output"),
            Self::BadStep(value) => {
                write!(f, "starling_step returned {value}: only 0 (done) and 1 (more) are allowed")
            }
            Self::Exit(code) => write!(
                f,
                "the command ended with exit code {code}, which is no answer of this job: if it is one, add it to exit_codes in the job file"
            ),
        }
    }
}

/// What a unit came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It ended and put this out.
    Done(Output),
    /// It failed as it would everywhere.
    Failed(Failure),
}

/// One unit as a worker saw it end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Position of the unit's job in [`Batch::jobs`].
    pub job: u16,
    /// The lease under which it was computed.
    pub lease: LeaseId,
    /// Which unit.
    pub unit: UnitIndex,
    /// What it came to.
    pub outcome: Outcome,
    /// Fuel burnt.
    pub fuel: u64,
    /// Root over the trace, for step kernels that keep one.
    pub trace_root: Option<Digest>,
}

/// A job that reports of a batch are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRef {
    /// Within the project.
    pub id: JobId,
    /// Of its specification: what the id means to somebody outside the project.
    pub spec: Digest,
}

/// Reports under one signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    version: u8,
    /// The project that the reports are for.
    pub project: ProjectKey,
    /// Who reports.
    pub worker: WorkerKey,
    /// Grows by at least one with each batch of a worker; a batch is known by it.
    pub sequence: u64,
    /// The jobs that the reports are of.
    pub jobs: Vec<JobRef>,
    /// The reports, at most [`BATCH_REPORTS_MAX`].
    pub reports: Vec<Report>,
}

/// Why a batch or a part of it cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes are no batch.
    #[error("the report batch cannot be decoded")]
    Bytes,
    /// Another version of the canonical bytes.
    #[error("the report batch is of version {0}, this side reads version {VERSION}")]
    Version(u8),
    /// Too many reports, or none.
    #[error("a report batch holds 1 to {BATCH_REPORTS_MAX} reports, this one {0}")]
    Count(usize),
    /// A report points to a job that the batch does not list.
    #[error("report {0} names a job that its batch does not list")]
    Job(usize),
    /// An output that is no output, or too large to be inline.
    #[error(
        "an output is missing, has no proper digest, or is inline with more than {INLINE_OUTPUT_BYTES_MAX} bytes"
    )]
    Output,
    /// Signed by somebody else.
    #[error(transparent)]
    Signature(#[from] WrongSignature),
}

impl Batch {
    /// A batch of `reports` by `worker`.
    #[must_use]
    pub fn new(
        project: ProjectKey,
        worker: WorkerKey,
        sequence: u64,
        jobs: Vec<JobRef>,
        reports: Vec<Report>,
    ) -> Self {
        Self { version: VERSION, project, worker, sequence, jobs, reports }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain data always encodes")
    }

    /// Reads canonical bytes and checks all that can be checked without the signature.
    ///
    /// # Errors
    /// [`Malformed`], naming what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&other) => return Err(Malformed::Version(other)),
            None => return Err(Malformed::Bytes),
        }
        let (batch, rest) =
            postcard::take_from_bytes::<Self>(bytes).map_err(|_| Malformed::Bytes)?;
        if !rest.is_empty() {
            return Err(Malformed::Bytes);
        }
        if batch.reports.is_empty() || BATCH_REPORTS_MAX < batch.reports.len() {
            return Err(Malformed::Count(batch.reports.len()));
        }
        for (index, report) in batch.reports.iter().enumerate() {
            if batch.jobs.len() <= usize::from(report.job) {
                return Err(Malformed::Job(index));
            }
            if matches!(&report.outcome, Outcome::Done(Output::Inline(content)) if INLINE_OUTPUT_BYTES_MAX < content.len())
            {
                return Err(Malformed::Output);
            }
        }
        Ok(batch)
    }

    /// The leaves of the Merkle tree, one per report in order.
    #[must_use]
    pub fn leaves(&self) -> Vec<Digest> {
        self.reports
            .iter()
            .map(|report| {
                let spec = self.jobs[usize::from(report.job)].spec;
                Statement::new(spec, report).leaf()
            })
            .collect()
    }

    /// The root of the Merkle tree over the reports.
    #[must_use]
    pub fn root(&self) -> Digest {
        merkle::root(&self.leaves())
    }

    /// What the worker signs: `domain ‖ project ‖ worker ‖ sequence (u64 LE) ‖ count (u64 LE) ‖ Merkle root`.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        signed_bytes(
            &self.project,
            &self.worker,
            self.sequence,
            self.reports.len() as u64,
            &self.root(),
        )
    }

    /// Signs the batch.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> pb::SignedReports {
        pb::SignedReports {
            payload: self.encode().into(),
            signature: key::sign(key, &self.signed_bytes()).to_vec().into(),
        }
    }

    /// Reads and verifies a signed batch.
    ///
    /// # Errors
    /// [`Malformed`], naming what is wrong.
    pub fn open(signed: &pb::SignedReports) -> Result<Self, Malformed> {
        Self::open_with_root(signed).map(|(batch, _)| batch)
    }

    /// The same, with [`Self::root`], which the signature is over.
    ///
    /// # Errors
    /// [`Malformed`], naming what is wrong.
    pub fn open_with_root(signed: &pb::SignedReports) -> Result<(Self, Digest), Malformed> {
        let batch = Self::decode(&signed.payload)?;
        let (root, count) = (batch.root(), batch.reports.len() as u64);
        let bytes = signed_bytes(&batch.project, &batch.worker, batch.sequence, count, &root);
        batch.worker.verify(&bytes, &signed.signature)?;
        Ok((batch, root))
    }
}

/// What a worker signs over a batch of `count` reports with this Merkle root; see [`Batch::signed_bytes`].
#[must_use]
pub fn signed_bytes(
    project: &ProjectKey,
    worker: &WorkerKey,
    sequence: u64,
    count: u64,
    root: &Digest,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BATCH_DOMAIN.len() + 112);
    bytes.extend_from_slice(BATCH_DOMAIN);
    bytes.extend_from_slice(&project.0);
    bytes.extend_from_slice(&worker.0);
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&root.0);
    bytes
}

/// What one report says, for everybody: the leaf of the Merkle tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Of the job's specification.
    pub spec: Digest,
    /// Which unit of it.
    pub unit: UnitIndex,
    /// What it came to, outputs by digest.
    pub result: Result<Digest, Failure>,
    /// Fuel burnt.
    pub fuel: u64,
    /// Root over the trace.
    pub trace_root: Option<Digest>,
}

impl Statement {
    /// What `report` says of a unit of the job with this specification.
    #[must_use]
    pub fn new(spec: Digest, report: &Report) -> Self {
        let result = match &report.outcome {
            Outcome::Done(output) => Ok(output.digest()),
            Outcome::Failed(failure) => Err(*failure),
        };
        Self { spec, unit: report.unit, result, fuel: report.fuel, trace_root: report.trace_root }
    }

    /// The bytes that [`Self::leaf`] is of, without their domain.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain data always encodes")
    }

    /// Reads such bytes.
    ///
    /// # Errors
    /// [`Malformed::Bytes`] when they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (statement, rest) =
            postcard::take_from_bytes::<Self>(bytes).map_err(|_| Malformed::Bytes)?;
        if rest.is_empty() { Ok(statement) } else { Err(Malformed::Bytes) }
    }

    /// The leaf that stands for it.
    #[must_use]
    pub fn leaf(&self) -> Digest {
        let bytes =
            postcard::to_extend(self, LEAF_DOMAIN.to_vec()).expect("plain data always encodes");
        merkle::leaf(&bytes)
    }
}

/// Proof that a worker signed one report of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Who reported.
    pub worker: WorkerKey,
    /// Sequence of the batch.
    pub sequence: u64,
    /// Position of the report in the batch.
    pub index: u64,
    /// Reports in the batch.
    pub count: u64,
    /// From the report's leaf to the root that was signed.
    pub path: merkle::Path,
    /// The worker's signature, 64 bytes.
    pub signature: Vec<u8>,
}

impl Proof {
    /// Proof for report `index` of `batch`; `None` when there is no such report.
    #[must_use]
    pub fn of(batch: &Batch, index: usize, signature: &Signature) -> Option<Self> {
        Self::in_tree(batch, &merkle::Tree::new(batch.leaves()), index, signature)
    }

    /// The same, with the tree over [`Batch::leaves`].
    #[must_use]
    pub fn in_tree(
        batch: &Batch,
        tree: &merkle::Tree,
        index: usize,
        signature: &Signature,
    ) -> Option<Self> {
        let path = tree.path(index)?;
        let (index, count) = (index as u64, batch.reports.len() as u64);
        Some(Self {
            worker: batch.worker,
            sequence: batch.sequence,
            index,
            count,
            path,
            signature: signature.to_vec(),
        })
    }

    /// The root of the batch, if `statement` is the report shown; `None` when the path cannot be one.
    #[must_use]
    pub fn root(&self, statement: &Statement) -> Option<Digest> {
        merkle::climb(statement.leaf(), self.index, self.count, &self.path)
    }

    /// Checks that the worker signed `statement` for `project`.
    ///
    /// # Errors
    /// [`WrongSignature`] when it did not.
    pub fn verify(
        &self,
        project: &ProjectKey,
        statement: &Statement,
    ) -> Result<(), WrongSignature> {
        self.verify_once(project, statement, &mut Verified::default())
    }

    /// The same; a batch whose signature was verified before is not verified again.
    ///
    /// # Errors
    /// As for [`Self::verify`].
    pub fn verify_once(
        &self,
        project: &ProjectKey,
        statement: &Statement,
        verified: &mut Verified,
    ) -> Result<(), WrongSignature> {
        let root = self.root(statement).ok_or_else(|| WrongSignature(self.worker.to_string()))?;
        let signed = signed_bytes(project, &self.worker, self.sequence, self.count, &root);
        self.worker.verify_once(&signed, &self.signature, verified)
    }
}

/// What became of one report of a batch; one byte each in an acknowledgement. All of them mean that the worker may
/// forget the report, but for [`Ack::OutputMissing`] and [`Ack::Busy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Ack {
    /// Stored durably.
    Accepted = 1,
    /// This worker's report of the unit was stored before.
    Duplicate = 2,
    /// The unit was settled before; stored or credited no more.
    Late = 3,
    /// The unit was never leased to this worker under that lease.
    NotLeased = 4,
    /// There is no such job, or it was cancelled.
    NoJob = 5,
    /// The report cannot be right: output beyond its limit, fuel beyond the budget.
    Invalid = 6,
    /// The output's blob is not here yet: put it, then report again.
    OutputMissing = 7,
    /// Not stored, for instance for want of disk space: report again later.
    Busy = 8,
}

impl TryFrom<u8> for Ack {
    type Error = Malformed;
    fn try_from(byte: u8) -> Result<Self, Malformed> {
        Ok(match byte {
            1 => Self::Accepted,
            2 => Self::Duplicate,
            3 => Self::Late,
            4 => Self::NotLeased,
            5 => Self::NoJob,
            6 => Self::Invalid,
            7 => Self::OutputMissing,
            8 => Self::Busy,
            _ => return Err(Malformed::Bytes),
        })
    }
}

#[cfg(test)]
mod tests;
