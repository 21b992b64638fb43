//! Batches on their way: to peers, and to the coordinator.

use super::{Command, Keeper};
use crate::custody::protocol::RELEASED_MAX;
use crate::custody::{deliver, protocol};
use proto::WorkerKey;
use worker_core::custody::Name;

impl Keeper {
    pub(super) async fn deliver(&mut self, name: Name) {
        let sealed = self.disk("a held report", move |books| books.read(&name)).await.flatten();
        let (session, told) = (self.session.borrow().clone(), self.told.clone());
        let coming = self.coming.contains(&name);
        self.tasks.spawn(async move {
            let done = match sealed {
                _ if coming => false,
                Some(sealed) => deliver::deliver(session, sealed).await,
                // Lost to damage: there is nothing to deliver.
                None => true,
            };
            let _ = told.send(Command::Delivered { name, done }).await;
        });
    }

    pub(super) async fn hand_over(&mut self, peer: WorkerKey, sequence: u64) {
        let name = Name { worker: self.config.worker, sequence };
        let sealed = self.disk("a report", move |books| books.read(&name)).await.flatten();
        let (told, net) = (self.told.clone(), self.net.clone());
        self.tasks.spawn(async move {
            let taken = match (net, sealed) {
                (Some(net), Some(sealed)) if !net.meter().is_spent() => {
                    protocol::hand_over(&net, &peer, sequence, &sealed)
                        .await
                        .inspect_err(|error| tracing::debug!(%peer, %error, "not handed over"))
                        .unwrap_or(false)
                }
                _ => false,
            };
            let _ = told.send(Command::Answered { peer, sequence, taken }).await;
        });
    }

    pub(super) fn release(&mut self, peer: WorkerKey, sequences: Vec<u64>) {
        let Some(net) = self.net.clone() else { return };
        self.tasks.spawn(async move {
            for some in sequences.chunks(RELEASED_MAX) {
                if let Err(error) = protocol::release(&net, &peer, some.to_vec()).await {
                    // It will ask the coordinator, and be told.
                    tracing::debug!(%peer, %error, "not released");
                    return;
                }
            }
        });
    }
}
