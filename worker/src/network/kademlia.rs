//! Finds a peer by its key among the members alone, without the coordinator (after Maymounkov and Mazieres, "Kademlia",
//! 2002): who is nearer is asked for those who are nearer still.

use super::shared::{Live, Network};
use super::{link, maintenance};
use proto::WorkerKey;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Peers asked in one round.
const ASKED_AT_ONCE: usize = 3;
/// Rounds: each about halves the distance, and whoever is found is asked for sixteen at a time.
const ROUNDS_MAX: usize = 8;
/// Links to one peer asked in a row.
const LINKS_ASKED: usize = 2;
/// Nearest peers looked at in each round.
const NEAREST: usize = 8;

/// Looks for a peer; whether it is known afterwards. Everybody met on the way is remembered.
pub(super) async fn find(shared: &Arc<Network>, target: &WorkerKey) -> bool {
    let mut asked = BTreeSet::from([shared.me]);
    for _ in 0..ROUNDS_MAX {
        if is_known(shared, target) {
            return true;
        }
        let next = to_ask(shared, target, &asked);
        if next.is_empty() {
            break;
        }
        for worker in next {
            asked.insert(worker);
            ask(shared, worker, target).await;
        }
    }
    is_known(shared, target)
}

fn is_known(shared: &Network, target: &WorkerKey) -> bool {
    shared.state().table.get(target).is_some()
}

/// The nearest that were not asked yet: of all that are known, and of the neighbours, who answer at once.
fn to_ask(shared: &Network, target: &WorkerKey, asked: &BTreeSet<WorkerKey>) -> Vec<WorkerKey> {
    let state = shared.state();
    let known = state.table.nearest(target, NEAREST + asked.len());
    let known = known.into_iter().map(|peer| peer.contact.worker());
    let linked = state.links.iter().filter(|(_, live)| live.is_open()).map(|(worker, _)| *worker);
    let mut all: Vec<_> = known.chain(linked).filter(|worker| !asked.contains(worker)).collect();
    all.sort_by_key(|worker| super::peer_table::distance(target, worker));
    all.dedup();
    all.truncate(ASKED_AT_ONCE);
    all
}

async fn ask(shared: &Arc<Network>, worker: WorkerKey, target: &WorkerKey) {
    let address = shared.address_of(&worker);
    let Some(address) = address else { return };
    if let Err(error) = Box::pin(shared.greet(address)).await {
        tracing::debug!(peer = ?worker, %error, "not asked");
        return;
    }
    // Two that greet each other at once have two links for a moment: the one that was asked may be the one that goes.
    for _ in 0..LINKS_ASKED {
        let connection =
            shared.state().links.get(&worker).filter(|live| live.is_open()).map(connection);
        let Some(connection) = connection else { return };
        match link::ask(shared, &connection, Some(*target)).await {
            Ok(contacts) => return shared.heard(contacts),
            Err(error) if error.is_rude() => {
                return shared.blame(&worker, maintenance::blame_of(&error));
            }
            Err(error) => tracing::debug!(peer = ?worker, %error, "no answer"),
        }
    }
}

fn connection(live: &Live) -> iroh::endpoint::Connection {
    live.connection.clone()
}
