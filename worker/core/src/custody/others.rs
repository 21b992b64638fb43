//! What is held for others, until the coordinator has it and beyond.

mod telling;

use super::bounds::{
    ACCOUNT_SHARE, OFFERS_BURST, OFFERS_PER_SECOND, OTHERS_BATCHES_MAX, SENDER_SHARE, SENDERS_MAX,
};
use super::{Action, Name, Now, Refusal, Stored};
use proto::bucket::{Bucket, Buckets};
use proto::seal::SEALED_BYTES_MAX;
use proto::{AccountKey, WorkerKey};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Where a batch stands with the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The coordinator will be asked at this time, if it is there.
    Waiting(Now),
    /// The coordinator is being asked.
    Asking,
    /// The coordinator wants it.
    Wanted,
    /// It is on its way.
    Delivering,
    /// The coordinator has it, or will never want it.
    Known,
}

#[derive(Clone, Debug)]
struct Held {
    account: AccountKey,
    bytes: u32,
    since: Now,
    expires: Now,
    stage: Stage,
}

/// What one sender, or one account, takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    bytes: u64,
    batches: usize,
}

impl Share {
    /// Whether there is place for one more in one of `parts` parts of the room.
    fn fits(self, bytes: u32, room: u64, parts: u64) -> bool {
        let batches_max = OTHERS_BATCHES_MAX / usize::try_from(parts).unwrap_or(1);
        self.bytes + u64::from(bytes) <= room / parts && self.batches < batches_max
    }
}

/// Batches of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Others {
    batches: BTreeMap<Name, Held>,
    all: Share,
    senders: BTreeMap<WorkerKey, Share>,
    accounts: BTreeMap<AccountKey, Share>,
    /// Accounts by what they take up.
    largest: BTreeSet<(u64, AccountKey)>,
    /// All, by when they go.
    order: BTreeSet<(Now, Name)>,
    /// Of each account, by when they go.
    order_of: BTreeSet<(AccountKey, Now, Name)>,
    /// Those that the coordinator has, by when they go.
    known: BTreeSet<(Now, Name)>,
    /// Those that it will be asked about, by when.
    due: BTreeSet<(Now, Name)>,
    wanted: VecDeque<Name>,
    n_asking: usize,
    n_delivering: usize,
    rates: Rates,
    refused: u64,
}

/// How fast each sender may hand over.
#[derive(Clone, Debug)]
struct Rates(Buckets<WorkerKey>);

impl Default for Rates {
    fn default() -> Self {
        Self(Buckets::new(Bucket::new(OFFERS_PER_SECOND, OFFERS_BURST), SENDERS_MAX))
    }
}

impl Others {
    /// Takes up what is on disk; false when there is no room for it any more.
    pub(super) fn restore(&mut self, now: Now, stored: &Stored, expires: Now, room: u64) -> bool {
        let Stored { name, account, bytes, known, age: _ } = *stored;
        let room = self.all.fits(bytes, room, 1)
            && self.sender(&name.worker).fits(bytes, room, SENDER_SHARE)
            && self.account(&account).fits(bytes, room, ACCOUNT_SHARE);
        if room {
            let stage = if known { Stage::Known } else { Stage::Waiting(now) };
            self.insert(name, Held { account, bytes, since: now, expires, stage });
        }
        room
    }

