//! Receipts: the signed, portable statement of a verdict. Anybody can check one offline.

use crate::key::{Verified, WrongSignature};
use crate::report::{Failure, Proof, Statement};
use crate::{AccountKey, Digest, ProjectKey, UnitIndex, key, merkle, pb};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"starling.v1 receipt";
/// Begins the leaf of a receipt that is signed together with others.
const LEAF_DOMAIN: &[u8] = b"starling.v1 receipt leaf";
/// Begins what is signed over the root of many receipts.
const ROOT_DOMAIN: &[u8] = b"starling.v1 receipts";
/// Receipts under one signature: it costs each of them 0.3 microseconds then instead of 16, and six digests of a path.
const TOGETHER: usize = 64;
/// Most copies that a receipt names: more than any job may ask for.
const COPIES_MAX: usize = 64;

/// What the coordinator concluded of a unit, and on whose word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    version: u8,
    /// The project.
    pub project: ProjectKey,
    /// Digest of the job's specification, which names kernel, inputs and cut.
    pub spec: Digest,
    /// The kernel.
    pub kernel: Digest,
    /// Which unit of the job.
    pub unit: UnitIndex,
    /// Of the outputs that a merge unit took, in order; empty for units of the cut.
    pub merged: Vec<Digest>,
    /// Digest of the output, or how the unit fails everywhere.
    pub result: Result<Digest, Failure>,
    /// Fuel of the canonical report.
    pub fuel: u64,
    /// Root over the trace, where there is one.
    pub trace_root: Option<Digest>,
    /// The agreeing reports.
    pub copies: Vec<Copy>,
    /// When the verdict was reached, milliseconds since 1970.
    pub settled_at_ms: u64,
}

/// One agreeing report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The account that the worker belongs to.
    pub account: AccountKey,
    /// That the worker signed it.
    pub proof: Proof,
}

/// Why a receipt does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Invalid {
    /// The bytes are no receipt of this version.
    #[error("the receipt cannot be decoded, or is of another version")]
    Bytes,
    /// Of another project.
    #[error("the receipt is of project {0}, not of the one expected")]
    Project(ProjectKey),
    /// A signature does not fit.
    #[error(transparent)]
    Signature(#[from] WrongSignature),
    /// Its place among those that were signed together leads to no root.
    #[error("the receipt's path does not lead to what was signed")]
    Place,
    /// It names nobody's report.
    #[error("the receipt rests on no report")]
    NoCopies,
}

impl Receipt {
    /// The receipt of a unit on which `copies` agree.
    #[must_use]
    pub fn new(
        project: ProjectKey,
        kernel: Digest,
        statement: Statement,
        merged: Vec<Digest>,
        copies: Vec<Copy>,
        settled_at_ms: u64,
    ) -> Self {
        let Statement { spec, unit, result, fuel, trace_root } = statement;
        Self {
            version: VERSION,
            project,
            spec,
            kernel,
            unit,
            merged,
            result,
            fuel,
            trace_root,
            copies,
            settled_at_ms,
        }
    }

    /// What each of the workers signed.
    #[must_use]
    pub fn statement(&self) -> Statement {
        let Self { spec, unit, result, fuel, trace_root, .. } = self;
        Statement {
            spec: *spec,
            unit: *unit,
            result: *result,
            fuel: *fuel,
            trace_root: *trace_root,
        }
    }

    /// Signs the receipt with the project's key.
    #[must_use]
    pub fn sign(&self, project: &SigningKey) -> pb::SignedReceipt {
        let payload = postcard::to_allocvec(self).expect("plain data always encodes");
        let signature = key::sign(project, &[DOMAIN, &payload].concat());
        let signature = signature.to_vec().into();
        pb::SignedReceipt { payload: payload.into(), signature, ..Default::default() }
    }

    /// Signs many receipts, one signature for every [`TOGETHER`] of them; each can be shown alone. In order.
    #[must_use]
    pub fn sign_all(receipts: &[Self], project: &SigningKey) -> Vec<pb::SignedReceipt> {
        receipts.chunks(TOGETHER).flat_map(|receipts| sign_together(receipts, project)).collect()
    }

