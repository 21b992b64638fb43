//! What the owner is shown of the peer network.

use super::net::Net;
use super::traffic::Usage;
use iroh::TransportAddr;
use iroh::endpoint::Path;
use iroh_metrics::Registry;
use proto::{AccountKey, WorkerKey};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its key.
    pub worker: WorkerKey,
    /// Its owner.
    pub account: AccountKey,
    /// Where it is reached now: an address, or the URL of a relay.
    pub address: String,
    /// Whether a relay stands between.
    pub relayed: bool,
    /// Whether it is on the same local network.
    pub near: bool,
    /// Whether it opened the link.
    pub inbound: bool,
    /// Whether it runs a relay.
    pub seed: bool,
    /// Time to it and back, milliseconds.
    pub rtt_ms: u64,
    /// Bytes sent to it since the link is open.
    pub up_bytes: u64,
    /// Bytes received from it since the link is open.
    pub down_bytes: u64,
    /// How it behaved: 0 at first, worse below.
    pub score: i32,
    /// Since when the link is open, seconds.
    pub seconds: u64,
}

/// What the peer network is and costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeersReport {
    /// Neighbours that are reached directly.
    pub direct: usize,
    /// Neighbours that are reached through a relay.
    pub relayed: usize,
    /// Peers that are known.
    pub known: usize,
    /// Connections of all protocols that are open.
    pub connections: usize,
    /// The relay at which this worker listens.
    pub relay: Option<String>,
    /// Bytes.
    pub usage: Usage,
    /// The owner's limit on a month's bytes.
    pub month_bytes_max: Option<u64>,
}

impl Net {
    /// The neighbourhood, for its owner.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerView> {
        let state = self.0.state();
        let open = state.links.iter().filter(|(_, live)| live.is_open());
        let views = open.map(|(worker, live)| {
            let paths = live.connection.paths();
            let path = paths.iter().find(Path::is_selected).or_else(|| paths.iter().next());
            let address = path.as_ref().map_or_else(String::new, |path| match path.remote_addr() {
                TransportAddr::Ip(address) => address.to_string(),
                TransportAddr::Relay(url) => url.to_string(),
                _ => "?".into(),
            });
            let rtt = path.as_ref().map_or(Duration::ZERO, Path::rtt);
            PeerView {
                worker: *worker,
                account: live.holder.account,
                address,
                relayed: path.as_ref().is_some_and(Path::is_relay),
                near: state.is_near(worker),
                inbound: live.holder.inbound,
                seed: live.contact.serves.is_some(),
                rtt_ms: u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX),
                up_bytes: live.up_bytes,
                down_bytes: live.down_bytes,
                score: state.table.get(worker).map_or(0, |peer| peer.score),
                seconds: live.since.elapsed().as_secs(),
            }
        });
        views.collect()
    }

    /// Adds what the transport counts: attempts to punch holes, what went directly and what by relays.
    pub fn register(&self, registry: &mut Registry) {
        if let Some(endpoint) = self.0.endpoint() {
            registry.sub_registry_with_prefix("iroh").register_all(endpoint.metrics());
        }
    }

    /// What it is and costs, for its owner.
    #[must_use]
    pub fn report(&self) -> PeersReport {
        let relayed = self.peers().iter().filter(|peer| peer.relayed).count();
        let direct = self.neighbours().len().saturating_sub(relayed);
        let relay = self.contact().and_then(|contact| contact.relay).map(|url| url.to_string());
        let state = self.0.state();
        PeersReport {
            direct,
            relayed,
            known: state.table.peers().count(),
            connections: state.open.len(),
            relay,
            usage: self.0.meter.usage(),
            month_bytes_max: self.0.meter.month_bytes_max(),
        }
    }
}
