//! What the reports of a unit amount to. This is the seam for other ways of being sure: everything else only asks
//! [`judge`].

use crate::record::Place;
use crate::trust::estimate::{self, Figure, Standing};
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
pub struct Said {
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

impl Said {
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
pub fn judge(policy: Policy, said: &[Said], checked: bool, patient: bool) -> Verdict {
    match policy {
        Policy::Copies(copies) => judge_copies(copies, said),
        Policy::Confidence(target) => judge_confidence(target, said, checked, patient),
    }
}

/// Reports of other accounts that a unit lacks, should they all agree. Zero once no more will be sought.
#[must_use]
pub fn lacking(policy: Policy, said: &[Said], checked: bool, patient: bool) -> usize {
    match judge(policy, said, checked, patient) {
        Verdict::Need(need) => need,
        Verdict::Settle(_) | Verdict::Hold | Verdict::Wait | Verdict::GiveUp(_) => 0,
    }
}

/// A unit is settled when reports of as many parties agree as the job asks for and they are more than half of all.
fn judge_copies(copies: u32, said: &[Said]) -> Verdict {
    let (leader, agree, _) = opinions(said);
    let all: usize = votes(said).values().sum();
    let for_count = (copies.max(1) as usize).saturating_sub(agree);
    let for_majority = (all + 1).saturating_sub(2 * agree);
    let need = for_count.max(for_majority);
    if 0 < need && reports_max(copies) < said.len() + need {
        return disagree(said.len(), agree);
    }
    if 0 < need {
        return Verdict::Need(need);
    }
    Verdict::Settle(agreeing(said, leader))
}

fn judge_confidence(target: f64, said: &[Said], checked: bool, patient: bool) -> Verdict {
    if said.is_empty() {
        return Verdict::Need(1);
    }
    if let Some(referee) = said.iter().position(|said| said.referee) {
        return Verdict::Settle(agreeing(said, referee));
    }
    let (leader, votes, against) = opinions(said);
    let settles = doubt(said, leader) <= target;
    if alone(said).is_some_and(|said| said.standing.doubt() <= target) {
        return if checked { Verdict::Need(1) } else { Verdict::Hold };
    }
    // Beside the one that is held, a verdict rests on two of standing at least: who was caught adds nothing.
    let of_standing = parties(said, leader).iter().filter(|party| party.caught == 0).count();
    if settles && 2 <= of_standing {
        return Verdict::Settle(agreeing(said, leader));
    }
    if DISPUTED_REPORTS_MAX <= said.len() {
        return disagree(said.len(), leader_votes(said, leader));
    }
    if !settles && against == 0 && 2 <= of_standing && patient {
        return Verdict::Wait;
    }
    if settles || against == 0 {
        // One at a time: the next may be by somebody whose word is worth many.
        return Verdict::Need(1);
    }
    let need = (estimate::margin(target) + against).saturating_sub(votes);
    Verdict::Need(need.clamp(1, DISPUTE_ASKED_MAX))
}

/// The estimated chance that what the report at `leader` says is wrong.
fn doubt(said: &[Said], leader: usize) -> f64 {
    let votes = votes(said);
    let own = said[leader].statement;
    let against = || votes.iter().filter(|(statement, votes)| **statement != own && 0 < **votes);
    if against().next().is_none() {
        return estimate::group(parties(said, leader).into_iter());
    }
    estimate::dispute(votes.get(&own).copied().unwrap_or(0), against().map(|(_, votes)| *votes))
}

/// The chance that a verdict resting on the report at `canonical` is wrong, as it is kept with the verdict.
#[must_use]
pub fn figure(policy: Policy, said: &[Said], canonical: usize) -> Figure {
    match policy {
        Policy::Copies(_) => Figure::default(),
        Policy::Confidence(_) => Figure::of(doubt(said, canonical)),
    }
}

/// The report on which all rests: the only one, or the only one of somebody who was not caught, for the others add nothing.
pub(super) fn alone(said: &[Said]) -> Option<&Said> {
    if let [said] = said {
        return Some(said);
    }
    let mut of_standing = said.iter().filter(|said| said.standing.caught == 0);
    let first = of_standing.next()?;
    of_standing.next().is_none().then_some(first)
}

/// The reports behind a unit that is held, the one that counts first. The reports are in [`order`].
pub(super) fn agreeing_alone(said: &[Said]) -> Vec<usize> {
    agreeing(said, 0)
}

/// Puts the reports of those of standing first, in the order in which they came.
pub(super) fn order(said: &mut [Said]) {
    said.sort_by_key(|said| said.standing.caught != 0);
}

/// What all of standing who have reported say, if it is the same; nobody says nothing.
pub(super) fn undisputed(said: &[Said]) -> Option<Digest> {
    let mut statements = said.iter().filter(|said| said.standing.caught == 0);
    let first = statements.next()?.statement;
    statements.all(|said| said.statement == first).then_some(first)
}

/// Who says the same as the report at `leader`: of each network, the one of best standing.
fn parties(said: &[Said], leader: usize) -> Vec<Standing> {
    let own = said[leader].statement;
    let mut parties: Vec<Standing> = Vec::new();
    let mut networks: BTreeMap<u64, Standing> = BTreeMap::new();
    for said in said.iter().filter(|said| said.statement == own) {
        if said.network == 0 {
            parties.push(said.standing);
            continue;
        }
        let best = networks.entry(said.network).or_insert(said.standing);
        if said.standing.doubt() < best.doubt() {
            *best = said.standing;
        }
    }
    parties.extend(networks.into_values());
    parties
}

/// Parties of standing behind each statement: one vote for each account, and for each network.
pub(super) fn votes(said: &[Said]) -> BTreeMap<Digest, usize> {
    let mut votes: BTreeMap<Digest, usize> = BTreeMap::new();
    let mut networks: Vec<(Digest, u64)> = Vec::new();
    for said in said {
        let count = votes.entry(said.statement).or_default();
        let heard = said.network != 0 && networks.contains(&(said.statement, said.network));
        if said.standing.caught == 0 && !heard {
            *count += 1;
            networks.push((said.statement, said.network));
        }
    }
    votes
}

/// The first report of the opinion with most votes, its votes, and those of the strongest other.
fn opinions(said: &[Said]) -> (usize, usize, usize) {
    let votes = votes(said);
    let of = |index: usize| votes.get(&said[index].statement).copied().unwrap_or(0);
    let best = (0..said.len()).map(|index| (of(index), std::cmp::Reverse(index))).max();
    let (most, leader) = best.map_or((0, 0), |(votes, std::cmp::Reverse(index))| (votes, index));
    let own = said.get(leader).map(|said| said.statement);
    let against = votes.iter().filter(|(statement, _)| Some(**statement) != own);
    (leader, most, against.map(|(_, votes)| *votes).max().unwrap_or(0))
}

fn leader_votes(said: &[Said], leader: usize) -> usize {
    agreeing(said, leader).len()
}

fn agreeing(said: &[Said], leader: usize) -> Vec<usize> {
    (0..said.len()).filter(|index| said[*index].statement == said[leader].statement).collect()
}

fn disagree(all: usize, agree: usize) -> Verdict {
    Verdict::GiveUp(format!("{all} reports disagree: at most {agree} of them say the same"))
}

#[cfg(test)]
mod tests;
