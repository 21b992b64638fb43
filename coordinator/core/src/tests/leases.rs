//! Leases, deadlines, retries, fair share, quotas, what idle workers are told.

use super::env::*;
use crate::event::{Event, Want};
use proto::UnitIndex;
use proto::job::JobSpec;
use proto::report::Ack;

#[test]
fn a_late_unit_is_handed_out_again() {
    let mut env = Env::new();
    env.submit(spec(10, 1));
    let (slow, other) = (env.worker(1), env.worker(2));
    assert_eq!(env.lease(slow, 4), ["j1 0..4"]);
    env.pass(59_000);
    assert_eq!(env.lease(other, 2), ["j1 4..6"]);
    env.pass(2_000);
    env.pass(2_000);
    assert_eq!(env.lease(other, 4), ["j1 0..4"]);
}

#[test]
fn heartbeats_keep_a_lease_but_not_for_ever() {
    let mut env = Env::new();
    env.submit(spec(1, 1));
    let worker = env.worker(1);
    env.lease(worker, 1);
    let lease = env.lease_of(worker, 0);
    for _ in 0..31 {
        env.pass(30_000);
        env.heartbeat(worker, vec![lease]);
        assert_eq!(env.status(proto::JobId(1)).leased, 1);
    }
    env.pass(60_000);
    assert_eq!(env.status(proto::JobId(1)).leased, 0);
    env.heartbeat(worker, vec![proto::LeaseId(77)]);
    assert!(env.workers[worker].heard.last().unwrap().starts_with("cancel 1: the lease is over"));
}

#[test]
fn what_never_reached_a_worker_is_lent_again_when_it_comes_back() {
    let mut env = Env::new();
    let job = env.submit(spec(6, 1));
    let (worker, other) = (env.worker(1), env.worker(2));
    assert_eq!(env.lease(worker, 2), ["j1 0..2"]);
    assert_eq!(env.lease(worker, 2), ["j1 2..4"]);
    let came = env.lease_of(worker, 0);
    env.heartbeat(worker, vec![]);
    env.heartbeat(worker, vec![]);
    assert_eq!(
        env.status(job).leased,
        4,
        "a heartbeat may have left before a lease of its stream came"
    );
    env.connect(worker);
    assert_eq!(env.lease(worker, 1), ["j1 4..5"]);
    env.heartbeat(worker, vec![came]);
    assert_eq!(env.status(job).leased, 3);
    env.heartbeat(worker, vec![]);
    assert_eq!(env.status(job).leased, 3, "only the first heartbeat tells what came");
    assert_eq!(env.lease(other, 6), ["j1 2..4", "j1 5..6"]);
}

#[test]
fn a_unit_is_given_up_after_its_attempts_with_the_reason() {
    let mut env = Env::new();
    let job = env.submit(spec(1, 1));
    for account in 0..5 {
        let worker = env.worker(account);
        assert_eq!(env.lease(worker, 1), ["j1 0..1"], "attempt {account}");
        env.give_back(worker, 0, true);
        let why = env.core.why(job, Some(UnitIndex(0)));
        assert!(why.is_none_or(|why| why[0].contains(&format!("{} of 5 attempts", account + 1))));
        if account % 2 == 0 {
            env.crash();
        }
        env.pass(100_000);
    }
    assert!(env.is_done(job));
    assert_eq!(env.results(job)[&0], "given up after 5 failed attempts; the last: out of memory");
}

#[test]
fn one_account_has_no_unit_given_up_that_others_compute() {
    let mut env = Env::new();
    let job = env.submit(spec(1, 1));
    let (broken, other) = (env.worker(1), env.worker(2));
    for attempt in 0..12 {
        env.pass(10_000_000);
        if env.workers[broken].session.is_none() {
            env.connect(broken);
            env.connect(other);
        }
        env.want(other, 0);
        assert_eq!(env.lease(broken, 1), ["j1 0..1"], "attempt {attempt}");
        env.give_back(broken, 0, true);
        if attempt % 5 == 0 {
            env.crash();
        }
    }
    let why = env.core.why(job, Some(UnitIndex(0))).unwrap();
    let told = "3 of 5 attempts have failed (9 more, of accounts that have failed it often or have shown nothing yet); the last: out of memory";
    assert!(why.iter().any(|why| why == told), "{why:?}");
    env.pass(10_000_000);
    env.lease(other, 1);
    env.report_all(other, job);
    assert!(env.is_done(job));
    assert!(env.results(job)[&0].starts_with("Done"));
}

