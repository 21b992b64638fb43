//! The project's log, for whoever wants to check it.

use crate::core::saved::log::Used;
use crate::core::saved::log::{OutOfRange, Shown};
use crate::core::status::JobStatus;
use crate::grpc::access::{Caller, Person};
use crate::grpc::refusal::{Refusal, blocking};
use crate::grpc::{Services, jobs};
use proto::bounds::LOG_ENTRIES_MAX;
use proto::log::Head;
use proto::merkle::Path;
use proto::{JobId, UnitIndex, pb};
use std::sync::Arc;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Messages that wait for a reader.
const STREAM_MESSAGES: usize = 2;
/// Bytes of entries in one message, about: a last entry of two megabytes still fits.
const REPLY_BYTES: usize = 512 << 10;

/// `starling.v1.Log`.
pub(super) struct Log(pub(super) Arc<Services>);

type Reply<T> = Result<Response<T>, Status>;

impl Log {
    /// Anybody of the project: the log is there to be read.
    async fn member<T: Sync>(&self, request: &Request<T>) -> Result<Caller, Refusal> {
        self.0.access.caller(request).await
    }

    /// The job, if this person may see it.
    async fn visible<T>(&self, request: &Request<T>, job: JobId) -> Result<JobStatus, Refusal> {
        let person: Person = self.0.access.person(request).await?;
        jobs::visible(&self.0, &person, job.0).await
    }
}

/// Sends until the reader has gone or reads too slowly; whether it is still there.
async fn send<T>(
    shared: &Services,
    to: &Sender<Result<T, Status>>,
    what: Result<T, Status>,
) -> bool {
    matches!(timeout(shared.patience.stall, to.send(what)).await, Ok(Ok(())))
}

fn proof(path: Result<Path, OutOfRange>) -> Reply<pb::LogProof> {
    let path = path.map_err(|beyond| Status::out_of_range(beyond.to_string()))?;
    Ok(Response::new(pb::LogProof { path: digests(&path) }))
}

fn digests(path: &Path) -> Vec<bytes::Bytes> {
    path.0.iter().map(|digest| digest.0.to_vec().into()).collect()
}

fn shown(shown: &Shown) -> pb::ShownBatch {
    pb::ShownBatch {
        count: shown.count,
        signature: shown.signature.to_vec().into(),
        positions: shown.statements.iter().map(|(position, _)| *position).collect(),
        statements: shown.statements.iter().map(|(_, said)| said.encode().into()).collect(),
        path: digests(&shown.path),
    }
}

#[tonic::async_trait]
impl pb::log_server::Log for Log {
    type EntriesStream = ReceiverStream<Result<pb::LogEntries, Status>>;
    type ReportsStream = ReceiverStream<Result<pb::ShownBatch, Status>>;

    async fn head(&self, request: Request<pb::LogHeadRequest>) -> Reply<pb::SignedHead> {
        self.member(&request).await?;
        let head = self.0.engine.log_head().await.map_err(Refusal::from)?;
        let head = Head::new(self.0.project, head.size, head.root, head.at_ms);
        Ok(Response::new(head.sign(&self.0.key)))
    }

    async fn entries(&self, request: Request<pb::LogEntriesRequest>) -> Reply<Self::EntriesStream> {
        let caller = self.member(&request).await?;
        let pb::LogEntriesRequest { from, count_max, bytes_max } = request.into_inner();
        let (messages, stream) = mpsc::channel(STREAM_MESSAGES);
        let (shared, to) = (Arc::clone(&self.0), messages.clone());
        self.0.spawn_stream(&caller, to, async move {
            let (mut from, mut left) = (from, u64::from(count_max.min(LOG_ENTRIES_MAX)));
            let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
            let (bytes_max, mut bytes) = (if bytes_max == 0 { usize::MAX } else { bytes_max }, 0);
            while 0 < left && bytes < bytes_max {
                let engine = shared.engine.clone();
                let read = move || engine.log().entries(from, left, REPLY_BYTES);
                let message = match blocking(read).await {
                    Ok(entries) if entries.is_empty() => return,
                    Ok(entries) => {
                        let count = entries.len() as u64;
                        bytes += entries.iter().map(Vec::len).sum::<usize>();
                        let entries = entries.into_iter().map(Into::into).collect();
                        let message = pb::LogEntries { from, entries };
                        (from, left) = (from + count, left - count);
                        Ok(message)
                    }
                    Err(refusal) => Err(refusal.into()),
                };
                let failed = message.is_err();
                if !send(&shared, &messages, message).await || failed {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn inclusion(&self, request: Request<pb::LogInclusionRequest>) -> Reply<pb::LogProof> {
        self.member(&request).await?;
        let pb::LogInclusionRequest { index, size } = request.into_inner();
        let engine = self.0.engine.clone();
        proof(blocking(move || engine.log().inclusion(index, size)).await?)
    }

    async fn consistency(
        &self,
        request: Request<pb::LogConsistencyRequest>,
    ) -> Reply<pb::LogProof> {
        self.member(&request).await?;
        let pb::LogConsistencyRequest { from_size, to_size } = request.into_inner();
        let engine = self.0.engine.clone();
        proof(blocking(move || engine.log().consistency(from_size, to_size)).await?)
    }

    async fn locate(&self, request: Request<pb::UnitRequest>) -> Reply<pb::LogPlace> {
        let pb::UnitRequest { job_id, unit } = *request.get_ref();
        let job = self.visible(&request, JobId(job_id)).await?.id;
        let engine = self.0.engine.clone();
        let found = blocking(move || engine.log().locate(job, UnitIndex(unit))).await?;
        let index = found.ok_or_else(|| {
            Status::failed_precondition(format!(
                "{job}/{} has no verdict yet: `starling why` says more",
                UnitIndex(unit)
            ))
        })?;
        Ok(Response::new(pb::LogPlace { index }))
    }

    async fn reports(&self, request: Request<pb::LogReportsRequest>) -> Reply<Self::ReportsStream> {
        // Who is nobody here is not told how long the log is.
        let person = self.0.access.person(&request).await?;
        let index = request.get_ref().index;
        let engine = self.0.engine.clone();
        let entry = blocking(move || engine.log().entry(index)).await?;
        let entry =
            entry.ok_or_else(|| Status::out_of_range(format!("there is no entry {index}")))?;
        self.visible(&request, entry.job).await?;
        let (messages, stream) = mpsc::channel(STREAM_MESSAGES);
        let (shared, to) = (Arc::clone(&self.0), messages.clone());
        self.0.spawn_stream(&person.into(), to, async move {
            let engine = shared.engine.clone();
            let used: Vec<Used> = match blocking(move || engine.log().used(&entry)).await {
                Ok(used) => used,
                Err(refusal) => {
                    send(&shared, &messages, Err(refusal.into())).await;
                    return;
                }
            };
            for used in used {
                let engine = shared.engine.clone();
                let read = blocking(move || engine.log().shown(&used)).await;
                let message = read.map(|batch| shown(&batch)).map_err(Status::from);
                let failed = message.is_err();
                if !send(&shared, &messages, message).await || failed {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
