//! Whom to try, whom to tell of, who is near a key.

use super::{Peer, Table};
use proto::WorkerKey;
use std::collections::BTreeMap;

/// A peer is told of to others when it was talked to within this time, milliseconds.
const TOLD_MS: u64 = 3_600_000;

/// One of several.
pub(super) fn pick<T>(among: &[T], random: u64) -> Option<&T> {
    let n = u64::try_from(among.len()).ok().filter(|n| 0 < *n)?;
    among.get(usize::try_from(random % n).ok()?)
}

impl Table {
    /// Up to `n` peers to try now, spread over networks and accounts: those met and those only heard of in turn, so that
    /// whoever floods us with news reaches half of our attempts at most.
    pub fn to_try(
        &self,
        now_ms: u64,
        n: usize,
        is_linked: impl Fn(&WorkerKey) -> bool,
        random: &mut impl FnMut() -> u64,
    ) -> Vec<&Peer> {
        let ready = |met: bool| {
            let ready = self.peers.values().filter(move |peer| peer.met == met);
            ready
                .filter(|peer| peer.retry_at_ms <= now_ms && !is_linked(&peer.contact.worker()))
                .collect::<Vec<_>>()
        };
        let met = spread(ready(true), random);
        let heard = spread(ready(false), random);
        let longer = met.len().max(heard.len());
        let turns = (0..longer).flat_map(|index| [met.get(index), heard.get(index)]);
        turns.flatten().copied().take(n).collect()
    }

    /// Up to `n` peers to tell of: only those that we talked to ourselves lately.
    pub fn to_tell(&self, now_ms: u64, n: usize, random: &mut impl FnMut() -> u64) -> Vec<&Peer> {
        let told = self.peers.values().filter(|peer| {
            peer.met && peer.failures == 0 && now_ms <= peer.seen_ms.saturating_add(TOLD_MS)
        });
        spread(told.collect(), random).into_iter().take(n).collect()
    }

    /// Up to `n` of the peers whose keys are nearest to `target` (by exclusive or, as in Kademlia), nearest first.
    #[must_use]
    pub fn nearest(&self, target: &WorkerKey, n: usize) -> Vec<&Peer> {
        let mut peers: Vec<_> = self.peers.values().filter(|peer| peer.failures == 0).collect();
        peers.sort_by_cached_key(|peer| distance(target, &peer.contact.worker()));
        peers.truncate(n);
        peers
    }
}

/// The distance of two keys.
#[must_use]
pub fn distance(one: &WorkerKey, other: &WorkerKey) -> [u8; 32] {
    std::array::from_fn(|index| one.0[index] ^ other.0[index])
}

/// In random order, but such that the first ones are of as many networks and accounts as there are.
fn spread<'a>(mut peers: Vec<&'a Peer>, random: &mut impl FnMut() -> u64) -> Vec<&'a Peer> {
    for last in (1..peers.len()).rev() {
        let n = u64::try_from(last).map_or(u64::MAX, |last| last + 1);
        peers.swap(last, usize::try_from(random() % n).unwrap_or(last));
    }
    let (mut of_account, mut of_network) = (BTreeMap::new(), BTreeMap::new());
    let mut count = |peer: &Peer| {
        let member = peer.contact.certificate.member();
        let of_account = of_account.entry(member.account).or_insert(0_usize);
        *of_account += 1;
        // An unknown network is nobody's crowd.
        let of_network = match member.network {
            0 => 0,
            network => {
                let n = of_network.entry(network).or_insert(0_usize);
                *n += 1;
                *n
            }
        };
        (*of_account).max(of_network)
    };
    let mut ranked: Vec<_> = peers.into_iter().map(|peer| (count(peer), peer)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, peer)| peer).collect()
}