#[test]
fn a_unit_that_fails_wherever_it_is_tried_is_given_up() {
    for others in [0, 1] {
        let mut env = Env::new();
        let job = env.submit(spec(1, 1));
        let worker = env.worker(1);
        for _ in 0..others {
            let other = env.worker(2);
            env.want(other, 0);
        }
        let mut attempts = 0;
        while !env.is_done(job) {
            env.pass(10_000_000);
            assert_eq!(env.lease(worker, 1), ["j1 0..1"], "attempt {attempts}");
            env.give_back(worker, 0, true);
            attempts += 1;
        }
        assert_eq!(attempts, if others == 0 { 5 } else { 20 });
    }
}

#[test]
fn a_worker_that_gives_everything_back_unharmed_costs_no_attempt_and_waits_longer_each_time() {
    let mut env = Env::new();
    let job = env.submit(JobSpec { attempts_max: 1, ..spec(1000, 1) });
    let ill = env.worker(1);
    let mut leases = 0;
    // Ten minutes in which it asks ten times a second and gives all back at once.
    for _ in 0..6_000 {
        env.want(ill, 1000);
        leases += env.give_all_back(ill, job, false);
        env.pass(100);
    }
    assert!((3..40).contains(&leases), "{leases} leases");
    let why = env.core.why(job, None).unwrap();
    assert!(
        why.iter().any(|why| why.contains("gave units back") && why.contains("out of memory")),
        "{why:?}"
    );
    let told = env.workers[ill].heard.iter().rev().find(|told| told.starts_with("idle")).unwrap();
    assert!(told.contains("gave units"), "{told}");
    let well = env.worker(2);
    let mut left = 1000;
    while 0 < left {
        env.lease(well, 1000);
        let acks = env.report_all(well, job);
        assert!(acks.iter().all(|ack| *ack == Ack::Accepted), "no attempt was counted: {acks:?}");
        left -= acks.len();
    }
    assert!(env.is_done(job));
}

#[test]
fn a_worker_that_gives_one_job_back_is_lent_others() {
    let mut env = Env::new();
    let (one, other) = (env.submit(spec(8, 1)), env.submit_as("bob", spec(1000, 1), 2));
    let worker = env.worker(1);
    let mut of_one = 0;
    for _ in 0..200 {
        env.want(worker, 4);
        of_one += env.give_all_back(worker, one, false);
        env.report_all(worker, other);
        env.pass(1_000);
    }
    assert!((2..12).contains(&of_one), "lent {of_one} times in 200 s");
    assert_eq!(env.status(one).settled, 0);
    assert!(400 < env.status(other).settled, "{:?}", env.status(other));
}

#[test]
fn what_is_given_back_unharmed_is_lent_again_at_once() {
    let mut env = Env::new();
    env.submit(spec(4, 1));
    let (ada, bob) = (env.worker(1), env.worker(2));
    env.lease(ada, 4);
    env.give_back(ada, 2, false);
    assert_eq!(env.lease(bob, 4), ["j1 2..3"]);
    let session = env.workers[ada].session.unwrap();
    env.apply(Event::Goodbye { session, leaving: true });
    // The request of bob stands: he gets what ada leaves behind.
    assert_eq!(env.workers[bob].leases.len(), 3);
}

#[test]
fn a_worker_that_fails_gets_less_and_then_nothing_for_a_while() {
    let mut env = Env::new();
    let job = env.submit(spec(MANY, 1));
    let worker = env.worker(1);
    for unit in 0..3 {
        env.lease(worker, 1);
        env.give_back(worker, unit, true);
    }
    assert!(env.lease(worker, 1).is_empty());
    assert_eq!(
        env.workers[worker].heard.last().unwrap(),
        "idle: units failed on this worker: it gets none for 2 s"
    );
    env.pass(2_000);
    env.want(worker, 1);
    assert_eq!(env.report_all(worker, job).len(), 1);
}

#[test]
fn a_newcomer_is_lent_little_and_more_as_it_reports() {
    let mut env = Env::new();
    let job = env.submit(spec(100_000, 1));
    let hoarders: Vec<usize> = (1..8).map(|account| env.worker(account)).collect();
    for &hoarder in &hoarders {
        env.lease(hoarder, 100_000);
    }
    let held = |env: &Env| env.status(job).leased;
    assert_eq!(held(&env), 7 * 64);
    let honest = env.worker(9);
    let mut got = Vec::new();
    for _ in 0..6 {
        env.lease(honest, 100_000);
        got.push(held(&env) - 7 * 64);
        env.report_all(honest, job);
    }
    assert_eq!(got[0], 64);
    assert!(got.is_sorted() && 1_000 < got[5], "{got:?}");
    // What it has reported is remembered.
    env.crash();
    env.connect(honest);
    env.lease(honest, 100_000);
    assert!(1_000 < held(&env) - 7 * 64);
}

