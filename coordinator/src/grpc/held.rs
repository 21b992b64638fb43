//! Reports of workers that are away or gone, brought by those that held them.

use crate::blobs::Putter;
use crate::core::event::SignedBatch;
use crate::grpc::Services;
use crate::grpc::access::Caller;
use crate::grpc::blobs::lacking;
use crate::grpc::places::Crowd;
use crate::grpc::refusal::{Refusal, blocking};
use proto::bucket::{Bucket, Buckets};
use proto::report::{Outcome, Output};
use proto::seal::{Invalid, Opened, Sealed};
use proto::{Digest, WorkerKey, pb};
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tonic::{Request, Response, Status};

/// Batches asked about in one call: what a worker asks at once.
const NAMES_MAX: usize = 256;
/// Sealed batches opened at once: each is some megabytes and a few signatures.
pub(crate) const OPENED_AT_ONCE: usize = 8;
/// Calls of one worker at once, after a silence; what it held through a long absence of the coordinator takes a while.
const CALLS_BURST: u64 = 256;
/// Calls of one worker per second in the long run.
const CALLS_PER_SECOND: u64 = 16;
/// Callers that are counted; beyond it those that called least lately are forgotten.
const CALLERS_MAX: usize = 16_384;
/// Workers that are not known that one network may bring at once, after a silence: a university that joins on one day. A few
/// dozen megabytes, until those that never report are forgotten.
const NEWCOMERS_BURST: u64 = 16_384;
/// The same per second in the long run.
const NEWCOMERS_PER_SECOND: u64 = 4;

/// How often each caller may do something: many times at once, and then now and then.
#[derive(Debug)]
pub(crate) struct Allowances<K> {
    since: Instant,
    buckets: Mutex<Buckets<K>>,
}

impl Allowances<WorkerKey> {
    /// Of workers that bring what they hold for others.
    pub(crate) fn deliveries() -> Self {
        Self::new(Bucket::new(CALLS_PER_SECOND, CALLS_BURST))
    }
}

impl Allowances<Crowd> {
    /// Of networks that bring workers which are not known.
    pub(crate) fn newcomers() -> Self {
        Self::new(Bucket::new(NEWCOMERS_PER_SECOND, NEWCOMERS_BURST))
    }
}

impl<K: Clone + Eq + Hash> Allowances<K> {
    fn new(each: Bucket) -> Self {
        Self { since: Instant::now(), buckets: Mutex::new(Buckets::new(each, CALLERS_MAX)) }
    }

    /// Counts a call; false when the caller has to wait.
    pub(crate) fn take(&self, caller: K) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.passes(self.since.elapsed(), caller, 1)
    }
}

/// `starling.v1.Held`.
pub(super) struct Held(pub(super) Arc<Services>);

impl Held {
    async fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Caller::Volunteer(volunteer) = self.0.access.caller(request).await? else {
            return Err(Status::permission_denied("only workers hold reports for others"));
        };
        if self.0.deliveries.take(volunteer.worker) {
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
        let _turn = self
            .0
            .opening
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
        let signed = SignedBatch { batch, root, payload: payload.into(), signature };
        let acks =
            self.0.engine.delivered(account, signed, lacking).await.map_err(Refusal::from)?;
        let status: Vec<u8> = acks.acks.iter().map(|ack| *ack as u8).collect();
        Ok(Response::new(pb::DeliverReply { status: status.into() }))
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self(Status::invalid_argument(format!("{invalid}: drop it")))
    }
}

fn open(shared: &Services, sealed: &[u8]) -> Result<Opened, Invalid> {
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
        let Some(bytes_max) = self.0.blob_access.output_bytes_max() else {
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
