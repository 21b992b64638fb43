//! Outputs to the coordinator.

use super::fetch::with_token;
use super::stream::Session;
use proto::bounds::CHUNK_BYTES_MAX;
use proto::pb::blobs_client::BlobsClient;
use proto::{Digest, pb};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// Time for the answer, beside that for the bytes.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Slowest line on which an output is still put, bytes per second.
const BYTES_PER_SECOND_MIN: u64 = 8 << 10;

/// Why an output was not put.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection or the coordinator would not have it.
    Refused(String),
    /// It is not on disk, or other bytes are.
    Lost(String),
}

/// Puts the output at `path`, unless the coordinator has it.
pub(super) async fn put(
    session: watch::Receiver<Option<Session>>,
    digest: Digest,
    path: PathBuf,
) -> Result<(), Trouble> {
    let Some(session) = session.borrow().clone() else {
        return Err(Trouble::Refused("the coordinator is away".into()));
    };
    let refused =
        |status: tonic::Status| Trouble::Refused(super::convert::printable(status.message()));
    let stalled = |_| Trouble::Refused("no answer".into());
    let mut client = BlobsClient::new(session.channel.clone());
    let digests = vec![digest.0.to_vec().into()];
    let request = with_token(pb::HaveRequest { digests }, &session).map_err(refused)?;
    let have =
        timeout(ANSWER_MAX, client.have(request)).await.map_err(stalled)?.map_err(refused)?;
    if have.into_inner().have == [true] {
        return Ok(());
    }
    let content = tokio::fs::read(&path).await.map_err(|error| Trouble::Lost(error.to_string()))?;
    if Digest::of(&content) != digest {
        return Err(Trouble::Lost("the bytes on disk are not those that were computed".into()));
    }
    let content = bytes::Bytes::from(content);
    let len = content.len() as u64;
    let head = pb::PutRequest { digest: digest.0.to_vec().into(), len, ..Default::default() };
    let chunks = (0..content.len()).step_by(CHUNK_BYTES_MAX).map(move |from| pb::PutRequest {
        data: content.slice(from..(from + CHUNK_BYTES_MAX).min(content.len())),
        ..Default::default()
    });
    let messages = tokio_stream::iter(std::iter::once(head).chain(chunks));
    let request = with_token(messages, &session).map_err(refused)?;
    let patience = ANSWER_MAX + Duration::from_secs(len / BYTES_PER_SECOND_MIN);
    timeout(patience, client.put(request)).await.map_err(stalled)?.map_err(refused)?;
    Ok(())
}