    /// Reads a receipt and checks everything that it claims: the project's signature and each worker's.
    ///
    /// # Errors
    /// [`Invalid`], saying what does not hold.
    pub fn verify(signed: &pb::SignedReceipt, project: &ProjectKey) -> Result<Self, Invalid> {
        Self::verify_once(signed, project, &mut Verified::default())
    }

    /// The same; signatures that were verified before, with a neighbour, are not verified again.
    ///
    /// # Errors
    /// [`Invalid`], saying what does not hold.
    pub fn verify_once(
        signed: &pb::SignedReceipt,
        project: &ProjectKey,
        verified: &mut Verified,
    ) -> Result<Self, Invalid> {
        let (receipt, rest) =
            postcard::take_from_bytes::<Self>(&signed.payload).map_err(|_| Invalid::Bytes)?;
        if !rest.is_empty() || receipt.version != VERSION || COPIES_MAX < receipt.copies.len() {
            return Err(Invalid::Bytes);
        }
        if receipt.project != *project {
            return Err(Invalid::Project(receipt.project));
        }
        let message = signed_message(signed).ok_or(Invalid::Place)?;
        project.verify_once(&message, &signed.signature, verified)?;
        if receipt.copies.is_empty() {
            return Err(Invalid::NoCopies);
        }
        let statement = receipt.statement();
        for copy in &receipt.copies {
            copy.proof.verify_once(project, &statement, verified)?;
        }
        Ok(receipt)
    }
}

fn leaf(payload: &[u8]) -> Digest {
    merkle::leaf(&[LEAF_DOMAIN, payload].concat())
}

/// What is signed over the root of `count` receipts.
fn root_message(count: u32, root: &Digest) -> Vec<u8> {
    [ROOT_DOMAIN, &count.to_le_bytes(), &root.0].concat()
}

/// What the signature must be over; `None` when the path does not lead to a root.
fn signed_message(signed: &pb::SignedReceipt) -> Option<Vec<u8>> {
    if signed.count == 0 {
        return Some([DOMAIN, &signed.payload].concat());
    }
    let (digests, rest) = signed.path.as_chunks::<32>();
    if !rest.is_empty() {
        return None;
    }
    let path = merkle::Path(digests.iter().copied().map(Digest).collect());
    let (index, count) = (signed.index.into(), signed.count.into());
    let root = merkle::climb(leaf(&signed.payload), index, count, &path)?;
    Some(root_message(signed.count, &root))
}

