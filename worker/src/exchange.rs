//! The swarm at work: its pure core ([`worker_core::exchange`]) between the peers, the cache on disk and the coordinator.
//!
//! **How bytes are checked.** A blob is cut into pieces that are whole subtrees of its BLAKE3 tree, and their chaining
//! values are its list ([`proto::pieces`]); with the list, which the digest checks, each piece is checked when it comes
//! and may be given on at once. This is the verified streaming of bao at the height of a piece, by the `blake3` crate's
//! own functions. iroh-blobs does the same by bao-tree, but brings a store of its own: a second place on disk with other
//! limits, evictions and pins than the worker's cache, and a copy of each blob, because the sandbox reads files.
//!
//! **What may be given.** Blobs that were needed for units lent to this worker since it started, and blobs under way:
//! nothing else that is on disk, and only to members, for nobody else gets a connection.
//!
//! One task owns the core. Whatever takes long, asking, giving, reading and writing, runs in tasks of its own that
//! answer with an input; what is asked and given is bounded by the core and by the connections' streams.

mod act;
mod ask;
mod connection;
mod input;
mod protocol;
mod serve;

use crate::blobs::pieces::PieceFile;
use crate::blobs::{self, Blobs};
use crate::network::{Net, Opening};
use connection::{Acceptor, Talk};
use input::{Input, Missed};
use iroh::endpoint::{Connection, SendStream};
use proto::{Digest, WorkerKey};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, Semaphore, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use worker_core::exchange::{self, Event, Fault, RequestId, Swarm, Ticket, Trouble};

/// What has happened and was not taken up yet; connections wait when it is full.
const INBOX: usize = 1024;
/// Lists given at a time: the first of a blob reads all of it.
const LISTS_AT_ONCE: usize = 8;
/// How often the neighbourhood is looked at for peers to connect to.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A neighbour that could not be connected to is left alone for this long.
const DIAL_AGAIN: Duration = Duration::from_secs(15);
/// Peers that are kept away at a time: more were not met within an hour.
const KEPT_AWAY_MAX: usize = 1024;
/// Whole blobs whose files and lists are kept open to be given: what is asked for again within minutes.
const OPEN_MAX: usize = 64;

/// An answer that is waited for.
pub type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The coordinator, as the swarm sees it: the source of last resort.
pub trait Origin: Send + Sync + 'static {
    /// The length of a blob and its list of pieces, unchecked.
    fn list(&self, digest: Digest) -> Answer<Result<(u64, Vec<u8>), Fault>>;

    /// A stretch of a blob, unchecked; `last` when it has said "ask your peers" and no peer has it.
    fn piece(
        &self,
        digest: Digest,
        range: Range<u64>,
        last: bool,
    ) -> Answer<Result<Vec<u8>, Fault>>;
}

/// Why a blob is not brought.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody gives it, now or ever.
    #[error("{0:?}")]
    Swarm(Trouble),
    /// The cache.
    #[error(transparent)]
    Blobs(#[from] blobs::Error),
    /// The program ends.
    #[error("the program ends")]
    Closed,
}

/// Brings blobs from peers and coordinator, and gives them on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exchange(mpsc::Sender<Input>);

impl Exchange {
    /// Adds the swarm's protocol to the peer network. The returned task is to be run once the network has started.
    #[must_use]
    pub fn new(
        opening: Opening,
        config: exchange::Config,
        blobs: Arc<Blobs>,
        origin: Arc<dyn Origin>,
    ) -> (Opening, Self, Task) {
        let (inputs, inbox) = mpsc::channel(INBOX);
        let net = opening.net();
        let opening = opening.accept(protocol::ALPN, Acceptor(inputs.clone()));
        let task = Task {
            swarm: Swarm::new(exchange::Config { me: net.me(), ..config }),
            born: Instant::now(),
            net,
            blobs,
            origin,
            inbox,
            inputs: inputs.clone(),
            talks: BTreeMap::new(),
            dialling: BTreeSet::new(),
            near: BTreeSet::new(),
            kept_away: BTreeMap::new(),
            files: HashMap::new(),
            waiting: HashMap::new(),
            asking: HashMap::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            lists: Arc::new(Semaphore::new(LISTS_AT_ONCE)),
            tasks: JoinSet::new(),
        };
        (opening, Self(inputs), task)
    }

    /// Brings a blob into the cache, verified and pinned.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn bring(&self, digest: Digest, len: Option<u64>) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let bring = Input::Bring { digest, len, answer };
        self.0.send(bring).await.map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    /// A blob that is in the cache may be given to members.
    pub async fn offer(&self, digest: Digest, len: u64) {
        // The program ends when this fails.
        let _ = self.0.send(Input::Offer { digest, len }).await;
    }

    /// What it carries and has carried; nothing, when the program ends.
    pub async fn numbers(&self) -> exchange::Numbers {
        let (answer, answered) = oneshot::channel();
        let _ = self.0.send(Input::Numbers(answer)).await;
        answered.await.unwrap_or_default()
    }

    /// The coordinator can be asked, or not.
    pub async fn origin(&self, here: bool) {
        // The program ends when this fails.
        let _ = self.0.send(Input::Origin(here)).await;
    }
}

/// A blob's file, opened when it is needed first, once.
type Opened = Arc<OnceCell<Arc<PieceFile>>>;

