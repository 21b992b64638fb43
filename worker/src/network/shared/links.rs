//! Connections and links, as they open and end.

use super::{Live, Network, Open};
use crate::clock;
use crate::network::code;
use crate::network::neighbour_limits::{self, Holder};
use crate::network::net::PeerEvent;
use crate::network::peer_record::{Contact, network, worker_key};
use iroh::TransportAddr;
use iroh::endpoint::Connection;
use proto::WorkerKey;
use std::net::IpAddr;
use std::time::Instant;

impl Network {
    pub(crate) fn is_linked(&self, worker: &WorkerKey) -> bool {
        self.state().links.get(worker).is_some_and(Live::is_open)
    }

    /// Counts a connection that is open now; false when there is no room for a visitor.
    pub(crate) fn track(&self, connection: &Connection, visitor: Option<IpAddr>) -> bool {
        let now = self.now();
        let mut state = self.state();
        if let Some(address) = visitor
            && !state.door.enter(now, address)
        {
            return false;
        }
        state.open.push(Open {
            worker: worker_key(&connection.remote_id()),
            connection: connection.weak_handle(),
            visitor,
            up_bytes: 0,
            down_bytes: 0,
            is_quiet: false,
        });
        true
    }

    /// Takes in a peer that has shown its certificate; false when the connection was closed instead.
    pub(crate) fn linked(&self, connection: &Connection, contact: Contact, inbound: bool) -> bool {
        let worker = contact.worker();
        let close = |connection: &Connection, code: u32, reason: &str| {
            connection.close(code.into(), reason.as_bytes());
        };
        let mut state = self.state();
        state.remember(contact.certificate);
        if let Some(live) = state.links.get(&worker).filter(|live| live.is_open()) {
            // Both have opened one: that of the smaller key stays. A second one of the same side takes the place of the
            // first: that side has lost it, or it would not have asked.
            let keep_inbound = worker < self.me;
            if live.holder.inbound != inbound && inbound != keep_inbound {
                close(connection, code::DUPLICATE, "the other link is kept");
                return false;
            }
            close(&live.connection, code::DUPLICATE, "the other link is kept");
        } else {
            let member = contact.certificate.member();
            let holder =
                Holder { account: member.account, network: spread(&contact, connection), inbound };
            let held = state.links.iter().filter(|(_, live)| live.is_open());
            let held = held.map(|(worker, live)| (*worker, live.holder)).collect();
            match neighbour_limits::admit(self.config.slots(), &held, &holder, rand::random()) {
                neighbour_limits::Answer::Take => {}
                neighbour_limits::Answer::Full => {
                    close(connection, code::FULL, "no room for one more neighbour");
                    return false;
                }
                neighbour_limits::Answer::Replace(leaver) => {
                    if let Some(live) = state.links.get(&leaver) {
                        close(&live.connection, code::REPLACED, "gave its place to another");
                    }
                }
            }
        }
        state.table.met(clock::wall_ms(), contact.clone(), rand::random());
        let member = contact.certificate.member();
        let holder =
            Holder { account: member.account, network: spread(&contact, connection), inbound };
        let live = Live {
            connection: connection.clone(),
            contact,
            holder,
            since: Instant::now(),
            up_bytes: 0,
            down_bytes: 0,
        };
        let before = state.links.insert(worker, live);
        drop(state);
        if before.is_none() {
            tracing::debug!(peer = ?worker, inbound, "linked");
            // Nobody may be listening.
            let _ = self.events.send(PeerEvent::Joined(worker));
        }
        true
    }

    /// A link has ended, and with it all else between the two.
    pub(crate) fn unlinked(&self, worker: &WorkerKey, connection: &Connection) {
        let mut state = self.state();
        let same = |live: &Live| live.connection.stable_id() == connection.stable_id();
        if !state.links.get(worker).is_some_and(same) {
            return;
        }
        state.links.remove(worker);
        state.close_all(worker, code::GOODBYE, "the link has ended");
        drop(state);
        tracing::debug!(peer = ?worker, reason = ?connection.close_reason(), "link ended");
        let _ = self.events.send(PeerEvent::Left(*worker));
    }
}

/// The network of a peer: what the coordinator saw, else where it comes from.
fn spread(contact: &Contact, connection: &Connection) -> u64 {
    match contact.certificate.member().network {
        0 => {
            let paths = connection.paths();
            let ips = paths.iter().find_map(|path| match path.remote_addr() {
                TransportAddr::Ip(address) => Some(network(address.ip())),
                _ => None,
            });
            ips.unwrap_or(0)
        }
        network => network,
    }
}
