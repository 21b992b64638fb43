//! What all parts of the peer network share: who is known, who is linked, what is open.

mod links;

use super::config::Config;
use super::connection_limits::{self, Door};
use super::link::RequestHandler;
use super::neighbour_limits::Holder;
use super::net::PeerEvent;
use super::peer_record::{Contact, Relay, endpoint_id};
use super::peer_table::{Blame, Table};
use super::relays::Seeds;
use super::traffic::Traffic;
use super::{Meter, code};
use crate::clock;
use iroh::endpoint::{Connection, WeakConnectionHandle};
use iroh::{Endpoint, EndpointAddr};
use proto::member::Certificate;
use proto::{ProjectKey, WorkerKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinSet;

/// Greetings under way at once: each may wait its whole time for a peer that has gone.
const GREETINGS_MAX: usize = 16;
/// Peers remembered to be on the local network: more than a laboratory has.
const NEAR_MAX: usize = 1024;
/// Peers remembered to have shown their certificates: those linked, and some that were.
const GREETED_MAX: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) config: Config,
    pub(super) me: WorkerKey,
    pub(super) project: ProjectKey,
    pub(super) meter: Meter,
    pub(super) certificate: watch::Sender<Option<Certificate>>,
    pub(super) events: broadcast::Sender<PeerEvent>,
    /// The relay that this program runs, if it is a seed.
    pub(super) serves: Option<Relay>,
    /// Whose relays are used.
    pub(super) seeds: Seeds,
    /// Who serves what peers say about something else than peers.
    pub(super) talks: OnceLock<Box<dyn RequestHandler>>,
    endpoint: OnceLock<Endpoint>,
    born: Instant,
    state: Mutex<State>,
    tasks: Mutex<Option<JoinSet<()>>>,
    pub(super) turns: Semaphore,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) table: Table,
    pub(super) links: BTreeMap<WorkerKey, Live>,
    pub(super) door: Door,
    pub(super) open: Vec<Open>,
    /// Bytes of the endpoint that the meter has counted.
    pub(super) counted: Traffic,
    greeted: BTreeMap<WorkerKey, Certificate>,
    pub(super) greeting: BTreeMap<WorkerKey, Arc<tokio::sync::Mutex<()>>>,
    /// Who tells of itself on the local network.
    near: BTreeSet<WorkerKey>,
}

/// A link that is open.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) connection: Connection,
    pub(super) contact: Contact,
    pub(super) holder: Holder,
    pub(super) since: Instant,
    pub(super) up_bytes: u64,
    pub(super) down_bytes: u64,
}

/// A connection of whatever protocol that is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) worker: WorkerKey,
    pub(super) connection: WeakConnectionHandle,
    pub(super) visitor: Option<IpAddr>,
    pub(super) up_bytes: u64,
    pub(super) down_bytes: u64,
    /// Little more than signs of life passed when it was looked at last.
    pub(super) is_quiet: bool,
}

impl Network {
    pub(super) fn new(
        config: Config,
        me: WorkerKey,
        project: ProjectKey,
        table: Table,
        meter: Meter,
        certificate: Option<Certificate>,
    ) -> Self {
        let limits = connection_limits::Limits {
            all: config.connections_max,
            address: config.connections_per_address_max,
        };
        let state = State {
            table,
            links: BTreeMap::new(),
            door: Door::new(limits),
            open: Vec::new(),
            counted: Traffic::default(),
            greeted: BTreeMap::new(),
            greeting: BTreeMap::new(),
            near: BTreeSet::new(),
        };
        Self {
            serves: config.serves.clone(),
            seeds: Seeds::default(),
            config,
            me,
            project,
            meter,
            certificate: watch::Sender::new(certificate),
            events: broadcast::Sender::new(EVENTS),
            talks: OnceLock::new(),
            endpoint: OnceLock::new(),
            born: Instant::now(),
            state: Mutex::new(state),
            tasks: Mutex::new(Some(JoinSet::new())),
            turns: Semaphore::new(GREETINGS_MAX),
        }
    }

