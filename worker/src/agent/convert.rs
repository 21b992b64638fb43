//! Between what is said on the wire or run in a slot and what the agent knows.

use crate::blobs::Blobs;
use ed25519_dalek::SigningKey;
use proto::bounds::LEASE_UNITS_MAX;
use proto::id::UnitId;
use proto::job::{Extra, Nan, Unit, UnitInput};
use proto::pb::{self, coordinator_message::Kind, worker_message};
use proto::report::{Ack, Output};
use proto::ticket::Ticket;
use proto::{Digest, JobId, LeaseId, UnitIndex};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use worker_core::agent::{Event, Lease, Message, Request, Shown, Start, StateFile, Wish};

/// What the coordinator said, as an event; `None` for what this version does not know.
///
/// # Errors
/// When it makes no sense, for people.
pub(super) fn event(message: pb::CoordinatorMessage) -> Result<Option<Event>, String> {
    Ok(match message.kind {
        Some(Kind::Job(job)) => Some(Event::Job { id: JobId(job.job_id), spec: job.spec.to_vec() }),
        Some(Kind::Leases(leases)) => {
            Some(Event::Leases(leases.leases.into_iter().map(lease).collect::<Result<_, _>>()?))
        }
        Some(Kind::Acks(acks)) => {
            let status =
                acks.status.iter().map(|byte| Ack::try_from(*byte)).collect::<Result<_, _>>();
            let status = status.map_err(
                |_| "an acknowledgement that this version does not know: update this worker",
            )?;
            Some(Event::Acks { sequence: acks.sequence, status, credit: acks.credit })
        }
        Some(Kind::Cancel(cancel)) => Some(Event::Cancel {
            leases: cancel.lease_ids.into_iter().map(LeaseId).collect(),
            reason: crate::coordinator::printable(&cancel.reason),
        }),
        Some(Kind::Idle(idle)) => Some(Event::Idle {
            reason: crate::coordinator::printable(&idle.reason),
            retry_after: Duration::from_millis(idle.retry_after_ms),
        }),
        Some(Kind::Challenge(_) | Kind::Welcome(_)) => {
            return Err("a greeting in the middle of the stream".into());
        }
        Some(Kind::Show(asked)) => Some(Event::Errand(show(asked)?)),
        Some(Kind::Segment(lease)) => Some(Event::Errand(segment(lease)?)),
        Some(Kind::Advice(advice)) => {
            Some(Event::Advice(crate::coordinator::printable(&advice.text)))
        }
        Some(Kind::Refusal(_)) | None => None,
    })
}

fn lease(lease: pb::Lease) -> Result<Lease, String> {
    if LEASE_UNITS_MAX < lease.count {
        return Err(format!(
            "a lease of {} units: at most {LEASE_UNITS_MAX} are allowed",
            lease.count
        ));
    }
    Ok(Lease {
        id: LeaseId(lease.lease_id),
        job: JobId(lease.job_id),
        first: UnitIndex(lease.first),
        count: lease.count,
        duration: Duration::from_millis(lease.expires_in_ms),
        extras: lease.extras.into_iter().map(extra).collect::<Result<_, _>>()?,
    })
}

fn show(show: pb::Show) -> Result<Request, String> {
    Ok(Request {
        number: show.show_id,
        unit: UnitId { job: JobId(show.job_id), unit: UnitIndex(show.unit) },
        extra: extra(show.extra.unwrap_or_default())?,
        wish: Wish::Show { fuel: show.fuel },
    })
}

fn segment(lease: pb::SegmentLease) -> Result<Request, String> {
    let from = match (&lease.from, &lease.state) {
        (None, None) => None,
        (Some(point), Some(blob)) => Some(Start {
            point: point.try_into().map_err(|error: proto::trace::Malformed| error.to_string())?,
            blob: Digest::try_from(blob.digest.as_ref())
                .map_err(|_| "a segment's state has a digest that is none")?,
            len: blob.len,
        }),
        _ => return Err("a segment that begins at a point without a state, or the reverse".into()),
    };
    Ok(Request {
        number: lease.segment_id,
        unit: UnitId { job: JobId(lease.job_id), unit: UnitIndex(lease.unit) },
        extra: extra(lease.extra.unwrap_or_default())?,
        wish: Wish::Segment {
            spacing: lease.spacing,
            from,
            expires_in: Duration::from_millis(lease.expires_in_ms),
        },
    })
}

/// The tickets of leases, as far as they brought one.
pub(super) fn tickets(leases: &pb::Leases) -> Vec<Ticket> {
    let ticket = |lease: &pb::Lease| {
        Some(Ticket {
            lease: LeaseId(lease.lease_id),
            job: JobId(lease.job_id),
            first: UnitIndex(lease.first),
            count: lease.count,
            stamp: lease.ticket.as_ref().try_into().ok()?,
        })
    };
    leases.leases.iter().filter_map(ticket).collect()
}

