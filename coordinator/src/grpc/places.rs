//! Places that many want: whoever holds most of them gives way, so that nobody shuts others out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Whom places are counted to where nobody has shown who it is: what one owner of a network commonly holds, 24 bits of an
/// IPv4 address, 48 of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Crowd(u128);

impl Crowd {
    /// The network of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ip) => Self(u128::from(ip.to_bits() >> 8) | 1 << 127),
            IpAddr::V6(ip) => Self(ip.to_bits() >> 80),
        }
    }

    /// The network of the other end of a connection, all of which that say nothing of it count as one.
    pub(crate) fn of_peer(peer: Option<SocketAddr>) -> Self {
        Self::of(peer.map_or_else(|| Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip()))
    }
}

/// Who goes when all places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The oldest of those who hold most places, even of the newcomer's own: for what honest ones hold for moments.
    Oldest,
    /// The oldest of those who hold more places than the newcomer would: for what is held long. Else the newcomer is
    /// turned away.
    Fair,
}

/// A number of places.
#[derive(Debug)]
pub(crate) struct Places<K> {
    most: usize,
    rule: Rule,
    inner: Mutex<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    next: u64,
    taken: usize,
    /// By holder, in the order taken.
    holders: HashMap<K, BTreeMap<u64, CancellationToken>>,
    /// How many places each holder has.
    sizes: BTreeSet<(usize, K)>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Clone + Ord + Hash> {
    places: Arc<Places<K>>,
    holder: K,
    number: u64,
    over: CancellationToken,
}

impl<K: Clone + Ord + Hash> Places<K> {
    /// `most` places, at least one.
    pub(crate) fn new(most: usize, rule: Rule) -> Arc<Self> {
        let inner = Inner { next: 0, taken: 0, holders: HashMap::new(), sizes: BTreeSet::new() };
        Arc::new(Self { most: most.max(1), rule, inner: Mutex::new(inner) })
    }

    /// Takes a place; somebody else's may be over for it. `None` when the newcomer has to do without.
    pub(crate) fn take(self: &Arc<Self>, holder: K) -> Option<Place<K>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if self.most <= inner.taken && !inner.make_room(self.rule, &holder) {
            return None;
        }
        let (number, over) = (inner.next, CancellationToken::new());
        inner.next += 1;
        inner.add(&holder, number, over.clone());
        Some(Place { places: Arc::clone(self), holder, number, over })
    }
}

impl<K: Clone + Ord + Hash> Inner<K> {
    fn size(&self, holder: &K) -> usize {
        self.holders.get(holder).map_or(0, BTreeMap::len)
    }

    fn make_room(&mut self, rule: Rule, newcomer: &K) -> bool {
        let Some((size, largest)) = self.sizes.last().cloned() else { return false };
        if rule == Rule::Fair && size <= self.size(newcomer) + 1 {
            return false;
        }
        let oldest = self.holders.get(&largest).and_then(|held| held.keys().next().copied());
        let Some(oldest) = oldest else { return false };
        if let Some(over) = self.remove(&largest, oldest) {
            over.cancel();
        }
        true
    }

    fn add(&mut self, holder: &K, number: u64, over: CancellationToken) {
        let size = self.size(holder);
        self.sizes.remove(&(size, holder.clone()));
        self.sizes.insert((size + 1, holder.clone()));
        self.holders.entry(holder.clone()).or_default().insert(number, over);
        self.taken += 1;
    }

    /// Takes a place back; `None` when it is over already.
    fn remove(&mut self, holder: &K, number: u64) -> Option<CancellationToken> {
        let held = self.holders.get_mut(holder)?;
        let over = held.remove(&number)?;
        let left = held.len();
        self.sizes.remove(&(left + 1, holder.clone()));
        if left == 0 {
            self.holders.remove(holder);
        } else {
            self.sizes.insert((left, holder.clone()));
        }
        self.taken -= 1;
        Some(over)
    }
}

impl<K: Clone + Ord + Hash> Place<K> {
    /// Cancelled when somebody else has got the place.
    pub(crate) fn over(&self) -> &CancellationToken {
        &self.over
    }
}

impl<K: Clone + Ord + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut inner = self.places.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is there any more when the place was given to somebody else.
        let _ = inner.remove(&self.holder, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn over(places: &[Option<Place<u8>>]) -> Vec<usize> {
        let is_over = |place: &Option<Place<u8>>| {
            place.as_ref().is_none_or(|place| place.over.is_cancelled())
        };
        (0..places.len()).filter(|&index| is_over(&places[index])).collect()
    }

    #[test]
    fn who_holds_most_gives_way_to_who_holds_less() {
        let places = Places::new(4, Rule::Fair);
        let mut held: Vec<_> = [1, 1, 1, 1].map(|holder| places.take(holder)).into();
        assert!(places.take(1).is_none());
        held.push(places.take(2));
        assert_eq!(over(&held), [0]);
        held.push(places.take(3));
        assert_eq!(over(&held), [0, 1]);
        // Two of the first, one each of the others: a fourth would hold as many as they.
        held.push(places.take(4));
        assert_eq!(over(&held), [0, 1, 2]);
        assert!(places.take(5).is_none(), "all hold one each");
        held.clear();
        assert!(places.inner.lock().unwrap().sizes.is_empty());
    }

    #[test]
    fn what_is_held_for_moments_goes_by_age_even_among_ones_own() {
        let places = Places::new(2, Rule::Oldest);
        let held: Vec<_> = [1, 1, 1, 2].map(|holder| places.take(holder)).into();
        assert_eq!(over(&held), [0, 1]);
    }

    #[test]
    fn networks_are_what_one_owner_holds() {
        let of = |ip: &str| Crowd::of(ip.parse().unwrap());
        assert_eq!(of("203.0.113.7"), of("::ffff:203.0.113.250"));
        assert_ne!(of("203.0.113.7"), of("203.0.114.7"));
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:ffff::9"));
        assert_ne!(of("127.0.1.1"), of("127.0.2.1"));
    }

    proptest! {
        #[test]
        fn never_more_than_there_are_and_nobody_waits_behind_a_crowd(
            steps in prop::collection::vec((any::<bool>(), 0_u8..6, any::<prop::sample::Index>()), 1..200)
        ) {
            let places = Places::new(8, Rule::Fair);
            let mut held: Vec<Place<u8>> = Vec::new();
            for (takes, holder, which) in steps {
                if takes {
                    let before = held.iter().filter(|place| place.holder == holder && !place.over.is_cancelled()).count();
                    match places.take(holder) {
                        Some(place) => held.push(place),
                        // Turned away only with a fair share.
                        None => prop_assert!(1 <= before, "{holder} has {before}"),
                    }
                } else if !held.is_empty() {
                    held.swap_remove(which.index(held.len()));
                }
                let alive = held.iter().filter(|place| !place.over.is_cancelled()).count();
                let inner = places.inner.lock().unwrap();
                prop_assert_eq!(alive, inner.taken);
                prop_assert!(alive <= 8);
                let sizes: usize = inner.sizes.iter().map(|(size, _)| size).sum();
                prop_assert_eq!(sizes, alive);
            }
        }
    }
}
