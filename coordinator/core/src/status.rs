//! What people are told of jobs, workers and the whole.

use crate::trust::estimate::Risk;
use proto::receipt::Receipt;
use proto::report::Outcome;
use proto::{AccountKey, Digest, JobId, UnitIndex, WorkerKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// Some units have no verdict yet. Leads to the other two.
    Running,
    /// Every unit has a verdict.
    Done,
    /// Cancelled by a researcher or operator.
    Cancelled,
}

/// A job in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    /// Within the project.
    pub id: JobId,
    /// For people.
    pub name: String,
    /// Where it stands.
    pub state: JobState,
    /// Units in all, merges included.
    pub units: u64,
    /// Units with a verdict.
    pub settled: u64,
    /// Of these, failed or given up.
    pub failed: u64,
    /// Units lent now, copies counted.
    pub leased: u64,
    /// Workers that hold leases of it now.
    pub workers: u64,
    /// Of canonical reports.
    pub fuel: u128,
    /// Granted: fuel times agreeing copies.
    pub credit: u128,
    /// Reports accepted.
    pub copies: u64,
    /// Milliseconds since 1970.
    pub submitted_at_ms: u64,
    /// Milliseconds since 1970; `None` while it runs.
    pub ended_at_ms: Option<u64>,
    /// Why it is in this state.
    pub reason: String,
    /// Who submitted it.
    pub account: String,
    /// Digest of the specification's bytes.
    pub spec_digest: Digest,
    /// Recent rate, thousandths of a unit per second.
    pub units_per_second_milli: u64,
    /// Verdicts withdrawn because the one worker that they rested on was caught.
    pub withdrawn: u64,
    /// Units by the figure of their verdict, for a job that asks for confidence.
    pub risks: BTreeMap<Risk, u64>,
    /// Segments run again to check reports or to settle disputes.
    pub segments: u64,
    /// Fuel of these.
    pub segments_fuel: u128,
    /// Proofs of wrong reports that are kept.
    pub evidence: u64,
    /// Of a running job that has not moved for a while, why; most important first.
    pub waiting: Vec<String>,
    /// What the answers of a running job are not protected from.
    pub warnings: Vec<String>,
}

/// A worker in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// The machine.
    pub worker: WorkerKey,
    /// Its owner.
    pub account: AccountKey,
    /// The machine's name.
    pub name: String,
    /// The owner's name.
    pub account_name: String,
    /// Whether a stream is open.
    pub connected: bool,
    /// Units that it holds.
    pub leased: u64,
    /// Reports of it that were accepted.
    pub reported: u64,
    /// Reports that lost against the canonical one.
    pub disagreed: u64,
    /// Times that it was caught with a wrong result.
    pub caught: u64,
    /// Whether the operator has appointed it.
    pub referee: bool,
    /// Units given back as failures or let expire.
    pub failures: u64,
    /// Granted for its reports, fuel.
    pub credit: u128,
    /// When it was last heard of, milliseconds since 1970.
    pub seen_at_ms: u64,
}

/// The whole in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// With an open stream.
    pub workers_connected: u64,
    /// Ever seen.
    pub workers_known: u64,
    /// Running now.
    pub jobs_running: u64,
    /// Ever submitted.
    pub jobs_known: u64,
    /// Units with a verdict, over all jobs.
    pub units_settled: u64,
    /// Units lent now.
    pub units_leased: u64,
    /// Granted, fuel.
    pub credit: u128,
    /// Referees that are connected.
    pub referees: u64,
    /// Units on which the crowd agreed and that a referee found right, since one was found wrong.
    pub crowd_checks: u64,
    /// Bytes of the store on disk.
    pub store_bytes: u64,
    /// Empty, or what the operator must mend.
    pub trouble: String,
    /// Whether nothing is decided any more: records are missing.
    pub halted: bool,
}

/// A unit with its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitResult {
    /// Which unit.
    pub unit: UnitIndex,
    /// Of the canonical report; 0 when given up.
    pub fuel: u64,
    /// What it came to.
    pub told: Told,
    /// The estimated chance that it is wrong; 0 for a job that asks for copies.
    pub risk: Risk,
    /// The project's word for it, to be signed; where it was asked for and there is an answer.
    pub receipt: Option<Receipt>,
}

/// What is told of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// What it came to.
    Settled(Outcome),
    /// No answer, for this reason.
    GivenUp(String),
    /// What was told before holds no more, for this reason; another verdict will follow.
    Withdrawn(String),
}

/// How far the results of a job were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Records of the job's log that were read whole.
    pub record: u64,
    /// Units of the next record that were read too.
    pub offset: u64,
}

/// Results in the order in which they were settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Ask for what follows after this.
    pub cursor: Cursor,
    /// Of each unit one.
    pub results: Vec<UnitResult>,
}