/// The task that owns the core.
pub struct Task {
    swarm: Swarm,
    born: Instant,
    net: Net,
    blobs: Arc<Blobs>,
    origin: Arc<dyn Origin>,
    inbox: mpsc::Receiver<Input>,
    inputs: mpsc::Sender<Input>,
    talks: BTreeMap<WorkerKey, Talk>,
    dialling: BTreeSet<WorkerKey>,
    /// Peers that the swarm was told are near.
    near: BTreeSet<WorkerKey>,
    /// Peers that are not connected to, until when.
    kept_away: BTreeMap<WorkerKey, Instant>,
    files: HashMap<Digest, Opened>,
    waiting: HashMap<Digest, Vec<oneshot::Sender<Result<(), Error>>>>,
    asking: HashMap<RequestId, AbortHandle>,
    tickets: HashMap<Ticket, SendStream>,
    next_ticket: Ticket,
    /// Turns of peers that are given lists.
    lists: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task").field("swarm", &self.swarm).finish_non_exhaustive()
    }
}

impl Task {
    /// Runs until it is dropped: with it end all connections and everything that it has started.
    pub async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut events = self.net.events();
        loop {
            let due = self.swarm.next_deadline();
            let due = due.and_then(|due| self.born.checked_add(due));
            let wake = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(input) = self.inbox.recv() => self.take(input),
                () = wake => self.apply(Event::Wake),
                // Whoever comes and goes is seen by looking; a slow listener has missed some.
                _ = events.recv() => self.look(),
                _ = look.tick() => self.look(),
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    /// Connects to neighbours: of two the one with the smaller key does.
    fn look(&mut self) {
        self.look_near();
        let now = Instant::now();
        self.kept_away.retain(|_, until| now < *until);
        if self.net.meter().is_spent() {
            return;
        }
        let me = self.net.me();
        for peer in self.net.neighbours() {
            let known = self.talks.contains_key(&peer) || self.kept_away.contains_key(&peer);
            if peer < me || known || !self.dialling.insert(peer) {
                continue;
            }
            let (net, inputs) = (self.net.clone(), self.inputs.clone());
            self.tasks.spawn(async move {
                let connection = connection::dial(&net, peer).await;
                // The task has gone when this fails, here and below.
                let _ = inputs.send(Input::Dialled { peer, connection }).await;
            });
        }
    }

    /// Tells the swarm who of those that can be talked to is on the local network, and who is no more.
    fn look_near(&mut self) {
        let near: BTreeSet<_> =
            self.talks.keys().copied().filter(|peer| self.net.is_near(peer)).collect();
        let before = std::mem::replace(&mut self.near, near.clone());
        for peer in near.symmetric_difference(&before) {
            self.apply(Event::Near { peer: *peer, near: near.contains(peer) });
        }
    }

    /// Neither connects to a peer nor lets it in for a while.
    fn keep_away(&mut self, peer: WorkerKey, time: Duration) {
        if KEPT_AWAY_MAX <= self.kept_away.len()
            && let Some(first) = self.kept_away.iter().min_by_key(|(_, until)| **until)
        {
            let first = *first.0;
            self.kept_away.remove(&first);
        }
        self.kept_away.insert(peer, Instant::now() + time);
    }

    fn attend(&mut self, connection: Connection, dialled: bool) {
        let peer = crate::network::peer_record::worker_key(&connection.remote_id());
        if self.kept_away.contains_key(&peer) || exchange::PEERS_MAX <= self.talks.len() {
            connection.close(crate::network::code::FULL.into(), b"not now");
            return;
        }
        let work = connection::attend(self.net.clone(), connection, dialled, self.inputs.clone());
        self.tasks.spawn(work);
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Bring { digest, len, answer } => {
                self.waiting.entry(digest).or_default().push(answer);
                if !self.swarm.is_under_way(&digest) && self.blobs.len_of(&digest).is_none() {
                    // It was here, and went to make room.
                    self.files.remove(&digest);
                    self.apply(Event::End { digest });
                }
                self.apply(Event::Begin { digest, len });
            }
            Input::Offer { digest, len } => self.apply(Event::Offer { digest, len }),
            Input::Numbers(answer) => {
                // Whoever asked has gone when this fails.
                let _ = answer.send(self.swarm.numbers(self.born.elapsed()));
            }
            Input::Origin(here) => self.apply(Event::Origin { here }),
            Input::Inbound(connection) => self.attend(connection, false),
            Input::Dialled { peer, connection } => {
                self.dialling.remove(&peer);
                match connection {
                    Some(connection) => self.attend(connection, true),
                    None => self.keep_away(peer, DIAL_AGAIN),
                }
            }
            Input::Connected { peer, talk } => {
                if let Some(before) = self.talks.insert(peer, talk) {
                    before
                        .connection
                        .close(crate::network::code::DUPLICATE.into(), b"a newer one is here");
                }
                self.near.remove(&peer);
                self.apply(Event::Connected { peer });
                self.look_near();
            }
            Input::Closed { peer, id } => {
                let same = |talk: &Talk| talk.connection.stable_id() == id;
                if self.talks.get(&peer).is_some_and(same) {
                    self.talks.remove(&peer);
                    self.apply(Event::Gone { peer });
                }
            }
            Input::Said { peer, message } => self.apply(Event::Said { peer, message }),
            Input::Asked { peer, digest, piece, send } => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.tickets.insert(ticket, send);
                self.apply(Event::Asked { peer, ticket, digest, piece });
            }
            Input::AskedList { peer, digest, proof, send } => {
                self.give_list(peer, digest, proof, send)
            }
            Input::Listed { request, digest, got } => self.listed(request, digest, got),
            Input::Came { request, digest, got } => self.came(request, digest, got),
            Input::Served { peer, bytes } => self.apply(Event::Served { peer, bytes }),
            Input::Missing(digest) => {
                self.files.remove(&digest);
                if !self.swarm.is_under_way(&digest) {
                    self.apply(Event::End { digest });
                }
            }
            Input::Finished { digest, kept } => self.finished(digest, kept),
        }
    }
}

#[cfg(test)]
mod tests;
