//! Looks after the neighbourhood: counts, dials, asks for peers, keeps what is known.

use super::link;
use super::peer_table::Blame;
use super::relays::Relays;
use super::shared::{Live, Network, Open, State};
use super::traffic::Traffic;
use super::{code, kademlia, store};
use crate::clock;
use proto::WorkerKey;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// Greetings begun at once: a swarm that comes back together is found in seconds, and a bad table is no flood.
const GREETINGS_AT_ONCE: usize = 4;
/// How often a neighbour is asked for peers when there are enough, and when there are not.
const EXCHANGE_EVERY: Duration = Duration::from_secs(120);
const EXCHANGE_IN_NEED: Duration = Duration::from_secs(5);
/// How often this side looks for the peers nearest to its own key, so that others find it by its key. It costs two dozen
/// greetings.
const FIND_SELF_EVERY: Duration = Duration::from_secs(1_800);
/// A link that was opened for a search is kept for so long, and while more than a sign of life passes.
const SEARCHED_FOR: Duration = Duration::from_secs(30);
const SIGN_OF_LIFE_BYTES: u64 = 1024;
/// What is known is written to disk so long after the start, then after twice as long each time, at most [`KEEP_EVERY`]: a
/// newcomer that is killed soon has its first peers.
const KEEP_FIRST: Duration = Duration::from_secs(4);
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// When what was last done.
struct Care {
    relays: Relays,
    asked: Option<Instant>,
    found_self: Option<Instant>,
    kept: Instant,
    keep_after: Duration,
}

/// Runs until it is dropped.
pub(super) async fn run(shared: Arc<Network>) {
    let mut care = Care {
        relays: Relays::default(),
        asked: None,
        found_self: None,
        kept: Instant::now(),
        keep_after: KEEP_FIRST,
    };
    let mut certified = shared.certificate.subscribe();
    let mut ticks = interval(shared.config.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        sweep(&shared);
        count(&shared);
        if shared.meter.is_spent() {
            close_all(&shared);
        } else {
            greet_more(&shared);
            part(&shared);
            care.ask(&shared);
            care.find_self(&shared);
            care.relays.tend(&shared).await;
        }
        // A new certificate is kept at once: with it, a worker that is killed comes back as a member.
        let renewed = certified.has_changed().unwrap_or(false);
        certified.mark_unchanged();
        let due = care.keep_after <= care.kept.elapsed();
        if due {
            care.keep_after = KEEP_EVERY.min(care.keep_after * 2);
        }
        if renewed || due {
            care.kept = Instant::now();
            store::keep(&shared).await;
        }
    }
}

/// Counts what passed on each connection, and lets go of those that have ended.
fn sweep(shared: &Network) {
    let now_ms = clock::wall_ms();
    let mut state = shared.state();
    let mut open = std::mem::take(&mut state.open);
    open.retain_mut(|open| {
        let connection = open.connection.upgrade();
        let live = connection.filter(|connection| connection.close_reason().is_none());
        match live {
            Some(connection) => {
                let stats = connection.stats();
                let up = stats.udp_tx.bytes.saturating_sub(open.up_bytes);
                let down = stats.udp_rx.bytes.saturating_sub(open.down_bytes);
                (open.up_bytes, open.down_bytes) = (stats.udp_tx.bytes, stats.udp_rx.bytes);
                open.is_quiet = up + down < SIGN_OF_LIFE_BYTES;
                state.table.alive(now_ms, &open.worker, up, down);
                if let Some(live) = state.links.get_mut(&open.worker) {
                    live.up_bytes = live.up_bytes.saturating_add(up);
                    live.down_bytes = live.down_bytes.saturating_add(down);
                }
                true
            }
            None => {
                leave(&mut state, open);
                false
            }
        }
    });
    open.append(&mut state.open);
    state.open = open;
    state.table.expire(now_ms);
}

fn leave(state: &mut State, open: &Open) {
    if let Some(address) = open.visitor {
        state.door.leave(address);
    }
}

