//! What is kept of a job.

use crate::status::JobState;
use crate::trust::estimate::Risk;
use proto::Digest;
use proto::job::JobSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    pub(crate) fn new(
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
