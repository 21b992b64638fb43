//! From domain types to messages and back, where that needs no decision.

use crate::core::event::{Found, Heartbeat, Lease, Logged, Return, Segment, Show, Want};
use crate::core::status::{JobState, JobStatus, Told, UnitResult, WorkerStatus};
use crate::core::token::{Role, Token};
use crate::grpc::egress::OfBlob;
use proto::bounds::{NAME_BYTES_MAX, REASON_BYTES_MAX};
use proto::job::Extra;
use proto::report::Outcome;
use proto::trace::SegmentStatement;
use proto::unit_log::Line;
use proto::{LeaseId, UnitIndex, WorkerKey, pb};

/// The wire's integers are narrower than the core's sums, which stay far below.
pub(super) fn saturated(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}

/// Text for people from a stranger: bounded, without harmful characters.
fn text(from: &str, bytes_max: usize) -> String {
    proto::text::shortened(from, bytes_max)
}

/// A name that a stranger gives.
pub(super) fn name(from: &str) -> String {
    text(from, NAME_BYTES_MAX)
}

pub(super) fn want(want: &pb::Want) -> Want {
    Want {
        units: want.units,
        seconds: want.seconds,
        fuel_per_second: want.fuel_per_second,
        memory_bytes: want.memory_bytes,
    }
}

pub(super) fn heartbeat(heartbeat: &pb::Heartbeat) -> Heartbeat {
    Heartbeat {
        leases: heartbeat.lease_ids.iter().copied().map(LeaseId).collect(),
        paused: heartbeat.paused,
    }
}

pub(super) fn returns(returns: pb::Returns) -> Vec<Return> {
    let each = |unit: pb::Return| Return {
        lease: LeaseId(unit.lease_id),
        unit: UnitIndex(unit.unit),
        reason: text(&unit.reason, REASON_BYTES_MAX),
        failure: unit.failure,
    };
    returns.returns.into_iter().map(each).collect()
}

/// Lines of units, each within its bounds.
pub(super) fn logs(logs: pb::KernelLogs) -> Vec<Logged> {
    let each = |log: pb::KernelLog| Logged {
        lease: LeaseId(log.lease_id),
        unit: UnitIndex(log.unit),
        lines: log.lines.into_iter().map(Line::from).collect(),
    };
    logs.logs.into_iter().map(each).collect()
}

fn extra(extra: Extra) -> pb::UnitExtra {
    pb::UnitExtra {
        line: extra.line.unwrap_or_default(),
        inputs: extra.inputs.iter().map(pb::Output::from).collect(),
    }
}

pub(super) fn show(show: Show) -> pb::Show {
    pb::Show {
        show_id: show.ask,
        job_id: show.job.0,
        unit: show.unit.0,
        extra: show.extra.map(extra),
        fuel: show.fuel,
    }
}

pub(super) fn segment(segment: Segment) -> pb::SegmentLease {
    pb::SegmentLease {
        segment_id: segment.ask,
        job_id: segment.job.0,
        unit: segment.unit.0,
        extra: segment.extra.map(extra),
        spacing: segment.spacing,
        from: segment.from.as_ref().map(pb::TracePoint::from),
        state: segment
            .state
            .map(|(digest, len)| pb::BlobRef { digest: digest.0.to_vec().into(), len }),
        expires_in_ms: segment.expires_in_ms,
    }
}

/// What a worker found of a segment, its signature verified.
pub(super) fn found(report: &pb::SegmentReport, worker: &WorkerKey) -> Result<Found, String> {
    let ask = report.segment_id;
    if !report.failure.is_empty() || report.statement.is_empty() {
        return Ok(Found { ask, found: Err(text(&report.failure, REASON_BYTES_MAX)) });
    }
    let statement =
        SegmentStatement::decode(&report.statement).map_err(|error| error.to_string())?;
    statement.verify(worker, &report.signature).map_err(|error| error.to_string())?;
    let signature = report.signature.as_ref().try_into();
    let signature = signature.map_err(|_| "a signature has 64 bytes".to_owned())?;
    Ok(Found { ask, found: Ok((statement, signature)) })
}

