//! The volunteer's stream.

use crate::grpc::Services;
use crate::grpc::refusal::Refusal;
use crate::grpc::tls::Peer;
use program::error::chain;
use proto::pb;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

mod hello;
mod rate;
mod reports;
mod shown;
mod stream;
mod writer;

/// Messages for one worker that wait for the network; more are refused, and the worker with them.
const OUTBOUND_MESSAGES: usize = 32;

type Outbound = mpsc::Sender<Result<pb::CoordinatorMessage, Status>>;

/// How a stream ends, seen from here.
#[derive(Debug)]
enum End {
    /// The worker has gone, or there is no way to tell it anything.
    Quiet,
    /// The worker is told why.
    Refusal(pb::Refusal),
}

impl End {
    /// The worker is told why, and how long to stay away (0: for good).
    fn refusal(code: pb::refusal::Code, message: impl Into<String>, retry_after_ms: u64) -> Self {
        Self::Refusal(pb::Refusal { code: code.into(), message: message.into(), retry_after_ms })
    }
}

impl From<crate::engine::Error> for End {
    fn from(error: crate::engine::Error) -> Self {
        tracing::warn!("a worker's stream ends: {}", chain(&error));
        Self::refusal(
            pb::refusal::Code::ShuttingDown,
            "the coordinator is stopping: connect again later",
            RETRY_MS,
        )
    }
}

impl From<Refusal> for End {
    fn from(Refusal(status): Refusal) -> Self {
        Self::refusal(pb::refusal::Code::ShuttingDown, status.message(), RETRY_MS)
    }
}

/// When to try again after a refusal that time cures: about as long as a restart takes.
const RETRY_MS: u64 = 5_000;

/// `starling.v1.Grid`.
pub(super) struct Grid(pub(super) Arc<Services>);

#[tonic::async_trait]
impl pb::grid_server::Grid for Grid {
    type AttachStream = ReceiverStream<Result<pb::CoordinatorMessage, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<pb::WorkerMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let (outbound, replies) = mpsc::channel(OUTBOUND_MESSAGES);
        self.0.tasks.spawn(stream::serve(
            Arc::clone(&self.0),
            peer,
            request.into_inner(),
            outbound,
        ));
        Ok(Response::new(ReceiverStream::new(replies)))
    }
}

/// Sends one message, unless the worker takes too long to read.
async fn send(
    shared: &Services,
    outbound: &Outbound,
    kind: pb::coordinator_message::Kind,
) -> Result<(), End> {
    let message = pb::CoordinatorMessage { kind: Some(kind) };
    match tokio::time::timeout(shared.patience.stall, outbound.send(Ok(message))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(End::Quiet),
    }
}
