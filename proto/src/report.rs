//! Reports: what a worker says that a unit came to, in batches under one signature.
//!
//! The signature covers the root of a Merkle tree over the reports, so that one report can be shown to others without
//! its neighbours, at one signature for a whole batch. The bytes are [postcard](https://postcard.jamesmunns.com/wire-format),
//! pinned by a golden test.

use crate::bounds::{BATCH_REPORTS_MAX, INLINE_OUTPUT_BYTES_MAX};
use crate::key::WrongSignature;
use crate::{Digest, JobId, LeaseId, ProjectKey, UnitIndex, WorkerKey, key, merkle, pb};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

mod outcome;
mod statement;

pub use outcome::{Failure, Outcome, Output};
pub use statement::{Proof, Statement};

/// Version of the canonical bytes of a batch.
const VERSION: u8 = 1;
const BATCH_DOMAIN: &[u8] = b"starling.v1 report batch";

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
