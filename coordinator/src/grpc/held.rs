//! Reports of workers that are away or gone, brought by those that held them.

use crate::blobs::Putter;
use crate::core::event::{Delivered, Earlier, SignedBatch};
use crate::grpc::Shared;
use crate::grpc::access::Caller;
use crate::grpc::blobs::lacking;
use crate::grpc::places::Crowd;
use crate::grpc::refusal::{Refusal, blocking};
use proto::report::{Outcome, Output};
use proto::seal::{Invalid, Opened, Sealed};
use proto::{Digest, WorkerKey, pb};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

/// Batches asked about in one call: what a worker asks at once.
const NAMES_MAX: usize = 256;
/// Sealed batches opened at once: each is some megabytes and a few signatures.
static OPENING: Semaphore = Semaphore::const_new(8);
/// Calls of one worker at once, after a silence; what it held through a long absence of the coordinator takes a while.
const CALLS_BURST: u32 = 256;
/// Calls of one worker per second in the long run.
const CALLS_PER_SECOND: u32 = 16;
/// Callers that are counted; beyond it those that called least lately are forgotten.
const CALLERS_MAX: usize = 16_384;
/// Workers that are not known that one network may bring at once, after a silence: a university that joins on one day. A few
/// dozen megabytes, until those that never report are forgotten.
const NEWCOMERS_BURST: u32 = 16_384;
/// The same per second in the long run.
const NEWCOMERS_PER_SECOND: u32 = 4;

/// How often each caller may do something: many times at once, and then now and then.
#[derive(Debug)]
pub(crate) struct Allowances<K> {
    burst: u32,
    each: Duration,
    whole_at: Mutex<HashMap<K, Instant>>,
}

impl Allowances<WorkerKey> {
    /// Of workers that bring what they hold for others.
    pub(crate) fn deliveries() -> Self {
        Self::new(CALLS_BURST, CALLS_PER_SECOND)
    }
}

impl Allowances<Crowd> {
    /// Of networks that bring workers which are not known.
    pub(crate) fn newcomers() -> Self {
        Self::new(NEWCOMERS_BURST, NEWCOMERS_PER_SECOND)
    }
}

impl<K: Eq + Hash> Allowances<K> {
    fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, each: Duration::from_secs(1) / per_second, whole_at: Mutex::default() }
    }

    /// Counts a call at `now`; false when the caller has to wait.
    pub(crate) fn take(&self, caller: K, now: Instant) -> bool {
        let each = self.each;
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        if CALLERS_MAX <= whole_at.len() {
            whole_at.retain(|_, at| now < *at);
        }
        if CALLERS_MAX <= whole_at.len() && !whole_at.contains_key(&caller) {
            return false;
        }
        let at = whole_at.entry(caller).or_insert(now);
        let next = (*at).max(now) + each;
        let taken = next <= now + each * self.burst;
        if taken {
            *at = next;
        }
        taken
    }
}

/// `starling.v1.Held`.
pub(super) struct Held(pub(super) Arc<Shared>);

impl Held {
    async fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Caller::Volunteer(volunteer) = self.0.access.caller(request).await? else {
            return Err(Status::permission_denied("only workers hold reports for others"));
        };
        if self.0.deliveries.take(volunteer.worker, Instant::now()) {
            Ok(())
        } else {
            Err(Status::resource_exhausted("too many calls: try again in a minute"))
        }
    }
}

#[tonic::async_trait]
impl pb::held_server::Held for Held {
    async fn wanted(
        &self,
        request: Request<pb::WantedRequest>,
    ) -> Result<Response<pb::WantedReply>, Status> {
        self.admit(&request).await?;
        let batches = request.into_inner().batches;
        if NAMES_MAX < batches.len() {
            return Err(Status::invalid_argument(format!("at most {NAMES_MAX} in one call")));
        }
        let name = |name: &pb::BatchName| {
            let worker = WorkerKey::try_from(name.worker_key.as_ref())
                .map_err(|_| Status::invalid_argument("a worker's key has 32 bytes"))?;
            Ok((worker, name.sequence))
        };
        let names = batches.iter().map(name).collect::<Result<Vec<_>, Status>>()?;
        let wanted = self.0.engine.lacking(names).await.map_err(Refusal::from)?;
        Ok(Response::new(pb::WantedReply { wanted }))
    }

    async fn deliver(
        &self,
        request: Request<pb::DeliverRequest>,
    ) -> Result<Response<pb::DeliverReply>, Status> {
        self.admit(&request).await?;
        let sealed = request.into_inner().sealed;
        let _turn = OPENING
            .try_acquire()
            .map_err(|_| Status::unavailable("too many at once: try again in a minute"))?;
        let shared = Arc::clone(&self.0);
        let opened = blocking(move || open(&shared, &sealed)).await?;
        self.take_outputs(&opened).await?;
        let brought: HashSet<Digest> =
            opened.outputs.iter().map(|output| Digest::of(output)).collect();
        let lacking = lacking(&self.0, &opened.batch, |digest| brought.contains(digest))?;
        let Opened { account, batch, payload, signature, .. } = opened;
        let root = batch.root();
        let signed = SignedBatch {
            batch,
            root,
            payload: payload.into(),
            signature,
            missing: Vec::new(),
            earlier: Earlier::Nothing,
        };
        let delivered = Delivered { account, signed };
        let acks = self.0.engine.delivered(delivered, lacking).await.map_err(Refusal::from)?;
        let status: Vec<u8> = acks.acks.iter().map(|ack| *ack as u8).collect();
        Ok(Response::new(pb::DeliverReply { status: status.into() }))
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self(Status::invalid_argument(format!("{invalid}: drop it")))
    }
}

fn open(shared: &Shared, sealed: &[u8]) -> Result<Opened, Invalid> {
    Sealed::verify(sealed, &shared.project)?.open(&shared.key)
}

impl Held {
    /// Puts the outputs that came along and that the reports name, as their worker would have.
    async fn take_outputs(&self, opened: &Opened) -> Result<(), Refusal> {
        let named: HashSet<Digest> = opened
            .batch
            .reports
            .iter()
            .filter_map(|report| match &report.outcome {
                Outcome::Done(Output::Blob { digest, .. }) => Some(*digest),
                Outcome::Done(Output::Inline(_)) | Outcome::Failed(_) => None,
            })
            .collect();
        // No job runs: the reports are of no use either, and say so themselves.
        let Some(bytes_max) = self.0.named.output_bytes_max() else {
            return Ok(());
        };
        for output in opened.outputs.iter().filter(|output| named.contains(&Digest::of(output))) {
            if output.len() as u64 <= bytes_max && self.0.blobs.len(&Digest::of(output)).is_none() {
                let (blobs, output) = (Arc::clone(&self.0.blobs), output.clone());
                let put = move || blobs.put_all(Putter::Worker { bytes_max }, &output);
                blocking(put).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_calls_without_end_waits_and_others_do_not() {
        let allowances = Allowances::deliveries();
        let now = Instant::now();
        let calls = |worker, at| (0..1_000).filter(|_| allowances.take(worker, at)).count();
        assert_eq!(calls(WorkerKey([1; 32]), now), CALLS_BURST as usize);
        assert_eq!(calls(WorkerKey([2; 32]), now), CALLS_BURST as usize);
        let later = now + Duration::from_secs(2);
        assert_eq!(calls(WorkerKey([1; 32]), later), 2 * CALLS_PER_SECOND as usize);
    }
}
