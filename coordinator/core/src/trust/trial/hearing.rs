//! A segment, what is claimed of its end, and what those who ran it found.

use super::{Stage, Step, Trial};
use crate::Core;
use crate::bounds::{HEARD_MAX, HEARING_TARGET, RUNNERS_AT_ONCE};
use crate::event::Effects;
use crate::time::Now;
use crate::trust::estimate;
use crate::verdict;
use proto::Digest;
use proto::key::Signature;
use proto::trace::{Claim, Point, SegmentStatement};
use std::collections::BTreeMap;

/// One segment in question.
#[derive(Debug)]
pub(crate) struct Hearing {
    /// Fuel between two points; 0 for the whole unit.
    pub(super) spacing: u64,
    /// Points of the traces before it.
    pub(super) points: usize,
    pub(super) from: Option<Point>,
    /// The blob with the state at `from`, and its bytes.
    pub(super) state: Option<(Digest, u64)>,
    /// How each opinion says that it ends.
    pub(super) claims: Vec<Claim>,
    pub(super) heard: Vec<Heard>,
}

/// What somebody found who ran it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(super) worker: u32,
    pub(super) referee: bool,
    /// Whether it counts: nobody of its account was caught.
    pub(super) counts: bool,
    pub(super) statement: SegmentStatement,
    pub(super) signature: Signature,
}

impl Hearing {
    pub(super) fn new(
        spacing: u64,
        points: usize,
        from: Option<Point>,
        state: Option<(Digest, u64)>,
        claims: Vec<Claim>,
    ) -> Self {
        Self { spacing, points, from, state, claims, heard: Vec::new() }
    }

    /// Fuel at which it begins.
    pub(super) fn start(&self) -> u64 {
        self.from.map_or(0, |from| from.fuel)
    }

    pub(super) fn why(&self, opinions: usize, asked: usize) -> String {
        let (start, heard) = (self.start(), self.heard.len());
        let whose = if opinions == 1 {
            "a random segment of its trace"
        } else {
            "the segment on which the traces of its reports part"
        };
        let waits = match asked {
            0 => {
                "nobody of another account is free to run it: connect more workers, or appoint a referee"
            }
            _ => "somebody is running it",
        };
        format!("{whose}, from fuel {start} on, is run again ({heard} have): {waits}")
    }

    /// Whether those who speak differ.
    fn differ(&self) -> bool {
        let first = self.claims.first();
        let heard = self.heard.iter().map(|heard| &heard.statement.found);
        self.claims.iter().chain(heard).any(|claim| Some(claim) != first)
    }
}

impl Core {
    /// Decides a hearing if it can be, else has the segment run by (more) others.
    pub(super) fn hear(
        &mut self,
        now: Now,
        id: u64,
        trial: &mut Trial,
        effects: &mut Effects,
    ) -> Step {
        let Stage::Segment(hearing) = &trial.stage else { return Step::Undecided };
        if let Some(heard) = hearing.heard.iter().find(|heard| heard.referee) {
            return Step::Truth(heard.statement.found);
        }
        let differ = hearing.differ();
        if !differ && !hearing.heard.is_empty() {
            return Step::Truth(hearing.claims[0]);
        }
        if HEARD_MAX <= hearing.heard.len() {
            return Step::Undecided;
        }
        let mut wanted = 1;
        if differ {
            if trial.asks.iter().any(|ask| self.is_referee(ask.worker)) {
                return Step::Wait;
            }
            // One that is busy is waited for: votes would let a majority win.
            if self.ask_to_run(now, id, trial, true, effects) || self.referee_is_near(now, trial) {
                return Step::Wait;
            }
            let Stage::Segment(hearing) = &trial.stage else { return Step::Undecided };
            if hearing.spacing == 0 {
                return if trial.asks.is_empty() { Step::Undecided } else { Step::Wait };
            }
            let target = self.jobs.get(&trial.job).and_then(|job| job.spec.confidence);
            let target = target.unwrap_or(proto::job::CONFIDENCE_MAX);
            let (best, most, against) = self.tally(trial, hearing);
            let chance = estimate::dispute(most, against.iter().copied());
            if chance <= HEARING_TARGET {
                return Step::Truth(best);
            }
            let strongest = against.iter().max().copied().unwrap_or(0);
            wanted = (estimate::margin(HEARING_TARGET) + strongest).saturating_sub(most);
            wanted = wanted.clamp(1, RUNNERS_AT_ONCE);
            while trial.asks.len() < wanted && self.ask_to_run(now, id, trial, false, effects) {}
            // Nobody is left to be asked: what the job asks for is enough.
            if trial.asks.is_empty() && chance <= target {
                return Step::Truth(best);
            }
        }
        while trial.asks.len() < wanted && self.ask_to_run(now, id, trial, false, effects) {}
        // A check can be made in another way; a dispute is worth waiting for.
        let hopeless = !differ && trial.asks.is_empty();
        if hopeless { Step::Undecided } else { Step::Wait }
    }

    pub(super) fn is_referee(&self, worker: u32) -> bool {
        self.referees.contains(&worker)
    }

    /// The claim that most parties of standing make, how many do, and how many make each other one.
    fn tally(&self, trial: &Trial, hearing: &Hearing) -> (Claim, usize, Vec<usize>) {
        let known = self.jobs.get(&trial.job).and_then(|job| job.known.get(&trial.unit));
        let counts = known.map(|known| verdict::count_votes(&known.votes)).unwrap_or_default();
        let mut claims: Vec<(Claim, usize)> = Vec::new();
        let mut add =
            |claim: Claim, count: usize| match claims.iter_mut().find(|(other, _)| *other == claim)
            {
                Some((_, so_far)) => *so_far += count,
                None => claims.push((claim, count)),
            };
        for (opinion, claim) in trial.opinions.iter().zip(&hearing.claims) {
            add(*claim, counts.get(&opinion.statement).copied().unwrap_or(0));
        }
        let mut networks: BTreeMap<u64, ()> = BTreeMap::new();
        for heard in &hearing.heard {
            let network = self.worker(heard.worker).record.network;
            let first = network == 0 || networks.insert(network, ()).is_none();
            add(heard.statement.found, usize::from(heard.counts && first));
        }
        claims.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let (best, most) = claims[0];
        (
            best,
            most,
            claims[1..].iter().map(|(_, count)| *count).filter(|count| 0 < *count).collect(),
        )
    }
}
