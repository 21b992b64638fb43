//! Evidence: what anybody needs to convince himself that reports of a unit are wrong. It names one segment of the trace
//! that the reports commit to; whoever runs that segment finds something else than they claim.

use crate::key::WrongSignature;
use crate::report::{Proof, Statement};
use crate::trace::{Claim, Point, SegmentStatement, Trace};
use crate::{AccountKey, Digest, ProjectKey, WorkerKey};
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
/// Most workers that a proof names, on each side.
const NAMES_MAX: usize = 256;

/// A proof that reports are wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    version: u8,
    /// The project.
    pub project: ProjectKey,
    /// The kernel that the unit runs.
    pub kernel: Digest,
    /// What the accused have signed.
    pub statement: Statement,
    /// Who they are, and that they signed it.
    pub accused: Vec<Accused>,
    /// Canonical bytes of the trace that they commit to; nothing for a unit without one.
    pub trace: Option<Vec<u8>>,
    /// Fuel between two points; 0 when the whole unit is the segment.
    pub spacing: u64,
    /// Points of the trace before the segment.
    pub points: u64,
    /// The blob with the state there, and its bytes; nothing at the start of the unit.
    pub state: Option<(Digest, u64)>,
    /// How the segment ends in truth.
    pub truth: Claim,
    /// What those found who ran it.
    pub heard: Vec<Heard>,
    /// When it was decided, milliseconds since 1970.
    pub at_ms: u64,
}

/// Somebody whose report is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accused {
    /// The account that the worker belongs to.
    pub account: AccountKey,
    /// That the worker signed it.
    pub proof: Proof,
}

/// Somebody who ran the segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Who.
    pub worker: WorkerKey,
    /// What it found.
    pub statement: SegmentStatement,
    /// The worker's signature, 64 bytes.
    pub signature: Vec<u8>,
}

/// Why evidence does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Invalid {
    /// The bytes are none of this version.
    #[error("the evidence cannot be decoded, or is of another version")]
    Bytes,
    /// Of another project.
    #[error("the evidence is of project {0}, not of the one expected")]
    Project(ProjectKey),
    /// A signature does not fit.
    #[error(transparent)]
    Signature(#[from] WrongSignature),
    /// The accused commit to another trace.
    #[error("the trace is not the one that the reports commit to")]
    Trace,
    /// The accused claim what is said to be the truth.
    #[error("the reports claim what is said to be the truth: nothing is proved")]
    Nothing,
}

/// The segment in question, as far as the evidence shows it offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins; `None` at the start of the unit.
    pub from: Option<Point>,
    /// How the accused say that it ends.
    pub claimed: Claim,
}

impl Evidence {
    /// Puts a proof together; `statement`, `accused` and `trace` are what was proved wrong.
    #[must_use]
    pub fn new(project: ProjectKey, kernel: Digest, statement: Statement, truth: Claim) -> Self {
        Self {
            version: VERSION,
            project,
            kernel,
            statement,
            accused: Vec::new(),
            trace: None,
            spacing: 0,
            points: 0,
            state: None,
            truth,
            heard: Vec::new(),
            at_ms: 0,
        }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain data always encodes")
    }

    /// Reads evidence and checks all that can be checked without running anything: who signed what, and that it differs
    /// from what is said to be the truth. `trace_fuel` is the job's.
    ///
    /// # Errors
    /// [`Invalid`], saying what does not hold.
    pub fn verify(
        bytes: &[u8],
        project: &ProjectKey,
        trace_fuel: u64,
    ) -> Result<(Self, Segment), Invalid> {
        let (evidence, rest) =
            postcard::take_from_bytes::<Self>(bytes).map_err(|_| Invalid::Bytes)?;
        let names = evidence.accused.len().max(evidence.heard.len());
        if !rest.is_empty() || evidence.version != VERSION || NAMES_MAX < names {
            return Err(Invalid::Bytes);
        }
        if evidence.project != *project {
            return Err(Invalid::Project(evidence.project));
        }
        for accused in &evidence.accused {
            accused.proof.verify(project, &evidence.statement)?;
        }
        let segment = evidence.segment(trace_fuel)?;
        for heard in &evidence.heard {
            heard.statement.verify(&heard.worker, &heard.signature)?;
        }
        if segment.claimed == evidence.truth || evidence.accused.is_empty() {
            return Err(Invalid::Nothing);
        }
        Ok((evidence, segment))
    }