pub(super) fn lease(lease: Lease) -> pb::Lease {
    pb::Lease {
        lease_id: lease.lease.0,
        job_id: lease.job.0,
        first: lease.first.0,
        count: lease.count,
        expires_in_ms: lease.expires_in_ms,
        extras: lease.extras.into_iter().map(extra).collect(),
        ticket: bytes::Bytes::new(),
    }
}

pub(super) fn job(job: JobStatus) -> pb::JobStatus {
    use pb::job_status::State;
    let state = match job.state {
        JobState::Running => State::Running,
        JobState::Done => State::Done,
        JobState::Cancelled => State::Cancelled,
    };
    pb::JobStatus {
        job_id: job.id.0,
        name: job.name,
        state: state.into(),
        units: job.units,
        settled: job.settled,
        failed: job.failed,
        leased: job.leased,
        workers: job.workers,
        fuel: saturated(job.fuel),
        credit: saturated(job.credit),
        copies: job.copies,
        submitted_at_ms: job.submitted_at_ms,
        ended_at_ms: job.ended_at_ms.unwrap_or(0),
        reason: job.reason,
        account: job.account,
        spec_digest: job.spec_digest.0.to_vec().into(),
        units_per_second_milli: job.units_per_second_milli,
        withdrawn: job.withdrawn,
        segments: job.segments,
        segments_fuel: saturated(job.segments_fuel),
        evidence: job.evidence,
        waiting: job.waiting,
        warnings: job.warnings,
        figures: job
            .risks
            .into_iter()
            .map(|(figure, units)| pb::Figure { figure: figure.0.into(), units })
            .collect(),
    }
}

pub(super) fn result(result: UnitResult) -> pb::UnitResult {
    use pb::unit_result::Outcome as Wire;
    let outcome = match result.told {
        Told::Settled(Outcome::Done(output)) => Wire::Output(pb::Output::from(&output)),
        Told::Settled(Outcome::Failed(failure)) => Wire::Failure(failure.to_string()),
        Told::GivenUp(reason) => Wire::Failure(reason),
        Told::Withdrawn(reason) => Wire::Withdrawn(reason),
    };
    pb::UnitResult {
        unit: result.unit.0,
        fuel: result.fuel,
        figure: result.risk.0.into(),
        outcome: Some(outcome),
        receipt: None,
    }
}

pub(super) fn worker(worker: WorkerStatus) -> pb::WorkerStatus {
    pb::WorkerStatus {
        worker_key: worker.worker.0.to_vec().into(),
        account_key: worker.account.0.to_vec().into(),
        name: worker.name,
        account_name: worker.account_name,
        connected: worker.connected,
        leased: worker.leased,
        reported: worker.reported,
        disagreed: worker.disagreed,
        caught: worker.caught,
        referee: worker.referee,
        failures: worker.failures,
        credit: saturated(worker.credit),
        seen_at_ms: worker.seen_at_ms,
    }
}

pub(super) fn of_blob(OfBlob { digest, len, given }: OfBlob) -> pb::GivenBlob {
    pb::GivenBlob { digest: digest.0.to_vec().into(), len, given_bytes: given }
}

pub(super) fn token(token: Token) -> pb::Token {
    use pb::issue_token_request::Role as Told;
    let role = match token.role {
        Role::Researcher => Told::Researcher,
        Role::Operator => Told::Operator,
        Role::Volunteer { .. } => Told::Volunteer,
    };
    let accounts = match token.role {
        Role::Volunteer { accounts } => accounts,
        Role::Researcher | Role::Operator => 0,
    };
    pb::Token {
        token_id: token.id.0,
        account: token.account,
        role: role.into(),
        issued_at_ms: token.issued_at_ms,
        accounts,
    }
}
