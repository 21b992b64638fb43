//! What the reports of a unit amount to. This is the seam for other ways of being sure: everything else only asks
//! [`judge`].

use crate::record::Place;
use crate::trust::estimate::{self, Risk, Standing};
use proto::Digest;
use proto::report::Failure;
use proto::trace::Claim;
use std::collections::BTreeMap;

/// How sure a job wants to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// Reports of so many accounts in different networks must agree.
    Copies(u32),
    /// The estimated chance of being wrong must be no higher.
    Confidence(f64),
}

/// One accepted report of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Number of the worker's account.
    pub account: u32,
    /// The worker's network; 0 when it tells nothing.
    pub network: u64,
    /// What was known of the worker when this was looked at last.
    pub standing: Standing,
    /// Whether the worker is one that the operator has appointed.
    pub referee: bool,
    /// Whether the worker has this agreement on its record already.
    pub learned: bool,
    /// Where it is stored.
    pub place: Place,
    /// Fuel burnt.
    pub fuel: u64,
    /// Digest of the output, or how the unit fails everywhere.
    pub result: Result<Digest, Failure>,
    /// What it commits to as the unit's trace.
    pub trace_root: Option<Digest>,
    /// The leaf of its statement: equal for equal output, fuel and trace.
    pub statement: Digest,
}

impl Vote {
    /// How the unit ended, so it says.
    #[must_use]
    pub fn end(&self) -> Claim {
        Claim::End { result: self.result, fuel: self.fuel }
    }
}

/// What the reports amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These reports agree, and that is enough; the first is the canonical one.
    Settle(Vec<usize>),
    /// The one report is enough, once its worker has passed a check of this or of a later unit.
    Hold,
    /// Two parties agree, and their records may become good enough while there is other work.
    Wait,
    /// So many more reports of other accounts are needed, should they all agree.
    Need(usize),
    /// No agreement will be sought any more.
    GiveUp(String),
}

/// Reports after which a unit is given up, for jobs that ask for confidence: a dispute in which a third of all speak with
/// one wrong voice ends before that in all but a few of a thousand cases.
const DISPUTED_REPORTS_MAX: usize = 64;
/// Most reports asked for at once in a dispute, so that the first of them can end it.
const DISPUTE_ASKED_MAX: usize = 8;

/// Reports after which a unit is given up, for jobs that ask for `copies`: room for as many wrong as right ones, and
/// two more.
#[must_use]
pub fn reports_max(copies: u32) -> usize {
    2 * copies as usize + 2
}

/// Judges a unit. `checked`: one report is not enough, however good its worker's record. `patient`: those who agree may
/// earn what their records lack before somebody else is asked.
#[must_use]
pub fn judge(policy: Policy, votes: &[Vote], checked: bool, patient: bool) -> Verdict {
    match policy {
        Policy::Copies(copies) => judge_copies(copies, votes),
        Policy::Confidence(target) => judge_confidence(target, votes, checked, patient),
    }
}

/// Reports of other accounts that a unit lacks, should they all agree. Zero once no more will be sought.
#[must_use]
pub fn lacking(policy: Policy, votes: &[Vote], checked: bool, patient: bool) -> usize {
    match judge(policy, votes, checked, patient) {
        Verdict::Need(need) => need,
        Verdict::Settle(_) | Verdict::Hold | Verdict::Wait | Verdict::GiveUp(_) => 0,
    }
}

/// A unit is settled when reports of as many parties agree as the job asks for and they are more than half of all.
fn judge_copies(copies: u32, votes: &[Vote]) -> Verdict {
    let (leader, agree, _) = opinions(votes);
    let all: usize = count_votes(votes).values().sum();
    let for_count = (copies.max(1) as usize).saturating_sub(agree);
    let for_majority = (all + 1).saturating_sub(2 * agree);
    let need = for_count.max(for_majority);
    if 0 < need && reports_max(copies) < votes.len() + need {
        return disagree(votes.len(), agree);
    }
    if 0 < need {
        return Verdict::Need(need);
    }
    Verdict::Settle(agreeing(votes, leader))
}

fn judge_confidence(target: f64, votes: &[Vote], checked: bool, patient: bool) -> Verdict {
    if votes.is_empty() {
        return Verdict::Need(1);
    }
    if let Some(referee) = votes.iter().position(|vote| vote.referee) {
        return Verdict::Settle(agreeing(votes, referee));
    }
    let (leader, own, against) = opinions(votes);
    let settles = doubt(votes, leader) <= target;
    if alone(votes).is_some_and(|vote| vote.standing.doubt() <= target) {
        return if checked { Verdict::Need(1) } else { Verdict::Hold };
    }
    // Beside the one that is held, a verdict rests on two of standing at least: who was caught adds nothing.
    let of_standing = parties(votes, leader).iter().filter(|party| party.caught == 0).count();
    if settles && 2 <= of_standing {
        return Verdict::Settle(agreeing(votes, leader));
    }
    if DISPUTED_REPORTS_MAX <= votes.len() {
        return disagree(votes.len(), leader_votes(votes, leader));
    }
    if !settles && against == 0 && 2 <= of_standing && patient {
        return Verdict::Wait;
    }
    if settles || against == 0 {
        // One at a time: the next may be by somebody whose word is worth many.
        return Verdict::Need(1);
    }
    let need = (estimate::margin(target) + against).saturating_sub(own);
    Verdict::Need(need.clamp(1, DISPUTE_ASKED_MAX))
}

