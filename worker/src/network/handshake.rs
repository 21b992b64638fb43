//! Opens links: one at a time to each peer, a few at a time to all.

use super::net::SILENCE_MAX;
use super::peer_record::worker_key;
use super::shared::Network;
use super::{ConnectError, code, link, relays};
use crate::clock;
use iroh::EndpointAddr;
use iroh::endpoint::{ConnectOptions, Connection, QuicTransportConfig};
use proto::WorkerKey;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

/// Longest wait for a connection to a peer: through a relay, with a hole to be punched.
const CONNECT_MAX: Duration = Duration::from_secs(15);
/// How often whoever opened a connection gives a sign of life on it: before the other side would, whose time is iroh's
/// longest, five seconds.
const ALIVE_EVERY: Duration = Duration::from_secs(4);
/// How often an attempt that waits looks whether the peer is reached elsewhere by now.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Network {
    /// Makes sure that the peer at `address` has been greeted and its link is open.
    pub(super) async fn greet(self: &Arc<Self>, address: EndpointAddr) -> Result<(), ConnectError> {
        let worker = worker_key(&address.id);
        if self.is_linked(&worker) {
            return Ok(());
        }
        if self.is_banned(&worker) {
            return Err(ConnectError::Banned);
        }
        if self.meter.is_spent() {
            return Err(ConnectError::Spent);
        }
        if self.certificate.borrow().is_none() {
            return Err(ConnectError::NoCertificate);
        }
        let one_at_a_time = Arc::clone(self.state().greeting.entry(worker).or_default());
        let greeted = {
            let _turn = one_at_a_time.lock().await;
            match self.is_linked(&worker) {
                true => Ok(()),
                false => match Box::pin(self.greet_alone(worker, address)).await {
                    Err(ConnectError::Refused(code::DUPLICATE, _))
                        if self.joins(&worker, link::STEP_MAX).await =>
                    {
                        Ok(())
                    }
                    greeted => greeted,
                },
            }
        };
        drop(one_at_a_time);
        let mut state = self.state();
        if state.greeting.get(&worker).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            state.greeting.remove(&worker);
        }
        let now_ms = clock::wall_ms();
        match &greeted {
            Ok(()) => {}
            Err(ConnectError::Refused(
                code::FULL | code::DUPLICATE | code::REPLACED | code::SPENT,
                _,
            )) => {
                state.table.busy(now_ms, &worker);
            }
            Err(ConnectError::Moved) => {}
            Err(_) => state.table.failed(now_ms, &worker),
        }
        greeted
    }

    /// Waits for the link with a peer of which its half is there and ours on the way. Whether it came.
    pub(super) async fn joins(&self, worker: &WorkerKey, longest: Duration) -> bool {
        // Before the first look, so that no link comes in between.
        let mut events = self.events.subscribe();
        let linked = async {
            while !self.is_linked(worker) && !matches!(events.recv().await, Err(RecvError::Closed))
            {
            }
        };
        // Whether the time was enough is seen from the link.
        let _ = timeout(longest, linked).await;
        self.is_linked(worker)
    }

    /// Waits until a peer is said to be reached elsewhere than it was.
    async fn moved(&self, worker: &WorkerKey) {
        let before = self.address_of(worker);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.address_of(worker) != before {
                return;
            }
        }
    }

    /// Connects, and keeps the connection alive from this side. With every sign of life the other side's own time to send
    /// one begins anew, so that it need not.
    pub(super) async fn dial(
        &self,
        address: EndpointAddr,
        alpn: &[u8],
    ) -> Result<Connection, ConnectError> {
        let endpoint = self.endpoint().ok_or(ConnectError::Closed)?;
        let transport = QuicTransportConfig::builder()
            .max_idle_timeout(Some(SILENCE_MAX.try_into().map_err(lost)?))
            .keep_alive_interval(ALIVE_EVERY)
            .default_path_keep_alive_interval(ALIVE_EVERY)
            .build();
        let options = ConnectOptions::new().with_transport_config(transport);
        let connected = async {
            let connecting = Box::pin(endpoint.connect_with_opts(address, alpn, options)).await;
            connecting.map_err(lost)?.await.map_err(lost)
        };
        timeout(CONNECT_MAX, connected)
            .await
            .unwrap_or_else(|_| Err(lost(format!("no answer within {CONNECT_MAX:?}"))))
    }

    async fn greet_alone(
        self: &Arc<Self>,
        worker: WorkerKey,
        address: EndpointAddr,
    ) -> Result<(), ConnectError> {
        let _turn = self.turns.acquire().await.map_err(|_| ConnectError::Closed)?;
        let known = self.state().table.get(&worker).and_then(|peer| peer.contact.endpoint_addr());
        let address = match known {
            Some(known) => address.with_addrs(known.addrs),
            None => address,
        };
        for url in address.relay_urls() {
            relays::prepare(self, url).await;
        }
        let connected = tokio::select! {
            connected = self.dial(address, link::ALPN) => connected,
            // Tried again soon, where it is reached now: it has found a relay, or the way out of its house.
            () = self.moved(&worker) => return Err(ConnectError::Moved),
        };
        let connection = connected?;
        let contact = link::open(self, &connection).await?;
        if !self.linked(&connection, contact, false) {
            // The other link of the two is kept, or there is no room for one more.
            return match self.is_linked(&worker) {
                true => Ok(()),
                false => Err(ConnectError::Full),
            };
        }
        let shared = Arc::clone(self);
        self.spawn(async move { link::attend(&shared, &connection, worker).await });
        Ok(())
    }
}

fn lost(error: impl std::fmt::Display) -> ConnectError {
    ConnectError::Lost(format!("{error:#}"))
}
