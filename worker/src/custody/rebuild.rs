//! What this worker has kept, to a coordinator that has lost its records.

use super::store::Books;
use crate::blobs::Blobs;
use crate::coordinator::{Session, with_token};
use proto::bounds::{CHUNK_BYTES_MAX, MESSAGE_BYTES_MAX};
use proto::pb::rebuild_client::RebuildClient;
use proto::{Digest, LeaseId, pb};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status};
use worker_core::custody::Name;

/// Batches, and specifications, named in one offer.
const NAMED_MAX: usize = 4096;
/// Leases named: what a coordinator takes.
const LEASES_MAX: usize = 16_384;
/// Longest wait for an answer; a log or a blob may take its time.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// Bounds on what the coordinator may ask for as time between two offers.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// Bytes of entries in one message.
const PIECE_BYTES: usize = 1 << 20;
/// Chunks of a blob read ahead.
const CHUNKS_AHEAD: usize = 2;

/// Gives what is wanted, until the coordinator wants to hear no more.
pub(super) async fn contribute(
    session: Session,
    leases: BTreeSet<LeaseId>,
    books: Arc<Mutex<Books>>,
    blobs: Arc<Blobs>,
) {
    let client = RebuildClient::new(session.channel.clone())
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let giver = Giver { session, client, leases, books, blobs };
    loop {
        match giver.give().await {
            Ok(again) => tokio::time::sleep(again.clamp(AGAIN_MIN, AGAIN_MAX)).await,
            Err(status) => {
                tracing::debug!(%status, "the coordinator takes no more");
                return;
            }
        }
    }
}

struct Giver {
    session: Session,
    client: RebuildClient<Channel>,
    /// That this worker still works under.
    leases: BTreeSet<LeaseId>,
    books: Arc<Mutex<Books>>,
    blobs: Arc<Blobs>,
}

/// An answer, in time.
async fn answered<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match timeout(ANSWER_MAX, call).await {
        Ok(reply) => reply.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("no answer")),
    }
}

impl Giver {
    fn with_token<T>(&self, message: T) -> Result<Request<T>, Status> {
        with_token(message, &self.session)
    }

    /// One round: what is here is offered, what is wanted is given.
    async fn give(&self) -> Result<Duration, Status> {
        let leases = self.leases.clone();
        let (head, names, specs, tickets) = self
            .read(move |books| {
                Ok((books.head()?, books.names(), books.specs(), books.tickets(&leases)))
            })
            .await?;
        let mut tickets: Vec<pb::LeaseTicket> =
            tickets.iter().take(LEASES_MAX).map(Into::into).collect();
        let mut again = AGAIN_MAX;
        let (mut names, mut specs) = (names.chunks(NAMED_MAX), specs.chunks(NAMED_MAX));
        let mut first = true;
        loop {
            let (some, kinds) = (names.next(), specs.next());
            if some.is_none() && kinds.is_none() && !std::mem::take(&mut first) {
                return Ok(again);
            }
            first = false;
            let (some, kinds) = (some.unwrap_or_default(), kinds.unwrap_or_default());
            let request = pb::OfferRequest {
                head: head.clone(),
                batches: some.iter().map(name).collect(),
                specs: kinds.iter().map(|digest| digest.0.to_vec().into()).collect(),
                leases: std::mem::take(&mut tickets),
            };
            let reply = answered(self.client.clone().offer(self.with_token(request)?)).await?;
            again = Duration::from_millis(reply.again_in_ms.into());
            if reply.log_wanted
                && let Some(head) = &head
            {
                self.give_log(head, reply.log_from).await?;
            }
            for (name, _) in some.iter().zip(&reply.batches).filter(|(_, wanted)| **wanted) {
                self.give_batch(*name).await?;
            }
            for (digest, _) in kinds.iter().zip(&reply.specs).filter(|(_, wanted)| **wanted) {
                self.give_spec(*digest).await?;
            }
            for digest in &reply.blobs {
                if let Ok(digest) = Digest::try_from(digest.as_ref()) {
                    self.give_blob(digest).await?;
                }
            }
        }
    }