    pub(super) fn holds(&self, name: &Name) -> bool {
        self.batches.contains_key(name)
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes a batch, if it may come; room is made at the cost of what the coordinator has, and of whoever holds most.
    #[expect(clippy::too_many_arguments, reason = "all of one offer, and what the caller knows")]
    pub(super) fn offered(
        &mut self,
        now: Now,
        name: Name,
        account: AccountKey,
        bytes: u32,
        expires: Now,
        room: u64,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        if self.batches.contains_key(&name) {
            return Err(Refusal::Held);
        }
        let admitted = self.admit(now, &name, account, bytes, room, actions);
        if admitted.is_err() {
            self.refused += 1;
            return admitted;
        }
        let held = Held { account, bytes, since: now, expires, stage: Stage::Waiting(now) };
        self.insert(name, held);
        Ok(())
    }

    fn admit(
        &mut self,
        now: Now,
        name: &Name,
        account: AccountKey,
        bytes: u32,
        room: u64,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        if SEALED_BYTES_MAX < bytes as usize {
            return Err(Refusal::TooLarge);
        }
        if !self.rates.0.passes(now, name.worker, 1) {
            return Err(Refusal::TooFast);
        }
        while !self.sender(&name.worker).fits(bytes, room, SENDER_SHARE) {
            let first = Name { worker: name.worker, sequence: 0 };
            let last = Name { worker: name.worker, sequence: u64::MAX };
            let known = |(_, held): &(&Name, &Held)| held.stage == Stage::Known;
            let oldest = self.batches.range(first..=last).find(known).map(|(name, _)| *name);
            self.evict(oldest.ok_or(Refusal::NoRoom)?, actions);
        }
        while !self.account(&account).fits(bytes, room, ACCOUNT_SHARE) {
            let is_known = |name: &Name| self.stage(name) == Some(Stage::Known);
            let oldest = self.of_account(account).map(|(_, _, name)| *name).find(is_known);
            self.evict(oldest.ok_or(Refusal::NoRoom)?, actions);
        }
        while !self.all.fits(bytes, room, 1) {
            let known = self.known.first().map(|(_, name)| *name);
            let of_largest = || {
                let (most, largest) = *self.largest.last()?;
                let own = self.account(&account).bytes + u64::from(bytes);
                let (_, _, oldest) = self.of_account(largest).next()?;
                (own < most).then_some(*oldest)
            };
            let oldest = known.or_else(of_largest);
            self.evict(oldest.ok_or(Refusal::NoRoom)?, actions);
        }
        Ok(())
    }

    fn sender(&self, worker: &WorkerKey) -> Share {
        self.senders.get(worker).copied().unwrap_or_default()
    }

    fn account(&self, account: &AccountKey) -> Share {
        self.accounts.get(account).copied().unwrap_or_default()
    }

    fn stage(&self, name: &Name) -> Option<Stage> {
        self.batches.get(name).map(|held| held.stage)
    }

    /// Batches of an account by age.
    fn of_account(
        &self,
        account: AccountKey,
    ) -> impl Iterator<Item = &(AccountKey, Now, Name)> + '_ {
        let first = Name { worker: WorkerKey([0; 32]), sequence: 0 };
        self.order_of
            .range((account, Now::ZERO, first)..)
            .take_while(move |(other, _, _)| *other == account)
    }

    fn insert(&mut self, name: Name, held: Held) {
        if self.batches.contains_key(&name) {
            return;
        }
        self.count(&name, &held, |share, bytes| {
            share.bytes += bytes;
            share.batches += 1;
        });
        self.order.insert((held.expires, name));
        self.order_of.insert((held.account, held.expires, name));
        match held.stage {
            Stage::Known => self.known.insert((held.expires, name)),
            _ => self.due.insert((held.since, name)),
        };
        self.batches.insert(name, held);
    }

    fn count(&mut self, name: &Name, held: &Held, change: impl Fn(&mut Share, u64)) {
        let bytes = u64::from(held.bytes);
        change(&mut self.all, bytes);
        let sender = self.senders.entry(name.worker).or_default();
        change(sender, bytes);
        if *sender == Share::default() {
            self.senders.remove(&name.worker);
        }
        let account = self.accounts.entry(held.account).or_default();
        self.largest.remove(&(account.bytes, held.account));
        change(account, bytes);
        if *account == Share::default() {
            self.accounts.remove(&held.account);
        } else {
            self.largest.insert((account.bytes, held.account));
        }
    }

