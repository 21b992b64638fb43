//! What the reports of a unit amount to. This is the seam for other ways of being sure: everything else only asks
//! [`judge`].

use crate::core::record::Place;
use proto::Digest;

/// How sure a job wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Reports of different accounts that must agree.
    pub copies: u32,
}

/// One accepted report of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Number of the worker's account.
    pub account: u32,
    /// Where it is stored.
    pub place: Place,
    /// Fuel burnt.
    pub fuel: u64,
    /// Whether it tells of a failure.
    pub failed: bool,
    /// The leaf of its statement: equal for equal output, fuel and trace.
    pub statement: Digest,
}

/// What the reports amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These reports agree, and that is enough; the first is the canonical one.
    Settle(Vec<usize>),
    /// So many more reports of other accounts are needed, should they all agree.
    Need(usize),
    /// No agreement will be sought any more.
    GiveUp(String),
}

/// Reports after which a unit is given up, for jobs that ask for `copies`: room for as many wrong as right ones, and
/// two more.
#[must_use]
pub fn reports_max(copies: u32) -> usize {
    2 * copies as usize + 2
}

/// Judges a unit: it is settled when as many reports agree as the job asks for and they are more than half of all.
#[must_use]
pub fn judge(policy: Policy, said: &[Said]) -> Verdict {
    let (need, leader, agree) = needed(policy, said);
    if 0 < need && reports_max(policy.copies) < said.len() + need {
        let all = said.len();
        return Verdict::GiveUp(format!(
            "{all} reports disagree: at most {agree} of them say the same"
        ));
    }
    if 0 < need {
        return Verdict::Need(need);
    }
    let agrees = |index: &usize| said[*index].statement == said[leader].statement;
    Verdict::Settle((0..said.len()).filter(agrees).collect())
}

/// Reports of other accounts that a unit lacks, should they all agree. Zero once no more will be sought.
#[must_use]
pub fn lacking(policy: Policy, said: &[Said]) -> usize {
    let (need, ..) = needed(policy, said);
    if reports_max(policy.copies) < said.len() + need { 0 } else { need }
}

/// Reports needed beyond those there are, the first of those that most others agree with, and how many these are.
fn needed(policy: Policy, said: &[Said]) -> (usize, usize, usize) {
    let agreeing =
        |index: usize| said.iter().filter(|other| other.statement == said[index].statement).count();
    let leader = (0..said.len()).map(|index| (agreeing(index), std::cmp::Reverse(index))).max();
    let (agree, leader) = leader.map_or((0, 0), |(agree, std::cmp::Reverse(index))| (agree, index));
    let for_count = (policy.copies.max(1) as usize).saturating_sub(agree);
    let for_majority = (said.len() + 1).saturating_sub(2 * agree);
    (for_count.max(for_majority), leader, agree)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(word: &str) -> Vec<Said> {
        let one = |(account, letter): (u32, char)| Said {
            account,
            place: Place { worker: account, sequence: 1, position: 0 },
            fuel: 1,
            failed: false,
            statement: Digest::of(letter.to_string().as_bytes()),
        };
        (0..).zip(word.chars()).map(one).collect()
    }

    fn check(copies: u32, word: &str, expected: &Verdict) {
        assert_eq!(judge(Policy { copies }, &said(word)), *expected, "{copies} copies of {word:?}");
    }

    #[test]
    fn enough_that_agree_settle() {
        check(1, "a", &Verdict::Settle(vec![0]));
        check(2, "aa", &Verdict::Settle(vec![0, 1]));
        check(3, "aaa", &Verdict::Settle(vec![0, 1, 2]));
        check(2, "aba", &Verdict::Settle(vec![0, 2]));
        check(2, "baa", &Verdict::Settle(vec![1, 2]));
        check(2, "abcaa", &Verdict::Settle(vec![0, 3, 4]));
    }

    #[test]
    fn disagreement_asks_for_more() {
        check(1, "", &Verdict::Need(1));
        check(2, "", &Verdict::Need(2));
        check(2, "a", &Verdict::Need(1));
        check(2, "ab", &Verdict::Need(1));
        check(2, "abc", &Verdict::Need(2));
        check(2, "abca", &Verdict::Need(1));
        check(3, "aab", &Verdict::Need(1));
        check(3, "aabb", &Verdict::Need(1));
    }

    #[test]
    fn endless_disagreement_gives_up() {
        check(
            2,
            "abcde",
            &Verdict::GiveUp("5 reports disagree: at most 1 of them say the same".into()),
        );
        check(
            2,
            "abcabc",
            &Verdict::GiveUp("6 reports disagree: at most 2 of them say the same".into()),
        );
    }
}
