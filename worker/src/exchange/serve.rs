//! Giving to peers.

use super::protocol::{self, Reply};
use super::{Input, Opened, Task};
use crate::blobs::Blobs;
use crate::blobs::pieces::PieceFile;
use crate::network::Net;
use crate::network::frame::Error;
use iroh::endpoint::SendStream;
use proto::{Digest, WorkerKey};
use std::sync::Arc;
use worker_core::exchange::{Refusal, Ticket};

impl Task {
    pub(super) fn serve(&mut self, peer: WorkerKey, ticket: Ticket, digest: Digest, piece: u32) {
        let Some(mut send) = self.tickets.remove(&ticket) else { return };
        let (net, blobs, inputs) = (self.net.clone(), Arc::clone(&self.blobs), self.inputs.clone());
        let file = self.file(digest);
        self.tasks.spawn(async move {
            let given = give(&net, &blobs, &file, digest, piece, &mut send).await;
            let bytes = match given {
                Ok(bytes) => bytes,
                Err(Some(why)) => {
                    // The peer has gone when this fails.
                    let _ = protocol::send_reply(&mut send, &Reply::Refused(why)).await;
                    0
                }
                Err(None) => 0,
            };
            if given == Err(Some(Refusal::Lacks)) {
                // The task has gone when this fails, here and below.
                let _ = inputs.send(Input::Missing(digest)).await;
            }
            let _ = inputs.send(Input::Served { peer, bytes }).await;
        });
    }

    pub(super) fn refuse(&mut self, ticket: Ticket, why: Refusal) {
        let Some(mut send) = self.tickets.remove(&ticket) else { return };
        self.tasks.spawn(async move {
            // The peer has gone when this fails.
            let _ = protocol::send_reply(&mut send, &Reply::Refused(why)).await;
            let _ = send.finish();
        });
    }

    /// Gives the list of a blob's pieces: small, so to everybody.
    pub(super) fn give_list(
        &mut self,
        peer: WorkerKey,
        digest: Digest,
        proof: bool,
        mut send: SendStream,
    ) {
        let offered = self.swarm.is_offered(&digest);
        let (net, blobs, lists) =
            (self.net.clone(), Arc::clone(&self.blobs), Arc::clone(&self.lists));
        let file = if offered { Some(self.file(digest)) } else { None };
        self.tasks.spawn(async move {
            let Some(file) = file.filter(|_| !net.meter().is_spent()) else {
                let _ = protocol::send_reply(&mut send, &Reply::Refused(Refusal::Lacks)).await;
                return;
            };
            let Ok(_turn) = lists.try_acquire() else {
                let _ = protocol::send_reply(&mut send, &Reply::Refused(Refusal::Busy)).await;
                return;
            };
            if let Err(error) = list(&net, &blobs, &file, digest, proof, &mut send).await {
                tracing::debug!(?peer, %error, "a list was not given");
            }
        });
    }
}

/// The blob's file; opened when it is not.
async fn opened(file: &Opened, blobs: &Arc<Blobs>, digest: Digest) -> Option<Arc<PieceFile>> {
    let blobs = Arc::clone(blobs);
    let open = || async move {
        let open = move || blobs.open_whole(&digest).ok().flatten().map(Arc::new);
        tokio::task::spawn_blocking(open).await.ok().flatten().ok_or(())
    };
    file.get_or_try_init(open).await.ok().cloned()
}

/// Gives a piece; how many bytes that were, or what to answer, if anything.
async fn give(
    net: &Net,
    blobs: &Arc<Blobs>,
    file: &Opened,
    digest: Digest,
    piece: u32,
    send: &mut SendStream,
) -> Result<u64, Option<Refusal>> {
    if net.meter().is_spent() {
        return Err(Some(Refusal::Busy));
    }
    let file = opened(file, blobs, digest).await.ok_or(Some(Refusal::Lacks))?;
    let data = tokio::task::spawn_blocking(move || file.get(piece)).await;
    let data = data.ok().and_then(Result::ok).ok_or(Some(Refusal::Lacks))?;
    let bytes = data.len() as u64;
    net.meter().up(bytes).await;
    let sent = async {
        protocol::send_reply(send, &Reply::Piece).await?;
        protocol::send_bytes(send, &data).await
    };
    sent.await.map(|()| bytes).map_err(|_| None)
}

async fn list(
    net: &Net,
    blobs: &Arc<Blobs>,
    file: &Opened,
    digest: Digest,
    proof: bool,
    send: &mut SendStream,
) -> Result<(), Error> {
    let lacks = Reply::Refused(Refusal::Lacks);
    let Some(file) = opened(file, blobs, digest).await else {
        return protocol::send_reply(send, &lacks).await;
    };
    let cut = *file.pieces().cut();
    let mut bytes = file.pieces().list();
    let mut last_bytes = 0;
    if proof {
        let reader = Arc::clone(&file);
        let last =
            tokio::task::spawn_blocking(move || reader.get(cut.n_pieces().saturating_sub(1)));
        let Some(data) = last.await.ok().and_then(Result::ok) else {
            return protocol::send_reply(send, &lacks).await;
        };
        last_bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&data);
    }
    net.meter().up(bytes.len() as u64).await;
    let reply = Reply::List { len: cut.bytes(), n_pieces: cut.n_pieces(), last_bytes };
    protocol::send_reply(send, &reply).await?;
    protocol::send_bytes(send, &bytes).await
}