    fn evict(&mut self, name: Name, actions: &mut Vec<Action>) {
        self.not_come(&name);
        actions.push(Action::Forget(name));
    }

    /// Takes a batch out of what is held.
    pub(super) fn not_come(&mut self, name: &Name) {
        self.leave_stage(name);
        let Some(held) = self.batches.remove(name) else { return };
        self.count(name, &held, |share, bytes| {
            share.bytes -= bytes;
            share.batches -= 1;
        });
        self.order.remove(&(held.expires, *name));
        self.order_of.remove(&(held.account, held.expires, *name));
    }

    /// Takes a batch out of what is held of its stage.
    fn leave_stage(&mut self, name: &Name) {
        let Some(held) = self.batches.get(name) else { return };
        match held.stage {
            Stage::Waiting(at) => drop(self.due.remove(&(at, *name))),
            Stage::Asking => self.n_asking -= 1,
            Stage::Wanted => self.wanted.retain(|wanted| wanted != name),
            Stage::Delivering => self.n_delivering -= 1,
            Stage::Known => drop(self.known.remove(&(held.expires, *name))),
        }
    }

    fn enter(&mut self, name: Name, stage: Stage) {
        self.leave_stage(&name);
        let Some(held) = self.batches.get_mut(&name) else { return };
        held.stage = stage;
        match stage {
            Stage::Waiting(at) => drop(self.due.insert((at, name))),
            Stage::Asking => self.n_asking += 1,
            Stage::Wanted => self.wanted.push_back(name),
            Stage::Delivering => self.n_delivering += 1,
            Stage::Known => drop(self.known.insert((held.expires, name))),
        }
    }

    /// Batches, those not known to be with the coordinator, and bytes.
    pub(super) fn numbers(&self) -> (usize, usize, u64) {
        (self.batches.len(), self.batches.len() - self.known.len(), self.all.bytes)
    }

    pub(super) fn check_invariants(&self, room: u64, batches_max: usize) -> Result<(), String> {
        let bytes: u64 = self.batches.values().map(|held| u64::from(held.bytes)).sum();
        if bytes != self.all.bytes || self.all.batches != self.batches.len() {
            return Err(format!("others: {bytes} bytes are miscounted"));
        }
        if room < bytes || batches_max < self.batches.len() || SENDERS_MAX < self.rates.0.len() {
            return Err("others: beyond a bound".into());
        }
        let sums = |shares: &mut dyn Iterator<Item = &Share>| {
            shares.fold(Share::default(), |sum, share| Share {
                bytes: sum.bytes + share.bytes,
                batches: sum.batches + share.batches,
            })
        };
        if sums(&mut self.senders.values()) != self.all
            || sums(&mut self.accounts.values()) != self.all
        {
            return Err("others: shares are miscounted".into());
        }
        if self.senders.values().any(|share| room / SENDER_SHARE < share.bytes)
            || self.accounts.values().any(|share| room / ACCOUNT_SHARE < share.bytes)
        {
            return Err("others: somebody has more than its share".into());
        }
        let count = |wanted: fn(Stage) -> bool| {
            self.batches.values().filter(|held| wanted(held.stage)).count()
        };
        let stages = [
            (count(|stage| matches!(stage, Stage::Waiting(_))), self.due.len()),
            (count(|stage| stage == Stage::Asking), self.n_asking),
            (count(|stage| stage == Stage::Wanted), self.wanted.len()),
            (count(|stage| stage == Stage::Delivering), self.n_delivering),
            (count(|stage| stage == Stage::Known), self.known.len()),
            (self.batches.len(), self.order.len()),
            (self.batches.len(), self.order_of.len()),
            (self.accounts.len(), self.largest.len()),
        ];
        if stages.iter().any(|(found, counted)| found != counted) {
            return Err(format!("others: stages are miscounted: {stages:?}"));
        }
        Ok(())
    }
}