#[test]
fn strangers_that_only_fail_have_nothing_given_up_that_others_compute() {
    let mut env = Env::new();
    let job = env.submit(spec(61, 1));
    let honest = env.worker(1);
    env.lease(honest, 1);
    env.report_all(honest, job);
    let refusers: Vec<usize> = (0..42).map(|key| env.worker(2 + key % 14)).collect();
    for round in 0..3 {
        for &refuser in &refusers {
            if env.workers[refuser].session.is_none() {
                env.connect(refuser);
            }
            env.lease(refuser, 64);
            env.give_all_back(refuser, job, true);
            env.pass(4_000_000);
        }
        assert_eq!(env.status(job).failed, 0, "round {round}");
        env.crash();
        env.connect(honest);
        env.want(honest, 0);
    }
    while !env.is_done(job) {
        env.pass(4_000_000);
        env.lease(honest, 64);
        env.report_all(honest, job);
    }
    let results = env.results(job);
    assert!(results.values().all(|result| result.starts_with("Done")), "{results:?}");
}

#[test]
fn what_fails_on_those_that_have_shown_what_they_can_is_given_up() {
    let mut env = Env::new();
    let job = env.submit(spec(5, 1));
    let workers: Vec<usize> = (1..6).map(|account| env.worker(account)).collect();
    for &worker in &workers[..4] {
        env.lease(worker, 1);
        env.report_all(worker, job);
    }
    for &worker in &workers {
        assert!(!env.is_done(job));
        env.pass(4_000_000);
        assert_eq!(env.lease(worker, 1), ["j1 4..5"]);
        env.give_back(worker, 4, true);
    }
    assert!(env.is_done(job));
}

#[test]
fn a_worker_that_was_away_once_has_failed_once() {
    let mut env = Env::new();
    env.submit(spec(100, 1));
    let worker = env.worker(1);
    for _ in 0..20 {
        assert_eq!(env.lease(worker, 2).len(), 1);
        env.pass(100);
    }
    env.pass(70_000);
    assert_eq!(env.lease(worker, 1).len(), 1, "twenty leases ran out together");
    // Time and again is another matter.
    let mut waits = Vec::new();
    for _ in 0..5 {
        env.pass(70_000);
        let mut wait = 0;
        while env.lease(worker, 1).is_empty() {
            env.pass(1_000);
            wait += 1;
        }
        waits.push(wait);
    }
    assert!(waits.is_sorted() && 0 < waits[4], "{waits:?}");
}

#[test]
fn memory_must_suffice() {
    let mut env = Env::new();
    env.submit(spec(1, 1));
    let worker = env.worker(1);
    let want = Want { units: 1, seconds: 60, fuel_per_second: 0, memory_bytes: 1 << 19 };
    env.want_as(worker, want);
    let heard = env.workers[worker].heard.last().unwrap();
    assert_eq!(
        heard,
        "idle: every job needs more memory per unit (1048576 bytes or more) than this worker lends (524288 bytes)"
    );
    let why = env.core.why(proto::JobId(1), None).unwrap();
    assert!(why[0].contains("none of the 1 connected workers"), "{why:?}");
}

#[test]
fn time_asked_for_bounds_the_units() {
    let mut env = Env::new();
    let job = env.submit(spec(MANY, 1));
    let worker = env.worker(1);
    env.lease(worker, 10);
    env.report_all(worker, job);
    // About 103 fuel per unit: 10 s at 1030 fuel per second are 100 units.
    let want = Want { units: 4096, seconds: 10, fuel_per_second: 1030, memory_bytes: 1 << 30 };
    env.want_as(worker, want);
    let count: u32 = env.workers[worker].leases.values().map(|lease| lease.count).sum();
    assert!((90..=110).contains(&count), "{count}");
}

#[test]
fn accounts_share_fairly_and_priorities_count_within_one() {
    let mut env = Env::new();
    let high = JobSpec { priority: 3, ..spec(1000, 1) };
    let low = env.submit_as("ada", spec(1000, 1), 1);
    let first = env.submit_as("ada", high, 2);
    let other = env.submit_as("bob", spec(1000, 1), 3);
    let worker = env.worker(1);
    for _ in 0..20 {
        env.lease(worker, 10);
        for job in [low, first, other] {
            env.report_all(worker, job);
        }
    }
    let [low, first, other] = [low, first, other].map(|job| env.status(job).settled);
    assert_eq!((low, first, other), (0, 100, 100));
}