fn extra(extra: pb::UnitExtra) -> Result<Extra, String> {
    let inputs = extra.inputs.iter().map(Output::try_from).collect::<Result<_, _>>();
    let inputs = inputs.map_err(|error| format!("a lease brings what is no output: {error}"))?;
    Ok(Extra { line: (!extra.line.is_empty()).then_some(extra.line), inputs })
}

/// What the worker says, for the wire; batches and statements are signed.
pub(super) fn message(message: Message, key: &SigningKey) -> pb::WorkerMessage {
    use worker_message::Kind;
    let kind = match message {
        Message::Want { units, seconds, fuel_per_second, memory_bytes, kernels } => {
            Kind::Want(pb::Want {
                units,
                seconds,
                fuel_per_second,
                memory_bytes,
                kernels: kernels.into_iter().map(|digest| digest.0.to_vec().into()).collect(),
            })
        }
        Message::Reports(batch) => Kind::Reports(batch.sign(key)),
        Message::Heartbeat { leases, paused, progress } => Kind::Heartbeat(pb::Heartbeat {
            lease_ids: leases.into_iter().map(|lease| lease.0).collect(),
            paused,
            progress: progress
                .into_iter()
                .map(|progress| pb::Progress {
                    lease_id: progress.lease.0,
                    unit: progress.unit.0,
                    done: progress.done,
                    total: progress.total,
                })
                .collect(),
        }),
        Message::Returns(returns) => Kind::Returns(pb::Returns {
            returns: returns
                .into_iter()
                .map(|back| pb::Return {
                    lease_id: back.lease.0,
                    unit: back.unit.0,
                    reason: back.reason,
                    failure: back.failure,
                })
                .collect(),
        }),
        Message::Shown { show, shown } => Kind::Shown(self::shown(show, shown)),
        Message::Segment { segment, found: Ok(statement) } => {
            Kind::Segment(statement.sign(key, segment))
        }
        Message::Segment { segment, found: Err(failure) } => {
            Kind::Segment(pb::SegmentReport { segment_id: segment, failure, ..Default::default() })
        }
        Message::Goodbye { leaving } => Kind::Goodbye(pb::Goodbye { leaving }),
    };
    pb::WorkerMessage { kind: Some(kind) }
}

fn shown(show_id: u64, shown: Result<Shown, String>) -> pb::Shown {
    match shown {
        Ok(Shown { trace, state }) => {
            let blob = |state: StateFile| pb::BlobRef {
                digest: state.digest.0.to_vec().into(),
                len: state.len,
            };
            let trace = trace.encode().into();
            pb::Shown { show_id, trace, state: state.map(blob), gone: String::new() }
        }
        Err(gone) => pb::Shown { show_id, gone, ..Default::default() },
    }
}

/// A unit as the sandbox sees it, without snapshots and trace. Inputs that came inside the lease go into the file `inline`.
///
/// # Errors
/// When that file cannot be written.
pub(super) fn unit(blobs: &Blobs, unit: &Unit, inline: PathBuf) -> io::Result<sandbox::Unit> {
    let mut inline = Inline { path: inline, content: Vec::new() };
    let inputs = unit.inputs.iter().map(|input| sandbox::Input {
        segments: match input {
            UnitInput::Segments(segments) => segments
                .iter()
                .filter(|segment| 0 < segment.len)
                .map(|segment| sandbox::Segment {
                    path: blobs.path(&segment.digest),
                    digest: segment.digest.0,
                    offset: segment.offset,
                    len: segment.len,
                })
                .collect(),
            UnitInput::Inline(content) => vec![inline.add(content)],
        },
    });
    let inputs = inputs.collect();
    if !inline.content.is_empty() {
        std::fs::write(&inline.path, &inline.content)?;
    }
    let contract = kernel::Contract::of(unit.contract)
        .ok_or_else(|| io::Error::other("this release does not know the contract of the job"))?;
    Ok(sandbox::Unit {
        kernel: sandbox::Kernel {
            path: blobs.path(&unit.kernel),
            digest: unit.kernel.0,
            contract,
            nan: match unit.nan {
                Nan::Canonical => kernel::NanMode::Canonical,
                Nan::Unchecked => kernel::NanMode::Unchecked,
            },
        },
        params: unit.params.clone().into_bytes(),
        inputs,
        seed: unit.seed,
        limits: sandbox::Limits {
            memory: unit.limits.memory_bytes,
            fuel: unit.limits.fuel,
            output: unit.limits.output_bytes,
            log: unit.limits.log_bytes,
        },
        time: Duration::from_secs(unit.limits.time_s),
        snapshot: None,
        exit_codes: unit.exit_codes.clone(),
        trace: None,
    })
}

/// The file of inputs that came inside the lease.
struct Inline {
    path: PathBuf,
    content: Vec<u8>,
}

impl Inline {
    fn add(&mut self, content: &[u8]) -> sandbox::Segment {
        let offset = self.content.len() as u64;
        self.content.extend_from_slice(content);
        sandbox::Segment {
            path: self.path.clone(),
            digest: Digest::of(content).0,
            offset,
            len: content.len() as u64,
        }
    }
}

#[cfg(test)]
mod tests;
