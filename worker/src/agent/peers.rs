//! The worker as a peer: started with the agent's task, certified by the coordinator.

use super::{AgentTask, origin};
use crate::clock;
use crate::coordinator::announce;
use crate::custody::Command;
use crate::exchange::Exchange;
use crate::network::{Opening, PeerView};
use proto::member::Certificate;
use std::sync::Arc;
use worker_core::exchange;

/// Peers that are given to at a time, beside one drawn by lot: a slow line serves fewer, each of them in time.
fn slots(up_per_second: Option<u64>) -> usize {
    /// Two of the smallest pieces within eight seconds, which is well before anybody calls it a stall.
    const PER_SLOT: u64 = 2 * proto::pieces::PIECE_BYTES_MIN / 8;
    let most = exchange::Config::default().slots;
    let fitting = up_per_second.map_or(most as u64, |rate| rate / PER_SLOT);
    usize::try_from(fitting).unwrap_or(most).clamp(1, most)
}

impl AgentTask {
    /// Joins the peer network, if the owner wants it. A port that is taken is told and does not stop the worker.
    pub(super) async fn start_peers(&mut self) {
        let Some(config) = self.config.peers.clone() else { return };
        let tracker = config.tracker;
        let swarm = exchange::Config {
            seed: rand::random(),
            down_per_second: config.down_per_second,
            slots: slots(config.up_per_second),
            ..exchange::Config::default()
        };
        let project = self.project.join.project;
        match Box::pin(Opening::bind(config, &self.identity.worker, project)).await {
            Ok(opening) => {
                let origin = Arc::new(origin::Coordinator(self.session.subscribe()));
                let blobs = Arc::clone(&self.blobs);
                let (opening, exchange, task) = Exchange::new(opening, swarm, blobs, origin);
                self.tasks.spawn(task.run());
                self.tasks.spawn(origin::watch(self.session.subscribe(), exchange.clone()));
                self.exchange = Some(exchange);
                let talks = self.custody.talks(&opening.net());
                let peers = opening.serve(talks).start();
                self.custody.tell(Command::Peers(peers.net().clone()));
                if tracker {
                    let net = peers.net().clone();
                    self.tasks.spawn(announce(net, self.session.subscribe()));
                }
                if let Ok(mut registry) = self.registry.write() {
                    peers.net().register(&mut registry);
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