#[test]
fn the_tail_is_lent_twice_and_the_slower_is_told() {
    let mut env = Env::new();
    let job = env.submit(spec(6, 1));
    let (slow, fast) = (env.worker(1), env.worker(2));
    env.lease(slow, 6);
    env.report_honestly(slow, job, 0);
    assert!(env.lease(fast, 9).is_empty());
    env.pass(16_000);
    assert_eq!(env.lease(fast, 9), ["j1 1..6"]);
    env.report_honestly(slow, job, 1);
    let leases = env.workers[fast].leases.clone();
    env.report_all(fast, job);
    assert_eq!(leases.len(), 1);
    assert!(env.is_done(job));
    assert!(env.workers[slow].heard.last().unwrap().contains("cancel"));
}

#[test]
fn submitting_again_gives_the_same_job() {
    let mut env = Env::new();
    let job = env.submit_as("ada", spec(5, 1), 1);
    assert_eq!(env.submit_as("ada", spec(5, 1), 1), job);
    env.crash();
    assert_eq!(env.submit_as("ada", spec(5, 1), 1), job);
    assert_ne!(env.submit_as("bob", spec(5, 1), 1), job);
}

#[test]
fn a_second_stream_replaces_the_first_and_leases_stay() {
    let mut env = Env::new();
    let job = env.submit(spec(5, 1));
    let worker = env.worker(1);
    env.lease(worker, 5);
    let first = env.workers[worker].session.unwrap();
    env.connect(worker);
    env.apply(Event::Gone(first));
    assert_eq!(env.report_all(worker, job).len(), 5);
    assert!(env.is_done(job));
}

#[test]
fn a_clock_that_jumps_by_a_day_changes_nothing() {
    let mut env = Env::new();
    let job = env.submit(spec(5, 1));
    let worker = env.worker(1);
    env.lease(worker, 5);
    env.now.wall_ms += 86_400_000;
    env.apply(Event::Tick);
    env.now.wall_ms -= 2 * 86_400_000;
    env.apply(Event::Tick);
    assert_eq!(env.status(job).leased, 5);
    env.report_all(worker, job);
    assert!(env.is_done(job));
}

#[test]
fn leases_have_their_full_time_after_a_crash() {
    let mut env = Env::new();
    let job = env.submit(spec(5, 1));
    let worker = env.worker(1);
    env.lease(worker, 5);
    env.pass(59_000);
    env.crash();
    env.connect(worker);
    env.pass(59_000);
    assert_eq!(env.report_all(worker, job).len(), 5);
    assert!(env.is_done(job));
}

#[test]
fn a_huge_job_costs_no_more_than_a_small_one() {
    let mut env = Env::new();
    let job = env.submit(spec(1 << 40, 1));
    let worker = env.worker(1);
    env.prove(worker);
    assert_eq!(env.lease(worker, 4096), ["j1 0..4000"]);
    env.report_all(worker, job);
    assert_eq!(env.status(job).settled, 4000);
    env.crash();
    env.connect(worker);
    env.prove(worker);
    assert_eq!(env.lease(worker, 5000), ["j1 4000..8096", "j1 8096..9000"]);
}

#[test]
fn a_worker_is_lent_units_of_contracts_that_it_knows_and_a_job_keeps_its_own() {
    let mut env = Env::new();
    let old = env.submit(JobSpec { contract: 1, ..spec(4, 1) });
    let new = env.submit(spec(4, 1));
    let worker = env.worker(1);
    env.connect_as(worker, 1);
    assert_eq!(env.lease(worker, 100), ["j1 0..4"]);
    env.report_all(worker, old);
    assert!(env.is_done(old));
    env.want(worker, 100);
    let heard = env.workers[worker].heard.last().unwrap();
    assert!(heard.contains("newer kernel contract than this worker knows (1)"), "{heard}");
    let why = env.core.why(new, None).unwrap();
    assert!(why.iter().any(|why| why.contains("knows kernel contract 2")), "{why:?}");
    // After a restart too, and with the newest release it is lent what is left.
    env.crash();
    env.connect(worker);
    assert_eq!(env.lease(worker, 100), ["j2 0..4"]);
    env.report_all(worker, new);
    assert!(env.is_done(new));
}
