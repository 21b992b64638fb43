//! What the core wants done, done.

use super::ask::{self, Asking};
use super::{Error, Input, Missed, OPEN_MAX, Opened, Task};
use crate::blobs;
use crate::blobs::pieces::PieceFile;
use crate::network::code;
use crate::network::peer_table::Blame;
use proto::{Digest, WorkerKey};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use worker_core::exchange::{Action, Bits, DropReason, Event, Fault, RequestId, Trouble};

impl Task {
    pub(super) fn apply(&mut self, event: Event) {
        for action in self.swarm.apply(self.born.elapsed(), event) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send { peer, message } => {
                let Some(talk) = self.talks.get(&peer) else { return };
                if talk.outbound.try_send(message).is_err() {
                    talk.connection.close(code::RUDE.into(), b"does not listen");
                }
            }
            Action::AskList { request, source, digest, len } => {
                let asking = self.asking(source);
                let (blobs, inputs) = (Arc::clone(&self.blobs), self.inputs.clone());
                let handle = self.tasks.spawn(async move {
                    let got = ask::list(asking, blobs, digest, len).await;
                    let _ = inputs.send(Input::Listed { request, digest, got }).await;
                });
                self.asking.insert(request, handle);
            }
            Action::Ask { request, source, digest, piece, last } => {
                let (asking, inputs) = (self.asking(source), self.inputs.clone());
                let file = self.files.get(&digest).and_then(|file| file.get().cloned());
                let handle = self.tasks.spawn(async move {
                    let got = match file {
                        Some(file) => ask::piece(asking, file, piece, last).await,
                        None => Err(Missed::Fault(Fault::Lost)),
                    };
                    let _ = inputs.send(Input::Came { request, digest, got }).await;
                });
                self.asking.insert(request, handle);
            }
            Action::Cancel { request } => {
                if let Some(handle) = self.asking.remove(&request) {
                    handle.abort();
                }
            }
            Action::Serve { peer, ticket, digest, piece } => {
                self.serve(peer, ticket, digest, piece)
            }
            Action::Refuse { ticket, why, .. } => self.refuse(ticket, why),
            Action::Drop { peer, reason, keep_away } => self.drop_peer(peer, reason, keep_away),
            Action::Done { digest } => self.finish(digest),
            Action::GiveUp { digest, trouble } => {
                self.files.remove(&digest);
                self.blobs.leave_pieces(&digest);
                for answer in self.waiting.remove(&digest).unwrap_or_default() {
                    // Whoever waited has gone when this fails, here and below.
                    let _ = answer.send(Err(Error::Swarm(trouble.clone())));
                }
            }
        }
    }

    fn asking(&self, source: worker_core::exchange::Source) -> Asking {
        match source {
            worker_core::exchange::Source::Origin => Asking::Origin(Arc::clone(&self.origin)),
            worker_core::exchange::Source::Peer(peer) => {
                let connection = self.talks.get(&peer).map(|talk| talk.connection.clone());
                Asking::Peer(connection, self.net.clone())
            }
        }
    }

    fn drop_peer(&mut self, peer: WorkerKey, reason: DropReason, keep_away: Duration) {
        tracing::info!(?peer, %reason, "a peer gets and gives no blobs for a while");
        self.keep_away(peer, keep_away);
        if let Some(talk) = self.talks.remove(&peer) {
            talk.connection.close(code::RUDE.into(), reason.to_string().as_bytes());
        }
        let blame = match reason {
            DropReason::WrongBytes => Blame::Forged,
            DropReason::DoesNotDeliver => Blame::Slow,
            DropReason::ImpossibleClaim => Blame::Garbage,
            DropReason::SaysTooMuch | DropReason::WantsTooMuch => Blame::Greedy,
            DropReason::TooManyPeers => return,
        };
        self.net.blame(&peer, blame);
    }

    pub(super) fn listed(
        &mut self,
        request: RequestId,
        digest: Digest,
        got: Result<(PieceFile, Vec<u32>), Missed>,
    ) {
        self.asking.remove(&request);
        match got {
            Ok((file, good)) => {
                let cut = *file.pieces().cut();
                let mut have = Bits::none(cut.n_pieces());
                for piece in good {
                    have.set(piece);
                }
                if !self.swarm.is_under_way(&digest) {
                    return self.blobs.leave_pieces(&digest);
                }
                self.files.insert(digest, Arc::new(OnceCell::new_with(Some(Arc::new(file)))));
                self.apply(Event::Listed { request, len: cut.bytes(), have });
            }
            Err(Missed::Fault(fault)) => self.apply(Event::Failed { request, fault }),
            Err(Missed::Disk(error)) => self.disk_trouble(digest, error),
        }
    }

    pub(super) fn came(&mut self, request: RequestId, digest: Digest, got: Result<(), Missed>) {
        self.asking.remove(&request);
        match got {
            Ok(()) => self.apply(Event::Arrived { request }),
            Err(Missed::Fault(fault)) => self.apply(Event::Failed { request, fault }),
            Err(Missed::Disk(error)) => self.disk_trouble(digest, error),
        }
    }

    /// A transfer that the disk does not take ends; its owner decides what then.
    fn disk_trouble(&mut self, digest: Digest, error: blobs::Error) {
        self.apply(Event::End { digest });
        self.files.remove(&digest);
        self.blobs.leave_pieces(&digest);
        let mut error = Some(error);
        for answer in self.waiting.remove(&digest).unwrap_or_default() {
            let trouble = Trouble::Later("the disk does not take the blob".into());
            let error = error.take().map_or(Error::Swarm(trouble), Error::Blobs);
            let _ = answer.send(Err(error));
        }
    }

    /// All pieces are here; the blob is kept under its name.
    fn finish(&mut self, digest: Digest) {
        let file = self.files.get(&digest).and_then(|file| file.get().cloned());
        let (blobs, inputs) = (Arc::clone(&self.blobs), self.inputs.clone());
        self.tasks.spawn(async move {
            let work = move || match file {
                // A file that was finished before is found under its name.
                _ if blobs.len_of(&digest).is_some() => {
                    blobs.pin(&digest)?;
                    Ok(())
                }
                Some(file) => blobs.finish_pieces(&file),
                None => Err(blobs::Error::Wrong),
            };
            let kept = tokio::task::spawn_blocking(work).await;
            let kept = kept.unwrap_or_else(|error| Err(std::io::Error::other(error).into()));
            let _ = inputs.send(Input::Finished { digest, kept }).await;
        });
    }

    pub(super) fn finished(&mut self, digest: Digest, kept: Result<(), blobs::Error>) {
        if let Err(error) = kept {
            return self.disk_trouble(digest, error);
        }
        self.close_some(digest);
        let waiting = self.waiting.remove(&digest).unwrap_or_default();
        if waiting.is_empty() {
            // For others, or nobody waits for it any more: kept as long as there is room.
            self.blobs.unpin(&digest);
        }
        for (n, answer) in waiting.into_iter().enumerate() {
            if 0 < n {
                // Verified just now: nothing is read. One that fails is told by whoever opens the file.
                let _ = self.blobs.pin(&digest);
            }
            let _ = answer.send(Ok(()));
        }
    }

    /// Keeps few files of whole blobs open; those under way stay.
    pub(super) fn close_some(&mut self, but: Digest) {
        while OPEN_MAX < self.files.len() {
            let whole = |digest: &&Digest| **digest != but && !self.swarm.is_under_way(digest);
            let Some(digest) = self.files.keys().find(whole).copied() else { return };
            self.files.remove(&digest);
        }
    }

    /// The file of a blob that is offered, or under way.
    pub(super) fn file(&mut self, digest: Digest) -> Opened {
        self.close_some(digest);
        Arc::clone(self.files.entry(digest).or_default())
    }
}
