//! What the core says to a worker, as messages of the stream.

use super::{End, OUTBOUND_MESSAGES, Outbound, send};
use crate::core::event::{Lease, ToWorker};
use crate::engine::FromCore;
use crate::grpc::refusal::blocking;
use crate::grpc::{Services, convert};
use prost::Message;
use proto::bounds::MESSAGE_BYTES_MAX;
use proto::pb::{self, coordinator_message::Kind, refusal::Code};
use proto::{JobId, WorkerKey};
use tokio::time::timeout;

/// Messages of the core taken at once: leases among them travel together.
const AT_ONCE: usize = 64;

/// When a worker is to come back whose place another machine with the same key has taken: often enough that it does not depend
/// on whoever has the copy, and so seldom that the two do not throw each other out all day.
const REPLACED_RETRY_MS: u64 = 3_600_000;

/// Passes on what the core says until it says no more.
pub(super) async fn write(
    shared: &Services,
    worker: &WorkerKey,
    mut from_core: FromCore,
    outbound: &Outbound,
) -> End {
    let mut said = Vec::with_capacity(AT_ONCE);
    loop {
        if from_core.recv_many(&mut said, AT_ONCE).await == 0 {
            let text = "this worker reads too slowly what it is sent: check its connection, then connect again";
            return End::refusal(Code::TooMany, text, super::RETRY_MS);
        }
        if let Err(end) = pass_on(shared, worker, said.drain(..), outbound).await {
            return end;
        }
    }
}

async fn pass_on(
    shared: &Services,
    worker: &WorkerKey,
    said: impl Iterator<Item = ToWorker> + Send,
    outbound: &Outbound,
) -> Result<(), End> {
    let mut leases = Leases::default();
    for message in said {
        if let ToWorker::Lease(lease) = message {
            shared.blob_access.lease(&lease);
            let Lease { lease: id, job, first, count, .. } = lease;
            let ticket = shared.office.stamp(worker, id, job, first, count).to_vec().into();
            let lease = pb::Lease { ticket, ..convert::lease(lease) };
            if let Some(full) = leases.add(lease) {
                send(shared, outbound, Kind::Leases(full)).await?;
            }
            continue;
        }
        if let Some(before) = leases.take() {
            send(shared, outbound, Kind::Leases(before)).await?;
        }
        let kind = match message {
            ToWorker::Job { job } => {
                send_spec(shared, job, outbound).await?;
                continue;
            }
            ToWorker::Cancel { leases, reason } => Kind::Cancel(pb::Cancel {
                lease_ids: leases.into_iter().map(|lease| lease.0).collect(),
                reason,
            }),
            ToWorker::Idle { reason, retry_after_ms } => {
                Kind::Idle(pb::Idle { reason, retry_after_ms })
            }
            ToWorker::Show(show) => {
                shared.blob_access.show(&show, *worker);
                Kind::Show(convert::show(show))
            }
            ToWorker::Segment(segment) => {
                shared.blob_access.segment(&segment);
                Kind::Segment(convert::segment(segment))
            }
            ToWorker::Advice(text) => Kind::Advice(pb::Advice { text }),
            ToWorker::Replaced => {
                tracing::info!(
                    ?worker,
                    "another stream of this worker has taken over: it has connected again, or another machine has a copy of its \
                     key"
                );
                let text = "another machine has connected with this worker's key, and only one at a time can: on the one that \
                            has the copy, leave and join again (starling-worker leave --forget, then join); this one waits \
                            for an hour, then takes its place again";
                return Err(End::refusal(Code::Replaced, text, REPLACED_RETRY_MS));
            }
            ToWorker::Lease(_) => continue,
        };
        send(shared, outbound, kind).await?;
    }
    match leases.take() {
        Some(leases) => send(shared, outbound, Kind::Leases(leases)).await,
        None => Ok(()),
    }
}

/// Sends a job's specification, which may have a megabyte: it is read when nothing else waits for the worker.
async fn send_spec(shared: &Services, job: JobId, outbound: &Outbound) -> Result<(), End> {
    let places = outbound.reserve_many(OUTBOUND_MESSAGES);
    let Ok(Ok(mut places)) = timeout(shared.patience.stall, places).await else {
        return Err(End::Quiet);
    };
    let engine = shared.engine.clone();
    let spec = blocking(move || engine.spec(job)).await?;
    let Some(spec) = spec else { return Ok(()) };
    shared.blob_access.job_of(job, &spec);
    if let Some(place) = places.next() {
        let job = pb::Job { job_id: job.0, spec: spec.into() };
        place.send(Ok(pb::CoordinatorMessage { kind: Some(Kind::Job(job)) }));
    }
    Ok(())
}

/// Leases that travel in one message, kept below its bound.
#[derive(Default)]
struct Leases {
    leases: Vec<pb::Lease>,
    bytes: usize,
}

impl Leases {
    /// Adds a lease; gives back those before it when they would not fit together.
    fn add(&mut self, lease: pb::Lease) -> Option<pb::Leases> {
        let bytes = lease.encoded_len() + 16;
        let full = if MESSAGE_BYTES_MAX / 2 < self.bytes + bytes { self.take() } else { None };
        self.bytes += bytes;
        self.leases.push(lease);
        full
    }

    fn take(&mut self) -> Option<pb::Leases> {
        self.bytes = 0;
        (!self.leases.is_empty()).then(|| pb::Leases { leases: std::mem::take(&mut self.leases) })
    }
}
