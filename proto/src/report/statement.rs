//! What one report says for everybody, and the proof that a worker signed it.

use super::{Batch, Failure, Malformed, Outcome, Report, signed_bytes};
use crate::key::{Signature, Verified, WrongSignature};
use crate::{Digest, ProjectKey, UnitIndex, WorkerKey, merkle};
use serde::{Deserialize, Serialize};

const LEAF_DOMAIN: &[u8] = b"starling.v1 report";

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