impl Care {
    /// Asks a neighbour for peers, now and then.
    fn ask(&mut self, shared: &Arc<Network>) {
        if !shared.config.exchange {
            return;
        }
        let links: Vec<_> = {
            let state = shared.state();
            let open = state.links.iter().filter(|(_, live)| live.is_open());
            open.map(|(worker, live)| (*worker, live.connection.clone())).collect()
        };
        let every = match links.len() < shared.config.links_wanted {
            true => EXCHANGE_IN_NEED,
            false => EXCHANGE_EVERY,
        };
        // The first question is asked as soon as there is a neighbour.
        let n = u64::try_from(links.len()).unwrap_or(0);
        if n == 0 || self.asked.is_some_and(|asked| asked.elapsed() < every.max(shared.config.tick))
        {
            return;
        }
        self.asked = Some(Instant::now());
        let index = usize::try_from(rand::random::<u64>() % n).unwrap_or(0);
        let Some((worker, connection)) = links.into_iter().nth(index) else { return };
        let asking = Arc::clone(shared);
        shared.spawn(async move {
            match link::ask(&asking, &connection, None).await {
                Ok(contacts) => asking.heard(contacts),
                Err(error) if error.is_rude() => {
                    asking.blame(&worker, blame_of(&error));
                }
                Err(error) => tracing::debug!(peer = ?worker, %error, "told of no peers"),
            }
        });
    }

    fn find_self(&mut self, shared: &Arc<Network>) {
        let due = self.found_self.is_none_or(|found| FIND_SELF_EVERY <= found.elapsed());
        if !shared.config.lookup || !due || shared.state().links.is_empty() {
            return;
        }
        self.found_self = Some(Instant::now());
        let finding = Arc::clone(shared);
        shared.spawn(async move {
            kademlia::find(&finding, &finding.me).await;
        });
    }
}

/// Counts all bytes of the endpoint, whatever connection they were of.
pub(super) fn count(shared: &Network) {
    let Some(endpoint) = shared.endpoint() else { return };
    let metrics = &endpoint.metrics().socket;
    let now = Traffic {
        up_bytes: metrics.send_ipv4.get() + metrics.send_ipv6.get() + metrics.send_relay.get(),
        down_bytes: metrics.recv_data_ipv4.get()
            + metrics.recv_data_ipv6.get()
            + metrics.recv_data_relay.get(),
    };
    let before = std::mem::replace(&mut shared.state().counted, now);
    shared.meter.count(Traffic {
        up_bytes: now.up_bytes.saturating_sub(before.up_bytes),
        down_bytes: now.down_bytes.saturating_sub(before.down_bytes),
    });
}

/// What a bad answer is called.
pub(super) fn blame_of(error: &super::frame::Error) -> Blame {
    match error {
        super::frame::Error::Slow(_) => Blame::Slow,
        _ => Blame::Garbage,
    }
}

/// Dials a few of those that are known, while there are too few neighbours of our own choice.
fn greet_more(shared: &Arc<Network>) {
    let chosen = {
        let state = shared.state();
        let missing = shared.config.links_wanted.saturating_sub(own(&state).count());
        let linked = |worker: &WorkerKey| state.links.get(worker).is_some_and(Live::is_open);
        let n = missing.min(GREETINGS_AT_ONCE);
        let chosen = state.table.to_try(clock::wall_ms(), n, linked, &mut rand::random);
        chosen.iter().filter_map(|peer| peer.contact.endpoint_addr()).collect::<Vec<_>>()
    };
    for address in chosen {
        let greeting = Arc::clone(shared);
        shared.spawn(async move {
            let peer = address.id;
            if let Err(error) = Box::pin(greeting.greet(address)).await {
                tracing::debug!(peer = %peer.fmt_short(), %error, "not greeted");
            }
        });
    }
}

/// Links that this side opened, to peers outside: those on the local network come beside them.
fn own(state: &State) -> impl Iterator<Item = (&WorkerKey, &Live)> {
    let outside = |worker: &WorkerKey, live: &Live| !live.holder.inbound && !state.is_near(worker);
    state.links.iter().filter(move |(worker, live)| live.is_open() && outside(worker, live))
}

/// Parts from a neighbour when more were greeted than are looked for: searches greet many, and each that stays costs a sign of
/// life every few seconds. The first ones stay.
fn part(shared: &Network) {
    let state = shared.state();
    if own(&state).count() <= shared.config.links_wanted {
        return;
    }
    let can_go = own(&state).filter(|(worker, live)| {
        SEARCHED_FOR <= live.since.elapsed() && state.open_to(worker).all(|open| open.is_quiet)
    });
    if let Some((last, _)) = can_go.min_by_key(|(_, live)| live.since.elapsed()) {
        state.close_all(last, code::ENOUGH, "there are neighbours enough");
    }
}

fn close_all(shared: &Network) {
    for live in shared.state().links.values() {
        live.connection.close(code::SPENT.into(), b"this month's volume is spent");
    }
}
