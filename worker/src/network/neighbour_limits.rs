//! Who may be a neighbour: links open at once, spread over accounts and networks. Pure.
//!
//! A part of the slots is for links that this side opened, to peers of its own choice, so that nobody can surround it by
//! knocking. When all are taken, a newcomer of a small group takes the place of a neighbour of the largest one.

use proto::{AccountKey, WorkerKey};
use std::collections::BTreeMap;

/// Bounds on links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Links open at once.
    pub all: usize,
    /// Of them, the most that others opened.
    pub inbound: usize,
}

/// Whose a link is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its owner.
    pub account: AccountKey,
    /// Its network; 0 when unknown.
    pub network: u64,
    /// Whether the other side opened the link.
    pub inbound: bool,
}

/// What becomes of a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// There is room.
    Take,
    /// There is, once this neighbour has gone.
    Replace(WorkerKey),
    /// There is not.
    Full,
}

/// Whether one more link fits among `held`; `random` chooses who goes.
#[must_use]
pub fn admit(
    limits: Limits,
    held: &BTreeMap<WorkerKey, Holder>,
    newcomer: &Holder,
    random: u64,
) -> Answer {
    let inbound = held.values().filter(|holder| holder.inbound).count();
    let full = limits.all <= held.len() || (newcomer.inbound && limits.inbound <= inbound);
    if !full {
        return Answer::Take;
    }
    if !newcomer.inbound {
        return Answer::Full;
    }
    let crowd = |holder: &Holder| {
        let alike = |other: &&Holder| {
            other.inbound
                && (other.account == holder.account
                    || (holder.network != 0 && other.network == holder.network))
        };
        held.values().filter(alike).count()
    };
    let largest = held.values().filter(|holder| holder.inbound).map(crowd).max().unwrap_or(0);
    // The newcomer would be one more of its own crowd: replacing must make the largest smaller.
    if largest <= crowd(newcomer) + 1 {
        return Answer::Full;
    }
    let leavers = held.iter().filter(|(_, holder)| holder.inbound && crowd(holder) == largest);
    let leavers: Vec<_> = leavers.map(|(worker, _)| *worker).collect();
    let index = random % u64::try_from(leavers.len()).unwrap_or(1).max(1);
    let leaver = usize::try_from(index).ok().and_then(|index| leavers.get(index));
    leaver.map_or(Answer::Full, |worker| Answer::Replace(*worker))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { all: 10, inbound: 6 };

    fn holder(account: u8, network: u64, inbound: bool) -> Holder {
        Holder { account: AccountKey([account; 32]), network, inbound }
    }

    fn knock(held: &mut BTreeMap<WorkerKey, Holder>, worker: u8, holder: Holder) -> Answer {
        let answer = admit(LIMITS, held, &holder, u64::from(worker) * 7);
        match answer {
            Answer::Full => return answer,
            Answer::Replace(leaver) => {
                held.remove(&leaver);
            }
            Answer::Take => {}
        }
        held.insert(WorkerKey([worker; 32]), holder);
        assert!(held.len() <= LIMITS.all);
        answer
    }

    #[test]
    fn whoever_knocks_a_thousand_times_does_not_surround_us() {
        let mut held = BTreeMap::new();
        // A flood of one account fills what is for those who knock, and no more.
        for sybil in 0..200 {
            knock(&mut held, sybil, holder(1, u64::from(sybil), true));
        }
        assert_eq!(held.len(), LIMITS.inbound);
        for own in 201..205 {
            assert_eq!(knock(&mut held, own, holder(own, 0, false)), Answer::Take);
        }
        assert_eq!(knock(&mut held, 205, holder(205, 0, false)), Answer::Full);
        // Honest newcomers take its places, until the flood holds no more than any of them.
        for honest in 210..215 {
            assert!(matches!(
                knock(&mut held, honest, holder(honest, 0, true)),
                Answer::Replace(_)
            ));
        }
        assert_eq!(knock(&mut held, 220, holder(220, 0, true)), Answer::Full);
        assert_eq!(held.values().filter(|holder| holder.account.0[0] == 1).count(), 1);
        for sybil in 0..200 {
            assert_eq!(knock(&mut held, sybil, holder(1, 0, true)), Answer::Full);
        }
        assert_eq!(held.values().filter(|holder| !holder.inbound).count(), 4);
    }

    #[test]
    fn many_accounts_in_one_network_are_one_crowd() {
        let mut held = BTreeMap::new();
        for sybil in 0..100 {
            knock(&mut held, sybil, holder(sybil, 5, true));
        }
        assert!(matches!(knock(&mut held, 200, holder(200, 6, true)), Answer::Replace(_)));
        assert_eq!(knock(&mut held, 201, holder(201, 5, true)), Answer::Full);
    }
}