    async fn give_log(&self, head: &pb::SignedHead, from: u64) -> Result<(), Status> {
        let mut pieces = vec![pb::LogPiece { head: Some(head.clone()), from, entries: Vec::new() }];
        let mut next = from;
        loop {
            let entries = self.read(move |books| books.entries(next, PIECE_BYTES)).await?;
            if entries.is_empty() {
                break;
            }
            next += entries.len() as u64;
            let entries = entries.into_iter().map(Into::into).collect();
            pieces.push(pb::LogPiece { entries, ..pb::LogPiece::default() });
        }
        let request = self.with_token(tokio_stream::iter(pieces))?;
        unless_refused(answered(self.client.clone().give_log(request)).await)
    }

    async fn give_batch(&self, name: Name) -> Result<(), Status> {
        let Some(sealed) = self.read(move |books| books.read(&name)).await? else { return Ok(()) };
        let request = self.with_token(pb::DeliverRequest { sealed: sealed.into() })?;
        unless_refused(answered(self.client.clone().give_batch(request)).await)
    }

    async fn give_spec(&self, digest: Digest) -> Result<(), Status> {
        let Some(spec) = self.read(move |books| books.spec(&digest)).await? else { return Ok(()) };
        let request = self.with_token(pb::SpecRequest { spec: spec.into() })?;
        unless_refused(answered(self.client.clone().give_spec(request)).await)
    }

    /// Gives a kernel or an input, if it is in the cache.
    async fn give_blob(&self, digest: Digest) -> Result<(), Status> {
        let blobs = Arc::clone(&self.blobs);
        let here = tokio::task::spawn_blocking(move || blobs.pin(&digest)).await;
        if !matches!(here, Ok(Ok(true))) {
            return Ok(());
        }
        let (send, receive) = mpsc::channel(CHUNKS_AHEAD);
        let path = self.blobs.path(&digest);
        let reader = tokio::task::spawn_blocking(move || read_blob(digest, &path, &send));
        let request = self.with_token(ReceiverStream::new(receive));
        let given = match request {
            Ok(request) => answered(self.client.clone().give_blob(request)).await,
            Err(status) => Err(status),
        };
        self.blobs.unpin(&digest);
        if let Ok(Err(error)) = reader.await {
            tracing::warn!(%error, "blob {digest} cannot be read");
        }
        unless_refused(given)
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Books) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let books = Arc::clone(&self.books);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut books.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(done) => done.map_err(|error| Status::internal(error.to_string())),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }
}

fn name(name: &Name) -> pb::BatchName {
    pb::BatchName { worker_key: name.worker.0.to_vec().into(), sequence: name.sequence }
}

/// What the coordinator will not have is no reason to keep the rest from it.
fn unless_refused(reply: Result<pb::GiveReply, Status>) -> Result<(), Status> {
    use tonic::Code::{AlreadyExists, InvalidArgument, PermissionDenied, ResourceExhausted};
    match reply {
        Ok(_) => Ok(()),
        Err(status) => match status.code() {
            InvalidArgument | PermissionDenied | AlreadyExists | ResourceExhausted => {
                tracing::debug!(%status, "not taken");
                Ok(())
            }
            _ => Err(status),
        },
    }
}

fn read_blob(
    digest: Digest,
    path: &std::path::Path,
    send: &mpsc::Sender<pb::PutRequest>,
) -> io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let len = file.metadata()?.len();
    let head = pb::PutRequest { digest: digest.0.to_vec().into(), len, ..Default::default() };
    let mut next = Some(head);
    loop {
        let Some(message) = next.take() else { return Ok(()) };
        if send.blocking_send(message).is_err() {
            // The coordinator has it, or wants it no more.
            return Ok(());
        }
        let mut chunk = vec![0; CHUNK_BYTES_MAX];
        let bytes = file.read(&mut chunk)?;
        chunk.truncate(bytes);
        if 0 < bytes {
            next = Some(pb::PutRequest { data: chunk.into(), ..Default::default() });
        }
    }
}
