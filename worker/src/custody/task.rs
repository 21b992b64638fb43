//! The task that owns what is held.

mod log;
mod send;

use super::store::Books;
use super::{Command, Reported, deliver, rebuild};
use crate::blobs::Blobs;
use crate::clock::wall_ms;
use crate::coordinator::Session;
use crate::network::{Net, PeerEvent};
use program::file::is_no_room;
use proto::seal::Sealer;
use proto::{WorkerKey, pb};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use worker_core::custody::{Action, Config, Custodian, Event, Name, Now, Numbers, Refusal};
use worker_core::replica::{Gossip, Ledger};

/// Longest sleep: nothing is due.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// See the module.
pub(super) struct Keeper {
    hold: Custodian,
    config: Config,
    born: Instant,
    books: Arc<Mutex<Books>>,
    /// Whether the disk was full when something was to be kept last.
    full: AtomicBool,
    blobs: Arc<Blobs>,
    sealer: Arc<Sealer>,
    /// The project's log.
    ledger: Ledger,
    gossip: Gossip,
    log_every: Duration,
    /// Whether somebody is being asked for more of the log, and when the coordinator is to be asked again.
    asking: bool,
    ask_at: Instant,
    /// Whether a job has begun since it was asked last: the log must be had up to there, for without that entry a
    /// coordinator that has lost its disk knows nothing of the job.
    soon: bool,
    /// Whether it is for that reason that the coordinator is being asked.
    asked_soon: bool,
    /// A head that a peer told of meanwhile.
    newest: Option<(WorkerKey, pb::SignedHead)>,
    session: watch::Receiver<Option<Session>>,
    told: mpsc::Sender<Command>,
    numbers: watch::Sender<Numbers>,
    /// The newest head of the log, for whoever greets the coordinator.
    log_heads: watch::Sender<Option<pb::SignedHead>>,
    net: Option<Net>,
    events: Option<broadcast::Receiver<PeerEvent>>,
    /// Peers that the pure part was told of.
    linked: BTreeSet<WorkerKey>,
    /// Who waits for the answer to an offer.
    offers: BTreeMap<Name, oneshot::Sender<Result<(), Refusal>>>,
    /// Batches that are on their way here.
    coming: BTreeSet<Name>,
    tasks: JoinSet<()>,
    /// What was to be done at the start.
    due: Vec<Action>,
}

/// What the task works with.
pub(super) struct Parts {
    pub(super) config: Config,
    /// How often the project's log is asked for.
    pub(super) log_every: Duration,
    pub(super) books: Arc<Mutex<Books>>,
    pub(super) blobs: Arc<Blobs>,
    pub(super) sealer: Sealer,
    pub(super) session: watch::Receiver<Option<Session>>,
    pub(super) told: mpsc::Sender<Command>,
    pub(super) numbers: watch::Sender<Numbers>,
    pub(super) log_heads: watch::Sender<Option<pb::SignedHead>>,
}

