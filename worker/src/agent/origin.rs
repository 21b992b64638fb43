//! The coordinator as the swarm's source of last resort.

use crate::coordinator::Session;
use crate::coordinator::with_token;
use crate::exchange::{Answer, Exchange, Origin};
use proto::bounds::MESSAGE_BYTES_MAX;
use proto::pb::blobs_client::BlobsClient;
use proto::pieces::PIECES_MAX;
use proto::{Digest, pb};
use std::ops::Range;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use worker_core::exchange::Fault;

/// Longest wait for the next chunk; the swarm itself gives up on a piece earlier.
const CHUNK_MAX: Duration = Duration::from_secs(60);

/// The coordinator, while there is a session with it.
#[derive(Debug)]
pub(super) struct Coordinator(pub(super) watch::Receiver<Option<Session>>);

impl Coordinator {
    fn session(&self) -> Result<Session, Fault> {
        self.0.borrow().clone().ok_or(Fault::Lost)
    }
}

fn blobs(session: &Session) -> BlobsClient<Channel> {
    BlobsClient::new(session.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

fn fault(status: &Status) -> Fault {
    match status.code() {
        Code::ResourceExhausted => Fault::AskPeers,
        Code::NotFound
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::FailedPrecondition => Fault::Never(crate::coordinator::printable(status.message())),
        _ => Fault::Lost,
    }
}

/// All bytes of a stream that should bring at most `max`, and the length of the blob that it told.
async fn all(mut stream: Streaming<pb::Chunk>, max: u64) -> Result<(u64, Vec<u8>), Fault> {
    let (mut bytes, mut total_len) = (Vec::new(), 0);
    loop {
        let chunk = timeout(CHUNK_MAX, stream.message()).await.map_err(|_| Fault::Lost)?;
        let Some(chunk) = chunk.map_err(|status| fault(&status))? else {
            return Ok((total_len, bytes));
        };
        total_len = total_len.max(chunk.total_len);
        if max < (bytes.len() + chunk.data.len()) as u64 {
            return Err(Fault::Wrong);
        }
        bytes.extend_from_slice(&chunk.data);
    }
}

impl Origin for Coordinator {
    fn list(&self, digest: Digest) -> Answer<Result<(u64, Vec<u8>), Fault>> {
        let session = self.session();
        Box::pin(async move {
            let session = session?;
            let request = pb::PiecesRequest { digest: digest.0.to_vec().into() };
            let request = with_token(request, &session).map_err(|status| fault(&status))?;
            let mut client = blobs(&session);
            let stream =
                timeout(CHUNK_MAX, client.pieces(request)).await.map_err(|_| Fault::Lost)?;
            let stream = stream.map_err(|status| fault(&status))?.into_inner();
            all(stream, PIECES_MAX * 32).await
        })
    }

    fn piece(
        &self,
        digest: Digest,
        range: Range<u64>,
        last: bool,
    ) -> Answer<Result<Vec<u8>, Fault>> {
        let session = self.session();
        Box::pin(async move {
            let session = session?;
            let len = range.end - range.start;
            let request = pb::GetRequest {
                digest: digest.0.to_vec().into(),
                offset: range.start,
                len,
                sparing: true,
                last_resort: last,
            };
            let request = with_token(request, &session).map_err(|status| fault(&status))?;
            let mut client = blobs(&session);
            let stream = timeout(CHUNK_MAX, client.get(request)).await.map_err(|_| Fault::Lost)?;
            let stream = stream.map_err(|status| fault(&status))?.into_inner();
            let (_, bytes) = all(stream, len).await?;
            // Too few were cut off: nobody lied.
            if (bytes.len() as u64) < len { Err(Fault::Lost) } else { Ok(bytes) }
        })
    }
}

/// Tells the swarm when the coordinator comes and goes.
pub(super) async fn watch(mut session: watch::Receiver<Option<Session>>, exchange: Exchange) {
    loop {
        let here = session.borrow_and_update().is_some();
        exchange.origin(here).await;
        if session.changed().await.is_err() {
            return;
        }
    }
}
