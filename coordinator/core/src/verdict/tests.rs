use super::*;

fn votes(word: &str) -> Vec<Vote> {
    let one = |(account, letter): (u32, char)| Vote {
        account,
        network: 0,
        standing: Standing::default(),
        referee: false,
        learned: false,
        place: Place { worker: account, sequence: 1, position: 0 },
        fuel: 1,
        result: Ok(Digest([0; 32])),
        trace_root: None,
        statement: Digest::of(letter.to_string().as_bytes()),
    };
    (0..).zip(word.chars()).map(one).collect()
}

fn check(copies: u32, word: &str, expected: &Verdict) {
    let verdict = judge(Policy::Copies(copies), &votes(word), false, false);
    assert_eq!(verdict, *expected, "{copies} copies of {word:?}");
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

#[test]
fn copies_of_one_network_are_one() {
    let mut reports = votes("aab");
    (reports[0].network, reports[1].network, reports[2].network) = (7, 7, 8);
    let judged = |votes: &[Vote], copies| judge(Policy::Copies(copies), votes, false, false);
    assert_eq!(judged(&reports[..2], 2), Verdict::Need(1));
    assert_eq!(judged(&reports, 2), Verdict::Need(1));
    assert_eq!(judged(&reports[..2], 1), Verdict::Settle(vec![0, 1]));
    reports[2] = Vote { network: 8, ..votes("a").remove(0) };
    assert_eq!(judged(&reports, 2), Verdict::Settle(vec![0, 1, 2]));
}

/// Letters with the checks that each has passed; a number below zero: was caught.
fn confident(word: &str, passed: &[i64], checked: bool) -> Verdict {
    let mut votes = votes(word);
    for (vote, &passed) in votes.iter_mut().zip(passed) {
        vote.standing = Standing {
            passed: u32::try_from(passed).unwrap_or(0),
            caught: u32::from(passed < 0),
            parts: 0,
        };
    }
    judge(Policy::Confidence(1e-6), &votes, checked, false)
}

#[test]
fn one_trusted_report_is_held_and_a_check_takes_another() {
    assert_eq!(confident("", &[], false), Verdict::Need(1));
    assert_eq!(confident("a", &[0], false), Verdict::Need(1));
    assert_eq!(confident("a", &[1000], false), Verdict::Hold);
    assert_eq!(confident("a", &[1000], true), Verdict::Need(1));
    assert_eq!(confident("aa", &[1000, 0], true), Verdict::Settle(vec![0, 1]));
    assert_eq!(confident("aa", &[0, 1000], false), Verdict::Settle(vec![0, 1]));
    assert_eq!(confident("aaaaa", &[0; 5], false), Verdict::Need(1));
    assert_eq!(confident("aaaaaa", &[0; 6], false), Verdict::Settle(vec![0, 1, 2, 3, 4, 5]));
}

#[test]
fn a_good_record_does_not_win_a_dispute() {
    assert_eq!(confident("ab", &[100_000, 0], true), Verdict::Need(7));
    assert_eq!(confident("abbbbbbb", &[100_000, 0, 0, 0, 0, 0, 0, 0], true), Verdict::Need(1));
    let settled = confident("abbbbbbbb", &[100_000, 0, 0, 0, 0, 0, 0, 0, 0], true);
    assert_eq!(settled, Verdict::Settle((1..9).collect()));
}

#[test]
fn who_was_caught_has_no_vote() {
    assert_eq!(confident("ab", &[-1, 1000], true), Verdict::Need(1));
    assert_eq!(confident("ab", &[-1, 1000], false), Verdict::Hold);
    assert_eq!(confident("aaaab", &[-1, -1, -1, -1, 1000], false), Verdict::Hold);
    assert_eq!(confident("aaaab", &[-1, -1, -1, -1, 0], false), Verdict::Need(1));
    assert_eq!(
        confident("bbbbbbbbb", &[-1, -1, -1, -1, -1, -1, -1, -1, 0], false),
        Verdict::Need(1)
    );
    assert_eq!(confident("abb", &[-1, 1000, 0], true), Verdict::Settle(vec![1, 2]));
    assert_eq!(confident("aaaaaaaaa", &[-1; 9], false), Verdict::Need(1));
}

#[test]
fn one_network_has_one_voice() {
    let mut votes = votes("aaaaaa");
    for vote in &mut votes {
        vote.network = 7;
    }
    assert_eq!(judge(Policy::Confidence(1e-6), &votes, false, false), Verdict::Need(1));
}

#[test]
fn a_dispute_without_end_gives_up() {
    let word: String = "ab".repeat(32);
    assert!(matches!(confident(&word, &[0; 64], false), Verdict::GiveUp(_)));
}
