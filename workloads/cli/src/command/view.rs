//! How a job's status is shown.

use crate::amount;
use jiff::Timestamp;
use proto::pb::job_status::State;
use proto::{Digest, JobId, pb, text};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A job's status, as programs see it.
#[derive(Debug, Serialize)]
pub(super) struct View {
    job: String,
    name: String,
    state: &'static str,
    reason: String,
    account: String,
    units: u64,
    settled: u64,
    failed: u64,
    leased: u64,
    workers: u64,
    fuel: u64,
    credit: u64,
    copies: u64,
    withdrawn: u64,
    /// Units by the figure of their verdict.
    figures: BTreeMap<u32, u64>,
    /// Segments run again to check reports or to settle disputes.
    segments: u64,
    /// Fuel of these.
    segments_fuel: u64,
    /// Proofs of wrong reports that are kept.
    evidence: u64,
    /// Why it does not move, of a job that does not.
    waiting: Vec<String>,
    /// What its answers are not protected from.
    warnings: Vec<String>,
    units_per_second: f64,
    submitted_at: Option<String>,
    ended_at: Option<String>,
    spec: Option<Digest>,
}

pub(super) fn state(status: &pb::JobStatus) -> &'static str {
    match status.state() {
        State::Running => "running",
        State::Done => "done",
        State::Cancelled => "cancelled",
        State::Unspecified => "unknown",
    }
}

pub(super) fn has_ended(status: &pb::JobStatus) -> bool {
    matches!(status.state(), State::Done | State::Cancelled)
}

impl From<&pb::JobStatus> for View {
    fn from(status: &pb::JobStatus) -> Self {
        Self {
            job: JobId(status.job_id).to_string(),
            name: status.name.clone(),
            state: state(status),
            reason: status.reason.clone(),
            account: status.account.clone(),
            units: status.units,
            settled: status.settled,
            failed: status.failed,
            leased: status.leased,
            workers: status.workers,
            fuel: status.fuel,
            credit: status.credit,
            copies: status.copies,
            withdrawn: status.withdrawn,
            figures: status.figures.iter().map(|of| (of.figure, of.units)).collect(),
            segments: status.segments,
            segments_fuel: status.segments_fuel,
            evidence: status.evidence,
            waiting: status.waiting.clone(),
            warnings: status.warnings.clone(),
            units_per_second: rate(status),
            submitted_at: time(status.submitted_at_ms),
            ended_at: time(status.ended_at_ms),
            spec: Digest::try_from(status.spec_digest.as_ref()).ok(),
        }
    }
}

fn time(ms: u64) -> Option<String> {
    let ms = i64::try_from(ms).ok().filter(|ms| *ms != 0)?;
    Timestamp::from_millisecond(ms).ok().map(|time| time.to_string())
}

/// Units settled in a second, lately.
#[expect(clippy::cast_precision_loss, reason = "shown, not computed with")]
pub(super) fn rate(status: &pb::JobStatus) -> f64 {
    status.units_per_second_milli as f64 / 1e3
}

/// Time until the job has ended, at the rate of late.
pub(super) fn left(status: &pb::JobStatus) -> Option<Duration> {
    let ms = (status.units - status.settled.min(status.units)).checked_mul(1_000_000)?;
    Some(Duration::from_millis(ms.checked_div(status.units_per_second_milli)?))
}

/// What is said beside a bar or on a line of its own: rate, time left, workers, credit.
pub(super) fn details(status: &pb::JobStatus) -> String {
    let left = left(status).map_or_else(
        || "time left unknown".to_owned(),
        |left| format!("{} left", amount::duration(left)),
    );
    let failed =
        if status.failed == 0 { String::new() } else { format!(", {} failed", status.failed) };
    let withdrawn = if status.withdrawn == 0 {
        String::new()
    } else {
        format!(", {} results withdrawn since", status.withdrawn)
    };
    let checked = checked(status);
    let waiting = waiting(status).map(|why| format!("; it waits: {why}")).unwrap_or_default();
    let rate = rate(status);
    let workers = counted(status.workers, "worker");
    format!(
        "{rate:.1} units/s, {left}, {workers}, credit {}{failed}{withdrawn}{checked}{waiting}",
        amount::count(status.credit)
    )
}

/// Why a job that does not move does not, on one line.
pub(super) fn waiting(status: &pb::JobStatus) -> Option<String> {
    let reasons: Vec<String> = status.waiting.iter().map(|why| text::printable(why)).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// What was run again in segments, and what that cost against the whole.
#[expect(clippy::cast_precision_loss, reason = "shown, not computed with")]
fn checked(status: &pb::JobStatus) -> String {
    let mut text = String::new();
    if 0 < status.segments {
        let share = 100.0 * status.segments_fuel as f64 / status.fuel.max(1) as f64;
        text = format!(
            ", {} run again ({share:.2} % of the fuel)",
            counted(status.segments, "segment")
        );
    }
    if 0 < status.evidence {
        text.push_str(&format!(", {} kept", proofs(status.evidence)));
    }
    text
}

fn proofs(count: u64) -> String {
    if count == 1 {
        "1 proof of a wrong report".into()
    } else {
        format!("{count} proofs of wrong reports")
    }
}

/// `1 worker`, `2 workers`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// One line about a job.
pub(super) fn line(status: &pb::JobStatus) -> String {
    let job = JobId(status.job_id);
    let percent = 100 * u128::from(status.settled) / u128::from(status.units.max(1));
    let (settled, units, name) = (status.settled, status.units, &status.name);
    match status.state() {
        State::Running => format!(
            "{job} \"{name}\": {settled} of {units} units ({percent} %), {}",
            details(status)
        ),
        _ => {
            let failed = if status.failed == 0 {
                String::new()
            } else {
                format!(", {} failed", status.failed)
            };
            let reason = if status.reason.is_empty() {
                String::new()
            } else {
                format!(" ({})", status.reason)
            };
            let checked = checked(status);
            let (fuel, credit) = (amount::count(status.fuel), amount::count(status.credit));
            format!(
                "{job} \"{name}\": {}{reason}, {settled} of {units} units{failed}, fuel {fuel}, credit {credit}{checked}",
                state(status)
            )
        }
    }
}
