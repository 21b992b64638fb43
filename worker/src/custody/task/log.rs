//! The project's log grows: by what the coordinator says, or peers.

use super::{Command, Keeper};
use crate::custody::{Growth, deliver, protocol};
use crate::network::peer_table::Blame;
use proto::{WorkerKey, pb};
use std::time::{Duration, Instant};
use worker_core::custody::{Event, Name};
use worker_core::replica::{self, Heard, Wrong};

/// Longest wait until the log is asked for when a job has begun.
const SOON_MAX: Duration = Duration::from_secs(1);
/// The same after the coordinator could not be asked.
const AGAIN_MAX: Duration = Duration::from_secs(10);

impl Keeper {
    /// Asks the coordinator for more of the log, if it is time: not when peers have just told of some.
    pub(super) fn ask_for_log(&mut self) {
        let session = self.session.borrow().clone();
        if self.asking || session.is_none() || Instant::now() < self.ask_at {
            return;
        }
        (self.asking, self.asked_soon, self.soon) = (true, self.soon, false);
        let (told, size) = (self.told.clone(), self.ledger.size());
        self.tasks.spawn(async move {
            let log = deliver::log(session, size).await;
            let _ = told.send(Command::Grown { from: None, log }).await;
        });
    }

    /// Within a moment, and not all workers of a new job at once.
    pub(super) fn ask_soon(&mut self) {
        self.ask_within(SOON_MAX);
    }

    fn ask_within(&mut self, longest: Duration) {
        let soon = Instant::now() + longest.mul_f64(rand::random());
        (self.soon, self.ask_at) = (true, self.ask_at.min(soon));
    }

    /// Between half and one and a half of the usual time from now.
    fn ask_later(&mut self) {
        let part: u16 = rand::random();
        let jitter = self.log_every * u32::from(part) / u32::from(u16::MAX);
        self.ask_at = Instant::now() + self.log_every / 2 + jitter;
    }

    /// A peer tells of a head of the log.
    pub(super) fn head(&mut self, peer: WorkerKey, head: pb::SignedHead) {
        let Some(net) = self.net.clone() else { return };
        if !self.gossip.may_tell(self.born.elapsed(), &peer) {
            return;
        }
        let news = match self.ledger.news(&head) {
            Ok(Heard::News(news)) => news,
            Ok(Heard::Known(size)) => return self.gossip.told(&peer, size),
            Err(Wrong::Head(_)) => return net.blame(&peer, Blame::Forged),
            Err(wrong) => {
                tracing::error!(%wrong, %peer, "ask the project's operator what happened");
                return;
            }
        };
        self.gossip.told(&peer, news.size);
        if self.asking {
            // The newest is looked at when what is asked for has come.
            self.newest = Some((peer, head));
            return;
        }
        self.asking = true;
        let (told, from) = (self.told.clone(), self.ledger.size());
        self.tasks.spawn(async move {
            let had = protocol::entries(&net, &peer, from, news.size, replica::BYTES_MAX).await;
            let log = had.map(|entries| Some((head, entries))).map_err(|error| error.to_string());
            let _ = told.send(Command::Grown { from: Some(peer), log }).await;
        });
    }

    /// The log has grown, if what came is what the project signed.
    pub(super) async fn grown(
        &mut self,
        from: Option<WorkerKey>,
        log: Result<Option<Growth>, String>,
    ) {
        self.asking = false;
        let asked_soon = std::mem::take(&mut self.asked_soon);
        if !self.soon {
            self.ask_later();
        }
        let log = log.unwrap_or_else(|error| {
            tracing::debug!(?from, %error, "the log is not had");
            if asked_soon {
                self.ask_within(AGAIN_MAX);
            }
            None
        });
        let Some((head, entries)) = log else { return };
        let size = self.ledger.size();
        if let Err(wrong) = self.ledger.extend(&head, &entries) {
            tracing::warn!(%wrong, "what came of the project's log is not taken");
            if let (Some(peer), Some(net), Wrong::Entries) = (from, &self.net, wrong) {
                net.blame(&peer, Blame::Forged);
            }
            return;
        }
        let named = replica::named(&entries);
        let signed = head.clone();
        self.disk("the log", move |books| books.grow(size, &signed, &entries)).await;
        self.log_heads.send_replace(self.ledger.head().cloned());
        let named = named.into_iter().map(|(worker, sequence)| Name { worker, sequence });
        self.apply(Event::Logged(named.collect())).await;
        if let Some((peer, head)) = self.newest.take() {
            self.head(peer, head);
        }
    }

    /// Tells peers of the log's head that may not have heard of it: a few at once, others by and by.
    pub(super) fn tell_head(&mut self) {
        let (Some(net), Some(head)) = (self.net.clone(), self.ledger.head().cloned()) else {
            return;
        };
        let (now, size) = (self.born.elapsed(), self.ledger.size());
        for peer in self.gossip.to_tell(now, size, &mut rand::rng()) {
            let (net, head) = (net.clone(), head.clone());
            self.tasks.spawn(async move {
                // Two that greet each other at once have two links for a moment, of which one goes.
                for _ in 0..2 {
                    match protocol::tell_head(&net, &peer, &head).await {
                        Ok(()) => return,
                        // Others tell it.
                        Err(error) => tracing::debug!(%peer, %error, "not told of the log"),
                    }
                }
            });
        }
    }
}