    pub(super) fn set_endpoint(&self, endpoint: Endpoint) {
        // Set once, before anybody else has this.
        let _ = self.endpoint.set(endpoint);
    }

    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.get()
    }

    /// Never held across an await.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Duration {
        self.born.elapsed()
    }

    /// Starts a task that ends with the peer network.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tasks) = tasks.as_mut() else { return };
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Ends all tasks, and starts no more.
    pub(super) async fn end_tasks(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
    }

    /// As [`Self::end_tasks`], without waiting.
    pub(super) fn abort_tasks(&self) {
        drop(self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Who we are and where; none while there is no certificate.
    pub(super) fn own_contact(&self) -> Option<Contact> {
        let certificate = (*self.certificate.borrow())?;
        let address = self.endpoint()?.addr();
        let addresses =
            address.ip_addrs().copied().take(super::peer_record::ADDRESSES_MAX).collect();
        let relay = address.relay_urls().next().cloned();
        Some(Contact { certificate, addresses, relay, serves: self.serves.clone() })
    }

    pub(super) fn is_banned(&self, worker: &WorkerKey) -> bool {
        self.state().table.is_banned(clock::wall_ms(), worker)
    }

    /// Whether a peer has shown a certificate that is still good.
    pub(super) fn is_greeted(&self, worker: &WorkerKey) -> bool {
        let state = self.state();
        let good =
            |certificate: &Certificate| clock::wall_ms() < certificate.member().expires_at_ms;
        state.greeted.get(worker).is_some_and(good)
    }

    /// A peer tells of itself on the local network, or no more.
    pub(super) fn note_near(&self, worker: WorkerKey, near: bool) {
        let mut state = self.state();
        if !near {
            state.near.remove(&worker);
        } else if state.near.len() < NEAR_MAX {
            state.near.insert(worker);
        }
    }

    /// Whether somebody who knocks may go on.
    pub(super) fn knock(&self, address: IpAddr) -> bool {
        !self.meter.is_spent()
            && self.state().door.knock(self.now(), address) == connection_limits::Answer::Open
    }

    /// Blames a peer, and closes everything to it when that is too much.
    pub(super) fn blame(&self, worker: &WorkerKey, blame: Blame) {
        let mut state = self.state();
        tracing::debug!(peer = ?worker, ?blame, "blamed");
        if !state.table.blame(clock::wall_ms(), worker, blame) {
            return;
        }
        state.greeted.remove(worker);
        state.close_all(worker, code::RUDE, "shut out for a while");
        drop(state);
        tracing::info!(peer = ?worker, ?blame, "a peer is shut out for an hour");
    }

    pub(super) fn to_tell(&self, n: usize) -> Vec<Contact> {
        let state = self.state();
        let told = state.table.to_tell(clock::wall_ms(), n, &mut rand::random);
        told.into_iter().map(|peer| peer.contact.clone()).collect()
    }

    pub(super) fn nearest(&self, target: &WorkerKey, n: usize) -> Vec<Contact> {
        let state = self.state();
        state.table.nearest(target, n).into_iter().map(|peer| peer.contact.clone()).collect()
    }

    /// Takes in what others told.
    pub(super) fn heard(&self, contacts: Vec<Contact>) {
        let now_ms = clock::wall_ms();
        let mut state = self.state();
        for contact in contacts {
            state.table.heard(now_ms, contact, rand::random());
        }
    }

    /// Whether there is any trace of a peer.
    pub(super) fn is_known(&self, worker: &WorkerKey) -> bool {
        let state = self.state();
        state.table.get(worker).is_some() || state.links.contains_key(worker)
    }

    /// Where a peer is reached, as far as is known.
    pub(super) fn address_of(&self, worker: &WorkerKey) -> Option<EndpointAddr> {
        let state = self.state();
        let known = state.table.get(worker).and_then(|peer| peer.contact.endpoint_addr());
        let linked = || state.links.get(worker).and_then(|live| live.contact.endpoint_addr());
        known.or_else(linked).or_else(|| endpoint_id(worker).map(EndpointAddr::new))
    }
}

/// Events that a slow listener may be behind before it loses some.
const EVENTS: usize = 1024;

impl State {
    /// All connections of a peer, of whatever protocol.
    pub(super) fn open_to(&self, worker: &WorkerKey) -> impl Iterator<Item = &Open> {
        self.open.iter().filter(move |open| open.worker == *worker)
    }

    /// Closes them.
    pub(super) fn close_all(&self, worker: &WorkerKey, code: u32, reason: &str) {
        for connection in self.open_to(worker).filter_map(|open| open.connection.upgrade()) {
            connection.close(code.into(), reason.as_bytes());
        }
    }

    /// Whether a peer is on the same local network.
    pub(super) fn is_near(&self, worker: &WorkerKey) -> bool {
        self.near.contains(worker)
    }

    fn remember(&mut self, certificate: Certificate) {
        if GREETED_MAX <= self.greeted.len() {
            let links = &self.links;
            let idle = self.greeted.keys().find(|worker| !links.contains_key(worker)).copied();
            if let Some(idle) = idle {
                self.greeted.remove(&idle);
            }
        }
        self.greeted.insert(certificate.member().worker, certificate);
    }
}

impl Live {
    pub(super) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }
}
