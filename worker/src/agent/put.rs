//! Outputs and shown states to the coordinator.

use crate::coordinator::Session;
use crate::coordinator::with_token;
use proto::bounds::CHUNK_BYTES_MAX;
use proto::pb::blobs_client::BlobsClient;
use proto::{Digest, pb};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

/// Time for the answer, beside that for the bytes.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Slowest line on which an output is still put, bytes per second.
const BYTES_PER_SECOND_MIN: u64 = 8 << 10;

/// Chunks read ahead of the line.
const CHUNKS_AHEAD: usize = 4;

/// Why an output was not put.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection or the coordinator would not have it.
    Refused(String),
    /// It is not on disk, or other bytes are.
    Lost(String),
}

/// Puts the content of the file at `path`, unless the coordinator has it. A state may be larger than memory: it is read
/// as it goes.
pub(super) async fn put(
    session: watch::Receiver<Option<Session>>,
    digest: Digest,
    path: PathBuf,
) -> Result<(), Trouble> {
    let Some(session) = session.borrow().clone() else {
        return Err(Trouble::Refused("the coordinator is away".into()));
    };
    let refused =
        |status: tonic::Status| Trouble::Refused(crate::coordinator::printable(status.message()));
    let stalled = |_| Trouble::Refused("no answer".into());
    let mut client = BlobsClient::new(session.channel.clone());
    let digests = vec![digest.0.to_vec().into()];
    let request = with_token(pb::HaveRequest { digests }, &session).map_err(refused)?;
    let have =
        timeout(ANSWER_MAX, client.have(request)).await.map_err(stalled)?.map_err(refused)?;
    if have.into_inner().have == [true] {
        return Ok(());
    }
    let lost = |error: io::Error| Trouble::Lost(error.to_string());
    let to_hash = path.clone();
    let hashed = tokio::task::spawn_blocking(move || crate::blobs::hash_file(&to_hash)).await;
    let (found, len) = hashed.map_err(io::Error::other).flatten().map_err(lost)?;
    if found != digest {
        return Err(Trouble::Lost("the bytes on disk are not those that were computed".into()));
    }
    let head = pb::PutRequest { digest: digest.0.to_vec().into(), len, ..Default::default() };
    let (sender, messages) = mpsc::channel(CHUNKS_AHEAD);
    let reading = tokio::task::spawn_blocking(move || read(&path, head, &sender));
    let request = with_token(ReceiverStream::new(messages), &session).map_err(refused)?;
    let patience = ANSWER_MAX + Duration::from_secs(len / BYTES_PER_SECOND_MIN);
    let put = timeout(patience, client.put(request)).await;
    // The coordinator sees a file that cannot be read as one that ends early.
    reading.await.map_err(io::Error::other).flatten().map_err(lost)?;
    put.map_err(stalled)?.map_err(refused)?;
    Ok(())
}

/// Hands a file on in chunks, as long as somebody takes them.
fn read(path: &Path, head: pb::PutRequest, to: &mpsc::Sender<pb::PutRequest>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut next = head;
    while to.blocking_send(next).is_ok() {
        let mut data = Vec::with_capacity(CHUNK_BYTES_MAX);
        if (&mut file).take(CHUNK_BYTES_MAX as u64).read_to_end(&mut data)? == 0 {
            return Ok(());
        }
        next = pb::PutRequest { data: data.into(), ..Default::default() };
    }
    Ok(())
}