    fn segment(&self, trace_fuel: u64) -> Result<Segment, Invalid> {
        let Statement { result, fuel, trace_root, .. } = self.statement;
        let end = Claim::End { result, fuel };
        if self.spacing == 0 {
            return Ok(Segment { from: None, claimed: end });
        }
        let trace = match &self.trace {
            Some(bytes) => Trace::decode(bytes, trace_fuel).map_err(|_| Invalid::Trace)?,
            None => Trace::new(trace_fuel),
        };
        // A trace that was widened to be compared still has the points of the one that was signed.
        if trace.root() != trace_root || self.spacing < trace.spacing() {
            return Err(Invalid::Trace);
        }
        let trace = trace.thinned(self.spacing);
        let points = usize::try_from(self.points).map_err(|_| Invalid::Trace)?;
        if trace.points().len() < points {
            return Err(Invalid::Trace);
        }
        Ok(Segment { from: trace.from(points), claimed: trace.until(points, end) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Batch, JobRef, Outcome, Output, Report};
    use crate::{JobId, LeaseId, UnitIndex, key};
    use ed25519_dalek::SigningKey;

    const SPACING: u64 = 1 << 16;

    fn evidence() -> (Evidence, ProjectKey) {
        let (liar, runner) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let project = ProjectKey([3; 32]);
        let mut trace = Trace::new(SPACING);
        for point in 1..4_u8 {
            let fuel = SPACING * u64::from(point);
            trace.push(Point { fuel, state: Digest([point; 32]) });
        }
        let report = Report {
            job: 0,
            lease: LeaseId(1),
            unit: UnitIndex(5),
            outcome: Outcome::Done(Output::Inline(b"a lie".to_vec())),
            fuel: 4 * SPACING,
            trace_root: trace.root(),
        };
        let spec = Digest([4; 32]);
        let jobs = vec![JobRef { id: JobId(1), spec }];
        let batch = Batch::new(project, WorkerKey::from(&liar), 1, jobs, vec![report]);
        let proof = Proof::of(&batch, 0, &key::sign(&liar, &batch.signed_bytes())).unwrap();
        let truth = Claim::Point(Point { fuel: 3 * SPACING, state: Digest([9; 32]) });
        let statement =
            SegmentStatement::new(project, spec, UnitIndex(5), SPACING, trace.from(2), truth);
        let signature = statement.sign(&runner, 1).signature.to_vec();
        let evidence = Evidence {
            accused: vec![Accused { account: AccountKey([5; 32]), proof }],
            trace: Some(trace.encode()),
            spacing: SPACING,
            points: 2,
            state: Some((Digest([6; 32]), 100)),
            heard: vec![Heard { worker: WorkerKey::from(&runner), statement, signature }],
            at_ms: 7,
            ..Evidence::new(
                project,
                Digest([8; 32]),
                Statement::new(spec, &batch.reports[0]),
                truth,
            )
        };
        (evidence, project)
    }

    #[test]
    fn evidence_names_the_segment_and_what_was_claimed() {
        let (evidence, project) = evidence();
        let (read, segment) = Evidence::verify(&evidence.encode(), &project, SPACING).unwrap();
        assert_eq!(read, evidence);
        assert_eq!(segment.from, Some(Point { fuel: 2 * SPACING, state: Digest([2; 32]) }));
        let claimed = Point { fuel: 3 * SPACING, state: Digest([3; 32]) };
        assert_eq!(segment.claimed, Claim::Point(claimed));
    }

    #[test]
    fn what_was_not_signed_proves_nothing() {
        let (evidence, project) = evidence();
        for position in 0..evidence.encode().len() {
            let mut bytes = evidence.encode();
            bytes[position] ^= 1;
            let read = Evidence::verify(&bytes, &project, SPACING).map(|(evidence, _)| evidence);
            // What is not signed is for whoever runs the segment to find out: the truth, the blob, the kernel, the time.
            if let Ok(read) = read {
                let proofs = |of: &Evidence| -> Vec<_> {
                    of.accused.iter().map(|accused| accused.proof.clone()).collect()
                };
                assert_eq!(read.statement, evidence.statement);
                assert_eq!(proofs(&read), proofs(&evidence));
            }
        }
        let mut agreed = evidence.clone();
        agreed.truth = Claim::Point(Point { fuel: 3 * SPACING, state: Digest([3; 32]) });
        assert_eq!(
            Evidence::verify(&agreed.encode(), &project, SPACING).map(drop),
            Err(Invalid::Nothing)
        );
        let mut other = evidence;
        other.trace = None;
        assert_eq!(
            Evidence::verify(&other.encode(), &project, SPACING).map(drop),
            Err(Invalid::Trace)
        );
    }
}
