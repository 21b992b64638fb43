//! The worker as a peer: started with the driver, certified by the coordinator.

use super::{Driver, announce};
use crate::clock;
use crate::holding::{self, Told};
use crate::p2p::{Opening, PeerView};
use proto::member::Certificate;

impl Driver {
    /// Joins the peer network, if the owner wants it. A port that is taken is told and does not stop the worker.
    pub(super) async fn start_peers(&mut self) {
        let Some(config) = self.config.peers.clone() else { return };
        let tracker = config.tracker;
        let project = self.project.join.project;
        match Box::pin(Opening::bind(config, &self.identity.worker, project)).await {
            Ok(opening) => {
                let handler = self.holding.handler(&opening.net());
                let peers = opening.accept(holding::ALPN, handler).start();
                self.holding.tell(Told::Peers(peers.net().clone()));
                if tracker {
                    let net = peers.net().clone();
                    self.tasks.spawn(announce::run(net, self.session.subscribe()));
                }
                self.peers = Some(peers);
            }
            Err(error) => self.say(&error.to_string()),
        }
    }

    /// The coordinator has welcomed this worker: it is a member for the next months.
    pub(super) fn certify(&self, bytes: &[u8]) {
        let Some(peers) = &self.peers else { return };
        let project = self.project.join.project;
        match Certificate::open(bytes, &project, clock::wall_ms()) {
            Ok(certificate) if certificate.member().worker == peers.net().me() => {
                peers.net().certify(certificate);
            }
            Ok(_) => tracing::warn!("the coordinator sent another worker's certificate"),
            // A coordinator of an older release has none.
            Err(error) => tracing::debug!("no certificate from the coordinator: {error}"),
        }
    }

    /// The neighbourhood, for the owner.
    pub(super) fn neighbours(&self) -> Option<Vec<PeerView>> {
        self.peers.as_ref().map(|peers| peers.net().peers())
    }
}
