//! Opens links: one at a time to each peer, a few at a time to all.

use super::contact::worker_key;
use super::shared::Shared;
use super::{ConnectError, code, link, relays};
use crate::clock;
use iroh::EndpointAddr;
use proto::WorkerKey;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

/// Longest wait for a connection to a peer: through a relay, with a hole to be punched.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(15);
/// How often an attempt that waits looks whether the peer is reached elsewhere by now.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Shared {
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

    async fn greet_alone(
        self: &Arc<Self>,
        worker: WorkerKey,
        address: EndpointAddr,
    ) -> Result<(), ConnectError> {
        let _turn = self.turns.acquire().await.map_err(|_| ConnectError::Closed)?;
        let endpoint = self.endpoint().ok_or(ConnectError::Closed)?;
        let known = self.state().table.get(&worker).and_then(|peer| peer.contact.endpoint_addr());
        let address = match known {
            Some(known) => address.with_addrs(known.addrs),
            None => address,
        };
        for url in address.relay_urls() {
            relays::prepare(self, url).await;
        }
        let connecting = timeout(CONNECT_MAX, Box::pin(endpoint.connect(address, link::ALPN)));
        let connected = tokio::select! {
            connected = connecting => connected,
            // Tried again soon, where it is reached now: it has found a relay, or the way out of its house.
            () = self.moved(&worker) => return Err(ConnectError::Moved),
        };
        let connection = connected
            .map_err(|_| ConnectError::Lost(format!("no answer within {CONNECT_MAX:?}")))?
            .map_err(|error| ConnectError::Lost(format!("{error:#}")))?;
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
