//! Who was seen alive, and whom to tell of it. Pure: time and randomness are arguments.

use super::is_other;
use proto::{AccountKey, WorkerKey, pb};
use std::collections::{BTreeMap, BTreeSet};

/// Peers remembered: 64,000 at about 600 bytes, 40 MB at most.
const PEERS_MAX: usize = 1 << 16;
/// Of them, those of one account.
const ACCOUNT_MAX: usize = PEERS_MAX / 16;
/// A peer that has not announced itself for so long is not told of any more, milliseconds: two and a half rounds.
const ALIVE_MS: u64 = 300_000;
/// How often those who fell silent are looked for while there is no room, milliseconds: it takes a look at all.
const SWEEP_EVERY_MS: u64 = 10_000;
/// Peers looked at for one answer: from so many, those of different accounts and networks come first.
const LOOKED_AT: usize = 256;

/// A worker that announced itself.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) worker: WorkerKey,
    pub(super) account: AccountKey,
    pub(super) network: u64,
    pub(super) is_seed: bool,
    pub(super) contact: pb::Contact,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    peers: BTreeMap<WorkerKey, (u64, Seen)>,
    seeds: BTreeSet<WorkerKey>,
    accounts: BTreeMap<AccountKey, usize>,
    sweep_at: u64,
}

impl Tracker {
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// A worker has announced itself at `now`, milliseconds on a clock that never jumps.
    pub(super) fn saw(&mut self, now: u64, seen: Seen, random: u64) {
        let known = self.peers.contains_key(&seen.worker);
        let of_account = self.accounts.get(&seen.account).copied().unwrap_or(0);
        if !known && (PEERS_MAX <= self.peers.len() || ACCOUNT_MAX <= of_account) {
            self.forget_silent(now);
            let of_account = self.accounts.get(&seen.account).copied().unwrap_or(0);
            if ACCOUNT_MAX <= of_account {
                return;
            }
            if PEERS_MAX <= self.peers.len() {
                let any = self.starting_at(random).next().copied();
                if let Some(any) = any {
                    self.forget(&any);
                }
            }
        }
        self.forget(&seen.worker);
        if seen.is_seed {
            self.seeds.insert(seen.worker);
        }
        *self.accounts.entry(seen.account).or_default() += 1;
        self.peers.insert(seen.worker, (now, seen));
    }

