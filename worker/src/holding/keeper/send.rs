//! Batches on their way: to peers, and to the coordinator.

use super::{Connections, Keeper, Told};
use crate::holding::wire::RELEASED_MAX;
use crate::holding::{deliver, wire};
use crate::p2p::Net;
use crate::p2p::hold::Name;
use iroh::endpoint::Connection;
use proto::WorkerKey;
use std::sync::{Arc, PoisonError};

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
            let _ = told.send(Told::Delivered { name, done }).await;
        });
    }

    pub(super) async fn hand_over(&mut self, peer: WorkerKey, sequence: u64) {
        let name = Name { worker: self.config.worker, sequence };
        let sealed = self.disk("a report", move |books| books.read(&name)).await.flatten();
        let (told, net, connections) =
            (self.told.clone(), self.net.clone(), Arc::clone(&self.connections));
        self.tasks.spawn(async move {
            let taken = match (net, sealed) {
                (Some(net), Some(sealed)) if !net.meter().is_spent() => {
                    let handed = async {
                        let connection = connected(&net, &connections, &peer).await?;
                        wire::hand_over(&net, &connection, sequence, &sealed)
                            .await
                            .map_err(|error| error.to_string())
                    };
                    handed
                        .await
                        .inspect_err(|error| tracing::debug!(%peer, %error, "not handed over"))
                        .unwrap_or(false)
                }
                _ => false,
            };
            let _ = told.send(Told::Answered { peer, sequence, taken }).await;
        });
    }

    pub(super) fn release(&mut self, peer: WorkerKey, sequences: Vec<u64>) {
        let Some(net) = self.net.clone() else { return };
        let connections = Arc::clone(&self.connections);
        self.tasks.spawn(async move {
            for some in sequences.chunks(RELEASED_MAX) {
                let told = async {
                    let connection = connected(&net, &connections, &peer).await?;
                    wire::release(&connection, some.to_vec())
                        .await
                        .map_err(|error| error.to_string())
                };
                if let Err(error) = told.await {
                    // It will ask the coordinator, and be told.
                    tracing::debug!(%peer, %error, "not released");
                    return;
                }
            }
        });
    }
}

/// The connection to a peer that is open, or a new one.
pub(super) async fn connected(
    net: &Net,
    connections: &Connections,
    peer: &WorkerKey,
) -> Result<Connection, String> {
    let lock = || connections.lock().unwrap_or_else(PoisonError::into_inner);
    let open = lock().get(peer).filter(|open| open.close_reason().is_none()).cloned();
    if let Some(open) = open {
        return Ok(open);
    }
    let connection = net.connect(peer, wire::ALPN).await.map_err(|error| error.to_string())?;
    lock().insert(*peer, connection.clone());
    Ok(connection)
}
