//! The rules of others, on the same workers: fixed voting, and BOINC's adaptive replication.

use crate::simulation::kind::Answer;
use crate::simulation::{Kind, Random};
use std::collections::BTreeMap;

/// How results are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Copies are made until so many agree, beginning with `first`.
    Votes {
        /// Copies made at once.
        first: u32,
        /// That must agree.
        agree: u32,
    },
    /// BOINC (`sched/sched_send.cpp`, `sched/validator.cpp`): a host with 10 consecutive valid results is trusted; a
    /// request of a trusted host is checked with probability 1 / that count, else its units are accepted alone; all
    /// others take two that agree. A result that is not valid ends the row.
    Adaptive,
}

/// Consecutive valid results after which BOINC trusts a host.
const TRUSTED: u64 = 10;

/// Copies after which a unit is left without an answer, as BOINC's `max_total_results` does.
const COPIES_MAX: usize = 20;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Units.
    pub units: u64,
    /// Accepted with a wrong result.
    pub wrong: u64,
    /// Left without a result.
    pub none: u64,
    /// Copies computed.
    pub copies: u64,
}

struct Host {
    kind: Kind,
    reported: u64,
    valid: u64,
}

struct Crowd {
    hosts: Vec<Host>,
    random: Random,
}

impl Crowd {
    fn say(&mut self, host: usize, unit: u64, heard: Option<Answer>) -> Answer {
        let Host { kind, reported, .. } = self.hosts[host];
        self.hosts[host].reported += 1;
        if matches!(kind, Kind::Identities(units) if units <= reported + 1) {
            // A new identity, which nothing is known of.
            (self.hosts[host].reported, self.hosts[host].valid) = (0, 0);
        }
        kind.answer(host as u64, unit, reported, &mut self.random, heard)
    }

    fn another(&mut self, but: &[(usize, Answer)]) -> usize {
        loop {
            let host = usize::try_from(self.random.below(self.hosts.len() as u64)).unwrap_or(0);
            if but.iter().all(|(other, _)| *other != host) {
                return host;
            }
        }
    }

    /// Copies by different hosts, beginning with what was said, until `agree` agree; the answer.
    fn vote(
        &mut self,
        unit: u64,
        said: &mut Vec<(usize, Answer)>,
        first: u32,
        agree: u32,
    ) -> Option<Answer> {
        loop {
            if first as usize <= said.len() {
                let mut votes: Vec<(Answer, u32)> = Vec::new();
                for (_, answer) in said.iter() {
                    match votes.iter_mut().find(|(other, _)| other == answer) {
                        Some((_, count)) => *count += 1,
                        None => votes.push((*answer, 1)),
                    }
                }
                if let Some((answer, _)) = votes.iter().find(|(_, count)| agree <= *count) {
                    return Some(*answer);
                }
            }
            if COPIES_MAX <= said.len() || self.hosts.len() <= said.len() {
                return None;
            }
            let host = self.another(said);
            let heard = said.first().map(|(_, answer)| *answer);
            let answer = self.say(host, unit, heard);
            said.push((host, answer));
        }
    }

    fn judge(&mut self, said: &[(usize, Answer)], accepted: Option<Answer>) {
        for (host, answer) in said {
            let host = &mut self.hosts[*host];
            host.valid = if Some(*answer) == accepted { host.valid + 1 } else { 0 };
        }
    }
}

/// Runs `units` units by a rule; `ask` units are asked for at once.
#[must_use]
pub fn run(rule: Rule, kinds: &[(Kind, u32)], units: u64, ask: u32, seed: u64) -> Tally {
    let hosts = kinds.iter().flat_map(|(kind, count)| vec![*kind; *count as usize]);
    let hosts = hosts.map(|kind| Host { kind, reported: 0, valid: 0 }).collect();
    let mut crowd = Crowd { hosts, random: Random::new(seed) };
    let mut tally = Tally { units, ..Tally::default() };
    let mut requests: BTreeMap<usize, (u32, bool)> = BTreeMap::new();
    for unit in 0..units {
        let host = crowd.another(&[]);
        let mut said = vec![(host, crowd.say(host, unit, None))];
        let accepted = match rule {
            Rule::Votes { first, agree } => crowd.vote(unit, &mut said, first, agree),
            Rule::Adaptive => {
                let valid = crowd.hosts[host].valid;
                let request = requests.entry(host).or_insert((0, false));
                if request.0 == 0 {
                    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
                    let checked = valid < TRUSTED || crowd.random.happens(1.0 / valid as f64);
                    *request = (ask, !checked);
                }
                request.0 -= 1;
                if request.1 { Some(said[0].1) } else { crowd.vote(unit, &mut said, 2, 2) }
            }
        };
        crowd.judge(&said, accepted);
        tally.copies += said.len() as u64;
        tally.none += u64::from(accepted.is_none());
        tally.wrong += u64::from(matches!(accepted, Some(Answer::Lie(_))));
    }
    tally
}