    /// Up to `n` of those seen alive, or of the seeds among them, for `asker`: as many accounts and networks as there are.
    pub(super) fn sample(
        &self,
        now: u64,
        asker: &WorkerKey,
        seeds: bool,
        n: usize,
        random: &mut impl FnMut() -> u64,
    ) -> Vec<&Seen> {
        let is_alive = |at: u64| now.saturating_sub(at) <= ALIVE_MS;
        let keys: Vec<&WorkerKey> = match seeds {
            true => self.seeds.iter().take(LOOKED_AT).collect(),
            // Keys are random, so that where one begins to read is as good as a draw; but a few places are better than one.
            false => {
                (0..LOOKED_AT / 16).flat_map(|_| self.starting_at(random()).take(16)).collect()
            }
        };
        let keys: BTreeSet<_> = keys.into_iter().collect();
        let found = keys.into_iter().filter_map(|worker| self.peers.get(worker));
        let mut found: Vec<_> = found
            .filter(|(at, seen)| is_alive(*at) && seen.is_seed == seeds && is_other(seen, asker))
            .map(|(_, seen)| (random(), seen))
            .collect();
        found.sort_by_key(|(random, _)| *random);
        let (mut accounts, mut networks) = (BTreeMap::new(), BTreeMap::new());
        let mut ranked: Vec<_> = found
            .into_iter()
            .map(|(_, seen)| {
                let of_account = accounts.entry(seen.account).or_insert(0_usize);
                *of_account += 1;
                let of_network = networks.entry(seen.network).or_insert(0_usize);
                *of_network += usize::from(seen.network != 0);
                ((*of_account).max(*of_network), seen)
            })
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, seen)| seen).take(n).collect()
    }

    /// All, from a random one on, round to it again.
    fn starting_at(&self, random: u64) -> impl Iterator<Item = &WorkerKey> {
        let mut start = [0; 32];
        start[..8].copy_from_slice(&random.to_be_bytes());
        let start = WorkerKey(start);
        let after = self.peers.range(start..);
        after.chain(self.peers.range(..start)).map(|(worker, _)| worker)
    }

    fn forget(&mut self, worker: &WorkerKey) {
        let Some((_, seen)) = self.peers.remove(worker) else { return };
        self.seeds.remove(worker);
        if let Some(n) = self.accounts.get_mut(&seen.account) {
            *n -= 1;
            if *n == 0 {
                self.accounts.remove(&seen.account);
            }
        }
    }

    fn forget_silent(&mut self, now: u64) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now.saturating_add(SWEEP_EVERY_MS);
        let silent = self.peers.iter().filter(|(_, (at, _))| ALIVE_MS < now.saturating_sub(*at));
        let silent: Vec<_> = silent.map(|(worker, _)| *worker).collect();
        silent.iter().for_each(|worker| self.forget(worker));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(worker: u32, account: u32, is_seed: bool) -> Seen {
        let key = |number: u32| *blake3::hash(&number.to_le_bytes()).as_bytes();
        Seen {
            worker: WorkerKey(key(worker)),
            account: AccountKey(key(account)),
            network: 0,
            is_seed,
            contact: pb::Contact::default(),
        }
    }

    fn dice() -> impl FnMut() -> u64 {
        let mut state = 7_u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            u64::from_be_bytes(
                *blake3::hash(&state.to_le_bytes()).as_bytes().first_chunk().unwrap(),
            )
        }
    }

    #[test]
    fn a_sample_is_random_spread_and_of_the_living() {
        let (mut tracker, mut dice) = (Tracker::default(), dice());
        for worker in 0..1_000 {
            // Nine of ten are one account's.
            let account = if worker % 10 == 0 { 10_000 + worker } else { 9 };
            tracker.saw(0, seen(worker, account, false), dice());
        }
        tracker.saw(0, seen(5_000, 5_000, true), dice());
        let asker = seen(10, 0, false).worker;
        let mut told = BTreeSet::new();
        for _ in 0..100 {
            let sample = tracker.sample(1, &asker, false, 8, &mut dice);
            assert_eq!(sample.len(), 8);
            assert!(sample.iter().all(|seen| seen.worker != asker && !seen.is_seed));
            let of_crowd =
                sample.iter().filter(|seen| seen.account == self::seen(0, 9, false).account);
            assert!(of_crowd.count() <= 1);
            told.extend(sample.iter().map(|seen| seen.worker));
        }
        assert!(80 < told.len());
        assert_eq!(tracker.sample(1, &asker, true, 8, &mut dice).len(), 1);
        assert!(tracker.sample(ALIVE_MS + 1, &asker, false, 8, &mut dice).is_empty());
    }

    #[test]
    fn memory_is_bounded_and_one_account_holds_its_share() {
        let (mut tracker, mut dice) = (Tracker::default(), dice());
        for worker in 0..2 * u32::try_from(ACCOUNT_MAX).unwrap() {
            tracker.saw(0, seen(worker, 1, false), dice());
        }
        assert_eq!(tracker.len(), ACCOUNT_MAX);
        for worker in 0..u32::try_from(PEERS_MAX).unwrap() {
            tracker.saw(1, seen(1_000_000 + worker, 1_000_000 + worker, worker % 100 == 0), dice());
        }
        assert_eq!(tracker.len(), PEERS_MAX);
        // Those who fell silent make room.
        tracker.saw(ALIVE_MS + 2, seen(9_999_999, 1, false), dice());
        assert_eq!((tracker.len(), tracker.seeds.len(), tracker.accounts.len()), (1, 0, 1));
    }
}