/// The estimated chance that what the report at `leader` says is wrong.
fn doubt(votes: &[Vote], leader: usize) -> f64 {
    let counts = count_votes(votes);
    let own = votes[leader].statement;
    let against = || counts.iter().filter(|(statement, count)| **statement != own && 0 < **count);
    if against().next().is_none() {
        return estimate::group(parties(votes, leader).into_iter());
    }
    estimate::dispute(counts.get(&own).copied().unwrap_or(0), against().map(|(_, count)| *count))
}

/// The chance that a verdict resting on the report at `canonical` is wrong, as it is kept with the verdict.
#[must_use]
pub fn risk(policy: Policy, votes: &[Vote], canonical: usize) -> Risk {
    match policy {
        Policy::Copies(_) => Risk::default(),
        Policy::Confidence(_) => Risk::of(doubt(votes, canonical)),
    }
}

/// The report on which all rests: the only one, or the only one of somebody who was not caught, for the others add nothing.
pub(super) fn alone(votes: &[Vote]) -> Option<&Vote> {
    if let [votes] = votes {
        return Some(votes);
    }
    let mut of_standing = votes.iter().filter(|vote| vote.standing.caught == 0);
    let first = of_standing.next()?;
    of_standing.next().is_none().then_some(first)
}

/// The reports behind a unit that is held, the one that counts first. The reports are in [`order`].
pub(super) fn agreeing_alone(votes: &[Vote]) -> Vec<usize> {
    agreeing(votes, 0)
}

/// Puts the reports of those of standing first, in the order in which they came.
pub(super) fn order(votes: &mut [Vote]) {
    votes.sort_by_key(|vote| vote.standing.caught != 0);
}

/// What all of standing who have reported say, if it is the same; nobody says nothing.
pub(super) fn undisputed(votes: &[Vote]) -> Option<Digest> {
    let mut statements = votes.iter().filter(|vote| vote.standing.caught == 0);
    let first = statements.next()?.statement;
    statements.all(|vote| vote.statement == first).then_some(first)
}

/// Who says the same as the report at `leader`: of each network, the one of best standing.
fn parties(votes: &[Vote], leader: usize) -> Vec<Standing> {
    let own = votes[leader].statement;
    let mut parties: Vec<Standing> = Vec::new();
    let mut networks: BTreeMap<u64, Standing> = BTreeMap::new();
    for vote in votes.iter().filter(|vote| vote.statement == own) {
        if vote.network == 0 {
            parties.push(vote.standing);
            continue;
        }
        let best = networks.entry(vote.network).or_insert(vote.standing);
        if vote.standing.doubt() < best.doubt() {
            *best = vote.standing;
        }
    }
    parties.extend(networks.into_values());
    parties
}

/// Parties of standing behind each statement: one vote for each account, and for each network.
pub(super) fn count_votes(votes: &[Vote]) -> BTreeMap<Digest, usize> {
    let mut counts: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut networks: Vec<(Digest, u64)> = Vec::new();
    for vote in votes {
        let count = counts.entry(vote.statement).or_default();
        let heard = vote.network != 0 && networks.contains(&(vote.statement, vote.network));
        if vote.standing.caught == 0 && !heard {
            *count += 1;
            networks.push((vote.statement, vote.network));
        }
    }
    counts
}

/// The first report of the opinion with most votes, its votes, and those of the strongest other.
fn opinions(votes: &[Vote]) -> (usize, usize, usize) {
    let counts = count_votes(votes);
    let of = |index: usize| counts.get(&votes[index].statement).copied().unwrap_or(0);
    let best = (0..votes.len()).map(|index| (of(index), std::cmp::Reverse(index))).max();
    let (most, leader) = best.map_or((0, 0), |(count, std::cmp::Reverse(index))| (count, index));
    let own = votes.get(leader).map(|vote| vote.statement);
    let against = counts.iter().filter(|(statement, _)| Some(**statement) != own);
    (leader, most, against.map(|(_, count)| *count).max().unwrap_or(0))
}

fn leader_votes(votes: &[Vote], leader: usize) -> usize {
    agreeing(votes, leader).len()
}

fn agreeing(votes: &[Vote], leader: usize) -> Vec<usize> {
    (0..votes.len()).filter(|index| votes[*index].statement == votes[leader].statement).collect()
}

fn disagree(all: usize, agree: usize) -> Verdict {
    Verdict::GiveUp(format!("{all} reports disagree: at most {agree} of them say the same"))
}

#[cfg(test)]
mod tests;