/// Signs at most [`TOGETHER`] receipts at once.
fn sign_together(receipts: &[Receipt], project: &SigningKey) -> Vec<pb::SignedReceipt> {
    let encode =
        |receipt: &Receipt| postcard::to_allocvec(receipt).expect("plain data always encodes");
    let payloads: Vec<Vec<u8>> = receipts.iter().map(encode).collect();
    let tree = merkle::Tree::new(payloads.iter().map(|payload| leaf(payload)).collect());
    let count = u32::try_from(payloads.len()).expect("they are few");
    let signature = key::sign(project, &root_message(count, &tree.root())).to_vec();
    let signature = bytes::Bytes::from(signature);
    let signed = |(index, payload): (u32, Vec<u8>)| {
        let path = tree.path(index as usize).unwrap_or_default();
        let path = path.0.iter().flat_map(|digest| digest.0).collect::<Vec<u8>>();
        let (payload, signature) = (payload.into(), signature.clone());
        pb::SignedReceipt { payload, signature, index, count, path: path.into() }
    };
    (0..).zip(payloads).map(signed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Batch, JobRef, Outcome, Output, Report};
    use crate::{JobId, LeaseId, WorkerKey};

    fn signed() -> (pb::SignedReceipt, ProjectKey) {
        let (worker, project) =
            (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let project_key = ProjectKey::from(&project);
        let jobs = vec![JobRef { id: JobId(1), spec: Digest([3; 32]) }];
        let outcome = Outcome::Done(Output::Inline(b"out".to_vec()));
        let report = Report {
            job: 0,
            lease: LeaseId(1),
            unit: UnitIndex(5),
            outcome,
            fuel: 77,
            trace_root: None,
        };
        let batch = Batch::new(project_key, WorkerKey::from(&worker), 1, jobs, vec![report]);
        let proof = Proof::of(&batch, 0, &key::sign(&worker, &batch.signed_bytes())).unwrap();
        let copies = vec![Copy { account: AccountKey([4; 32]), proof }];
        let statement = Statement::new(Digest([3; 32]), &batch.reports[0]);
        let receipt = Receipt::new(project_key, Digest([5; 32]), statement, vec![], copies, 1_000);
        (receipt.sign(&project), project_key)
    }

    #[test]
    fn canonical_bytes_are_pinned() {
        assert_eq!(
            data_encoding::HEXLOWER.encode(&signed().0.payload),
            include_str!("receipt/golden.hex").trim()
        );
    }

    #[test]
    fn a_receipt_holds_and_a_touched_one_does_not() {
        let (signed, project) = signed();
        let receipt = Receipt::verify(&signed, &project).unwrap();
        assert_eq!((receipt.fuel, receipt.result), (77, Ok(Digest::of(b"out"))));
        for position in 0..signed.payload.len() {
            let mut payload = signed.payload.to_vec();
            payload[position] ^= 1;
            let touched = pb::SignedReceipt { payload: payload.into(), ..signed.clone() };
            assert!(Receipt::verify(&touched, &project).is_err());
        }
        assert_eq!(Receipt::verify(&signed, &ProjectKey([8; 32])), Err(Invalid::Project(project)));
    }

    #[test]
    fn receipts_signed_together_hold_one_by_one_and_touched_ones_do_not() {
        let (alone, project) = signed();
        let one = Receipt::verify(&alone, &project).unwrap();
        let key = SigningKey::from_bytes(&[2; 32]);
        for count in [1, 2, 63, 64, 65, 200] {
            let mut receipts = vec![one.clone(); count];
            for (at, receipt) in (0..).zip(&mut receipts) {
                receipt.settled_at_ms = at;
            }
            let all = Receipt::sign_all(&receipts, &key);
            let mut verified = Verified::default();
            for (signed, receipt) in all.iter().zip(&receipts) {
                assert_eq!(Receipt::verify(signed, &project).as_ref(), Ok(receipt));
                let found = Receipt::verify_once(signed, &project, &mut verified);
                assert_eq!(found.as_ref(), Ok(receipt));
            }
            // A signature for each of the groups, and the worker's.
            assert_eq!(verified.len(), count.div_ceil(TOGETHER) + 1);
            let touch = |touch: &dyn Fn(&mut pb::SignedReceipt)| {
                let mut touched = all[count - 1].clone();
                touch(&mut touched);
                let found = Receipt::verify_once(&touched, &project, &mut verified.clone());
                assert!(found.is_err(), "{count}");
            };
            touch(&|signed| signed.index += 1);
            touch(&|signed| signed.count += 1);
            touch(&|signed| signed.count = 0);
            touch(&|signed| signed.path = [signed.path.as_ref(), &[0]].concat().into());
            touch(&|signed| signed.path = [signed.path.as_ref(), &[0; 32]].concat().into());
            touch(&|signed| signed.payload = alone.payload.clone());
            touch(&|signed| signed.signature = alone.signature.clone());
        }
        let together = &Receipt::sign_all(&[one], &key)[0];
        let pinned = data_encoding::HEXLOWER.encode(&together.signature);
        assert_eq!(pinned, include_str!("receipt/golden_together.hex").trim());
    }

    #[test]
    fn a_receipt_that_the_project_signed_without_the_worker_does_not_hold() {
        let (signed, project) = signed();
        let mut receipt = Receipt::verify(&signed, &project).unwrap();
        receipt.fuel += 1;
        let forged = receipt.sign(&SigningKey::from_bytes(&[2; 32]));
        assert!(matches!(Receipt::verify(&forged, &project), Err(Invalid::Signature(_))));
    }
}