impl Keeper {
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let Parts { config, log_every, books, blobs, sealer, session, told, numbers, log_heads } =
            parts;
        let (stored, ledger) = {
            let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
            (books.stored(wall_ms())?, books.ledger(sealer.project())?)
        };
        log_heads.send_replace(ledger.head().cloned());
        let (hold, due) = Custodian::restore(Now::ZERO, config.clone(), stored);
        Ok(Self {
            hold,
            config,
            born: Instant::now(),
            books,
            full: AtomicBool::new(false),
            blobs,
            sealer: Arc::new(sealer),
            session,
            told,
            numbers,
            log_heads,
            ledger,
            gossip: Gossip::default(),
            log_every,
            asking: false,
            newest: None,
            ask_at: Instant::now(),
            soon: false,
            asked_soon: false,
            net: None,
            events: None,
            linked: BTreeSet::new(),
            offers: BTreeMap::new(),
            coming: BTreeSet::new(),
            tasks: JoinSet::new(),
            due,
        })
    }

    pub(super) async fn run(mut self, mut heard: mpsc::Receiver<Command>) {
        let due = std::mem::take(&mut self.due);
        self.act(due).await;
        loop {
            let now = self.born.elapsed();
            let due = [self.hold.next_deadline(now), self.gossip.next_deadline()];
            let wake = due.into_iter().flatten().fold(now + SLEEP_MAX, Duration::min);
            let mut wake = self.born + wake;
            if !self.asking && self.session.borrow().is_some() {
                wake = wake.min(self.ask_at);
            }
            let log = self.ledger.size();
            self.numbers.send_replace(Numbers { log, ..self.hold.numbers() });
            tokio::select! {
                Some(told) = heard.recv() => self.hear(told).await,
                Ok(()) = self.session.changed() => self.session_changed().await,
                event = next(&mut self.events) => self.peer(event).await,
                () = tokio::time::sleep_until(wake.into()) => self.apply(Event::Wake).await,
            }
            self.ask_for_log();
            self.tell_head();
            while self.tasks.try_join_next().is_some() {}
        }
    }

    async fn apply(&mut self, event: Event) {
        let actions = self.hold.apply(self.born.elapsed(), event);
        self.act(actions).await;
    }

    async fn session_changed(&mut self) {
        let there = self.session.borrow_and_update().is_some();
        self.apply(if there { Event::Attached } else { Event::Detached }).await;
    }

    async fn hear(&mut self, told: Command) {
        match told {
            Command::Reported(reported) => self.reported(reported).await,
            Command::Settled(sequence) => self.apply(Event::Acknowledged { sequence }).await,
            Command::Tickets(tickets) => {
                self.disk("tickets", move |books| books.admit(tickets)).await;
            }
            Command::Spec(spec) => {
                let new = self.disk("a specification", move |books| books.learn(&spec)).await;
                if new == Some(true) {
                    self.ask_soon();
                }
            }
            Command::Rebuild { session, leases } => {
                let (books, blobs) = (Arc::clone(&self.books), Arc::clone(&self.blobs));
                self.tasks.spawn(Box::pin(rebuild::contribute(session, leases, books, blobs)));
            }
            Command::Head { peer, head } => self.head(peer, head),
            Command::Grown { from, log } => self.grown(from, log).await,
            Command::Peers(net) => {
                self.events = Some(net.events());
                self.net = Some(net);
                self.meet_all().await;
            }
            Command::Offered { name, bytes, answer } => {
                self.offers.insert(name, answer);
                // The link may be younger than what was heard of it.
                if !self.linked.contains(&name.worker) {
                    self.meet_all().await;
                }
                let Name { worker: peer, sequence } = name;
                self.apply(Event::Offered { peer, sequence, bytes }).await;
            }
            Command::NotCome(name) => {
                self.coming.remove(&name);
                self.apply(Event::NotCome(name)).await;
            }
            Command::Came { name, sealed, kept } => self.came(name, sealed, kept).await,
            Command::Released { peer, sequences } => {
                self.apply(Event::Released { peer, sequences }).await;
            }
            Command::Answered { peer, sequence, taken } => {
                self.apply(Event::Answered { peer, sequence, taken }).await;
            }
            Command::Wanted { names, wanted } => {
                let event = match wanted {
                    Some(wanted) => Event::Wanted(names.into_iter().zip(wanted).collect()),
                    None => Event::NotAsked(names),
                };
                self.apply(event).await;
            }
            Command::Delivered { name, done } => self.apply(Event::Delivered { name, done }).await,
        }
    }

    /// Seals a batch of this worker and keeps it; from then on it is handed to peers.
    async fn reported(&mut self, reported: Reported) {
        let Reported { sequence, signed, leases, outputs, outputs_bytes_max } = reported;
        let name = Name { worker: self.config.worker, sequence };
        let (sealer, account, random) =
            (Arc::clone(&self.sealer), self.config.account, rand::random());
        let kept = self
            .disk("a report", move |books| {
                let outputs = read_outputs(&outputs, outputs_bytes_max);
                let tickets = books.tickets(&leases);
                let sealed = sealer
                    .seal(&signed, tickets.clone(), outputs, &random)
                    .or_else(|_| sealer.seal(&signed, tickets, Vec::new(), &random))
                    .map_err(io::Error::other)?;
                books.copy(&name, account, &sealed, wall_ms())?;
                u32::try_from(sealed.len()).map_err(io::Error::other)
            })
            .await;
        if let Some(bytes) = kept {
            self.apply(Event::Reported { sequence, bytes }).await;
        }
    }

    async fn came(&mut self, name: Name, sealed: Vec<u8>, kept: oneshot::Sender<bool>) {
        self.coming.remove(&name);
        let certificate = self.net.as_ref().and_then(|net| net.certificate(&name.worker));
        let account = certificate.map(|certificate| certificate.member().account);
        let written = match account {
            Some(account) if self.hold.holds(&name) => {
                self.disk("a peer's report", move |books| {
                    books.keep(&name, account, &sealed, wall_ms())
                })
                .await
            }
            _ => None,
        };
        if written.is_none() {
            self.apply(Event::NotCome(name)).await;
        }
        // The peer may have gone.
        let _ = kept.send(written.is_some());
    }

    async fn peer(&mut self, event: Result<PeerEvent, broadcast::error::RecvError>) {
        match event {
            Ok(PeerEvent::Joined(_)) | Err(broadcast::error::RecvError::Lagged(_)) => {
                self.meet_all().await;
            }
            Ok(PeerEvent::Left(peer)) => {
                self.linked.remove(&peer);
                self.gossip.went(&peer);
                self.apply(Event::PeerWent(peer)).await;
            }
            Err(broadcast::error::RecvError::Closed) => self.events = None,
        }
    }

    /// Tells the pure part who is linked and was not, and who was and is not.
    async fn meet_all(&mut self) {
        let Some(net) = self.net.clone() else { return };
        let here: BTreeSet<WorkerKey> = net.neighbours().into_iter().collect();
        let gone: Vec<WorkerKey> = self.linked.difference(&here).copied().collect();
        for peer in gone {
            self.linked.remove(&peer);
            self.gossip.went(&peer);
            self.apply(Event::PeerWent(peer)).await;
        }
        for peer in here {
            if let Some(certificate) = net.certificate(&peer)
                && self.linked.insert(peer)
            {
                let member = certificate.member();
                let (account, network) = (member.account, member.network);
                self.gossip.came(peer);
                self.apply(Event::PeerCame { peer, account, network }).await;
            }
        }
    }

    async fn act(&mut self, actions: Vec<Action>) {
        let mut released: BTreeMap<WorkerKey, Vec<u64>> = BTreeMap::new();
        for action in actions {
            match action {
                Action::HandOver { peer, sequence } => self.hand_over(peer, sequence).await,
                Action::Release { peer, sequence } => {
                    released.entry(peer).or_default().push(sequence);
                }
                Action::Keep(name) => {
                    self.coming.insert(name);
                    self.answer(&name, Ok(()));
                }
                Action::Refuse { name, why } => self.answer(&name, Err(why)),
                Action::Mark(name) => {
                    self.disk("a note", move |books| books.mark(&name)).await;
                }
                Action::Forget(name) => {
                    self.disk("a deletion", move |books| books.forget(&name)).await;
                }
                Action::Ask(names) => {
                    let (session, told) = (self.session.borrow().clone(), self.told.clone());
                    self.tasks.spawn(async move {
                        let wanted = deliver::wanted(session, &names).await;
                        let _ = told.send(Command::Wanted { names, wanted }).await;
                    });
                }
                Action::Deliver(name) => self.deliver(name).await,
            }
        }
        for (peer, sequences) in released {
            self.release(peer, sequences);
        }
    }

    fn answer(&mut self, name: &Name, answer: Result<(), Refusal>) {
        if let Some(waits) = self.offers.remove(name) {
            // The peer may have gone; then the batch does not come.
            let _ = waits.send(answer);
        }
    }

    /// Works on the disk, where it may wait; none when it fails.
    async fn disk<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut Books) -> io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let books = Arc::clone(&self.books);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut books.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await;
        match done {
            Ok(Ok(value)) => {
                self.full.store(false, Ordering::Relaxed);
                Some(value)
            }
            // Once, and not for each report that each peer offers.
            Ok(Err(error)) if is_no_room(&error) && self.full.swap(true, Ordering::Relaxed) => None,
            Ok(Err(error)) => {
                tracing::warn!(%error, "{what} is not kept among what is held for peers");
                None
            }
            Err(_) => None,
        }
    }
}

/// Outputs as far as they fit; one that is gone has been acknowledged meanwhile.
fn read_outputs(paths: &[PathBuf], mut bytes_max: u64) -> Vec<Vec<u8>> {
    let mut outputs = Vec::new();
    for path in paths {
        let len = std::fs::metadata(path).map_or(u64::MAX, |metadata| metadata.len());
        if len <= bytes_max
            && let Ok(output) = std::fs::read(path)
        {
            bytes_max -= len;
            outputs.push(output);
        }
    }
    outputs
}

/// The next event among peers; never, while there are none.
async fn next(
    events: &mut Option<broadcast::Receiver<PeerEvent>>,
) -> Result<PeerEvent, broadcast::error::RecvError> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}
