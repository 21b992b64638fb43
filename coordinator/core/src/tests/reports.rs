//! Reports, verdicts, credit.

use super::env::*;
use crate::event::{Event, Reply};
use crate::status::JobState;
use proto::LeaseId;
use proto::report::{Ack, Outcome, Output};
use proto::{Digest, JobId, UnitIndex};

#[test]
fn a_job_of_one_copy_runs_to_its_end() {
    let mut env = Env::new();
    let (job, worker) = (env.submit(spec(10, 1)), env.worker(1));
    assert_eq!(env.lease(worker, 100), ["j1 0..10"]);
    assert_eq!(env.report_all(worker, job), [Ack::Accepted; 10]);
    assert!(env.is_done(job));
    let status = env.status(job);
    assert_eq!((status.settled, status.failed, status.copies), (10, 0, 10));
    assert_eq!(status.credit, env.credit(worker));
    assert_eq!(env.results(job).len(), 10);
    assert!(env.results(job)[&3].contains("for 103"));
    assert_eq!(status.credit, (0..10).map(|unit| u128::from(honest(unit).1)).sum());
}

#[test]
fn verdicts_of_one_batch_are_one_span() {
    let mut env = Env::new();
    let (job, worker) = (env.submit(spec(1000, 1)), env.worker(1));
    env.lease(worker, 1000);
    env.report_all(worker, job);
    use crate::record::{LogRecord, Table, decode};
    use crate::store::Store;
    let log = env.store.page(&Table::Log.prefix(), None, 10).unwrap();
    let record: LogRecord = decode(&log[0].1).unwrap();
    assert_eq!((log.len(), record.spans.len()), (1, 1));
    assert_eq!(env.store.page(&Table::Index.prefix(), None, 10).unwrap().len(), 1);
}

#[test]
fn two_copies_come_from_two_accounts() {
    let mut env = Env::new();
    let job = env.submit(spec(4, 2));
    let (ada, ada_again, bob) = (env.worker(1), env.worker(1), env.worker(2));
    assert_eq!(env.lease(ada, 10), ["j1 0..4"]);
    assert!(env.lease(ada_again, 10).is_empty());
    assert!(env.workers[ada_again].heard.last().unwrap().contains("wait for other workers"));
    assert_eq!(env.lease(bob, 10), ["j1 0..4"]);
    assert_eq!(env.report_all(ada, job), [Ack::Accepted; 4]);
    assert_eq!((env.status(job).settled, env.credit(ada)), (0, 0));
    assert_eq!(env.report_all(bob, job), [Ack::Accepted; 4]);
    assert!(env.is_done(job));
    assert_eq!((env.credit(ada), env.credit(bob)), (406, 406));
}

#[test]
fn disagreement_is_settled_by_a_third() {
    let mut env = Env::new();
    let job = env.submit(spec(1, 2));
    let (ada, bob, eve) = (env.worker(1), env.worker(2), env.worker(3));
    env.lease(ada, 1);
    env.lease(bob, 1);
    env.report(ada, job, 0, wrong(0, 7));
    assert!(env.lease(eve, 1).is_empty());
    env.report_honestly(bob, job, 0);
    // The request of eve stands.
    assert_eq!(env.workers[eve].leases.len(), 1);
    env.report_honestly(eve, job, 0);
    assert!(env.is_done(job));
    assert_eq!((env.credit(ada), env.credit(bob), env.credit(eve)), (0, 100, 100));
    let status = env.core.workers(None, 9);
    assert_eq!(status.iter().map(|worker| worker.disagreed).collect::<Vec<_>>(), [1, 0, 0]);
}

#[test]
fn endless_disagreement_is_given_up_with_its_reason() {
    let mut env = Env::new();
    let job = env.submit(spec(1, 2));
    for account in 1..5 {
        let worker = env.worker(account);
        assert_eq!(env.lease(worker, 1), ["j1 0..1"]);
        env.report(worker, job, 0, wrong(0, account));
    }
    assert!(env.is_done(job));
    assert_eq!(env.results(job)[&0], "4 reports disagree: at most 1 of them say the same");
    assert_eq!((env.status(job).failed, env.status(job).credit), (1, 0));
}

#[test]
fn failures_agree_like_outputs() {
    let mut env = Env::new();
    let job = env.submit(spec(1, 2));
    for account in 1..3 {
        let worker = env.worker(account);
        env.lease(worker, 1);
        assert_eq!(env.report(worker, job, 0, fails()), Ack::Accepted);
    }
    assert_eq!(env.results(job)[&0], "Failed(Division) for 5");
    assert_eq!((env.status(job).state, env.status(job).failed), (JobState::Done, 1));
    assert_eq!(env.credit(0), 5);
}

#[test]
fn the_same_batch_again_is_a_duplicate_even_after_a_crash() {
    for copies in [1, 2] {
        let mut env = Env::new();
        let (job, worker) = (env.submit(spec(2, copies)), env.worker(1));
        env.lease(worker, 2);
        let lease = env.lease_of(worker, 0);
        let batch = env.batch(worker, job, &[(lease, 0, honest(0)), (lease, 1, honest(1))]);
        assert_eq!(env.send(worker, batch.clone()).acks, [Ack::Accepted; 2]);
        let credit = env.credit(worker);
        assert_eq!(env.send(worker, batch.clone()).acks, [Ack::Duplicate; 2]);
        env.crash();
        env.connect(worker);
        assert_eq!(env.send(worker, batch).acks, [Ack::Duplicate; 2]);
        assert_eq!(env.credit(worker), credit);
    }
}

#[test]
fn a_batch_of_mostly_junk_is_not_stored_and_what_is_right_comes_again() {
    let mut env = Env::new();
    let (job, worker) = (env.submit(spec(2000, 1)), env.worker(1));
    env.lease(worker, 100);
    let lease = env.lease_of(worker, 0);
    let junk = |unit: u64| (LeaseId(77), unit, (Outcome::Done(Output::Inline(vec![7; 256])), 5));
    let mut reports: Vec<_> = (100..1100).map(junk).collect();
    reports.insert(500, (lease, 0, honest(0)));
    let before = env.stored_bytes();
    let batch = env.batch(worker, job, &reports);
    let acks = env.send(worker, batch).acks;
    assert_eq!(acks.iter().filter(|ack| **ack == Ack::NotLeased).count(), 1000);
    assert_eq!(acks[500], Ack::Busy);
    assert_eq!(env.stored_bytes(), before);
    assert_eq!(env.report_honestly(worker, job, 0), Ack::Accepted);
    // As many of the one as of the other may be what came too late.
    let mut reports: Vec<_> = (100..110).map(junk).collect();
    reports.extend(
        (1..11).map(|unit| (lease, unit, (Outcome::Done(Output::Inline(vec![7; 1000])), 5))),
    );
    let batch = env.batch(worker, job, &reports);
    assert_eq!(env.send(worker, batch).acks[10..], [Ack::Accepted; 10]);
}

#[test]
fn a_heartbeat_is_answered_with_no_more_than_it_says() {
    let mut env = Env::new();
    env.submit(spec(1, 1));
    let worker = env.worker(1);
    env.heartbeat(worker, vec![LeaseId(77); 16_000]);
    assert!(env.workers[worker].heard.last().unwrap().starts_with("cancel 1: "));
}

#[test]
fn another_batch_under_the_same_sequence_is_not_stored_over_the_first() {
    let mut env = Env::new();
    let (job, worker) = (env.submit(spec(2, 1)), env.worker(1));
    env.lease(worker, 2);
    let lease = env.lease_of(worker, 0);
    env.report_honestly(worker, job, 0);
    env.workers[worker].sequence = 0;
    let batch = env.batch(worker, job, &[(lease, 1, honest(1))]);
    assert_eq!(env.send(worker, batch).acks, [Ack::Busy]);
    let batch = env.batch(worker, job, &[(lease, 1, honest(1))]);
    assert_eq!(env.send(worker, batch).acks, [Ack::Accepted]);
}

#[test]
fn a_report_whose_output_is_missing_comes_again() {
    let mut env = Env::new();
    let (job, worker) = (env.submit(spec(2, 1)), env.worker(1));
    env.lease(worker, 2);
    let lease = env.lease_of(worker, 0);
    let blob = (Outcome::Done(Output::Blob { digest: Digest([7; 32]), len: 500 }), 100);
    let batch = env.batch(worker, job, &[(lease, 0, blob), (lease, 1, honest(1))]);
    let acks = env.send_missing(worker, batch.clone(), vec![Env::missing(0)]).acks;
    assert_eq!(acks, [Ack::OutputMissing, Ack::Accepted]);
    assert_eq!(env.send(worker, batch).acks, [Ack::Accepted, Ack::Duplicate]);
    assert!(env.is_done(job));
    assert_eq!(env.results(job).len(), 2);
}

#[test]
fn worthless_reports_count_as_failures() {
    let mut env = Env::new();
    let (job, worker) = (env.submit(spec(3, 1)), env.worker(1));
    env.lease(worker, 3);
    let long = (Outcome::Done(Output::Blob { digest: Digest([7; 32]), len: 1025 }), 100);
    assert_eq!(env.report(worker, job, 0, long), Ack::Invalid);
    assert_eq!(env.report(worker, job, 1, (honest(1).0, 1_000_001)), Ack::Invalid);
    assert_eq!(env.report_honestly(worker, job, 2), Ack::Accepted);
    assert_eq!(env.core.workers(None, 1)[0].failures, 2);
    assert!(env.core.why(job, Some(UnitIndex(0))).unwrap()[0].contains("1 of 5 attempts"));
    env.pass(10_000);
    assert_eq!(env.lease(worker, 3), ["j1 0..1", "j1 1..2"]);
}

#[test]
fn what_was_never_leased_is_refused() {
    let mut env = Env::new();
    let job = env.submit(spec(20, 1));
    let (ada, bob) = (env.worker(1), env.worker(2));
    env.lease(ada, 10);
    let lease = env.lease_of(ada, 0);
    let cases = [
        (bob, job, lease, 0, Ack::NotLeased),
        (ada, job, LeaseId(99), 0, Ack::NotLeased),
        (ada, job, lease, 10, Ack::NotLeased),
        (ada, JobId(7), lease, 0, Ack::NoJob),
        (ada, job, lease, 0, Ack::Accepted),
    ];
    for (worker, job, lease, unit, expected) in cases {
        let batch = env.batch(worker, job, &[(lease, unit, honest(unit))]);
        assert_eq!(env.send(worker, batch).acks, [expected], "{job} {lease} {unit}");
    }
}

#[test]
fn a_report_after_the_deadline_is_of_use_until_the_unit_is_settled() {
    let mut env = Env::new();
    let job = env.submit(spec(2, 1));
    let (slow, fast) = (env.worker(1), env.worker(2));
    env.lease(slow, 2);
    env.pass(61_000);
    env.pass(10_000);
    assert_eq!(env.lease(fast, 1), ["j1 0..1"]);
    env.report_honestly(fast, job, 0);
    assert_eq!(env.report_honestly(slow, job, 0), Ack::Late);
    assert_eq!(env.report_honestly(slow, job, 1), Ack::Accepted);
    assert!(env.is_done(job));
    assert_eq!((env.credit(slow), env.credit(fast)), (101, 100));
}

#[test]
fn reports_after_the_end_of_a_job_are_late_or_of_no_job() {
    let mut env = Env::new();
    let (done, cancelled) = (env.submit(spec(1, 1)), env.submit(spec(1, 1)));
    let worker = env.worker(1);
    env.lease(worker, 2);
    let leases: Vec<_> = env.workers[worker].leases.keys().copied().collect();
    env.report_all(worker, done);
    assert!(matches!(env.apply(Event::Cancel(cancelled)), Reply::Cancelled(true)));
    assert!(env.workers[worker].heard.last().unwrap().contains("cancel 1: the job was cancelled"));
    for (job, lease, expected) in [(done, leases[0], Ack::Late), (cancelled, leases[1], Ack::NoJob)]
    {
        let batch = env.batch(worker, job, &[(lease, 0, honest(0))]);
        assert_eq!(env.send(worker, batch).acks, [expected]);
    }
    env.crash();
    assert_eq!(env.status(cancelled).state, JobState::Cancelled);
    assert!(matches!(env.apply(Event::Cancel(JobId(9))), Reply::Cancelled(false)));
}

#[test]
fn half_a_verdict_survives_a_crash() {
    let mut env = Env::new();
    let job = env.submit(spec(3, 2));
    let (ada, bob) = (env.worker(1), env.worker(2));
    env.lease(ada, 3);
    env.report_honestly(ada, job, 0);
    env.report_honestly(ada, job, 1);
    env.crash();
    env.connect(ada);
    env.connect(bob);
    assert!(env.lease(ada, 3).is_empty());
    assert_eq!(env.lease(bob, 3), ["j1 0..3"]);
    env.report_all(bob, job);
    assert_eq!(env.status(job).settled, 2);
    assert_eq!(env.report_honestly(ada, job, 2), Ack::Accepted);
    assert!(env.is_done(job));
}

#[test]
fn a_report_under_an_old_lease_frees_what_the_account_holds_anew() {
    let mut env = Env::new();
    let job = env.submit(spec(7, 2));
    let (ada, bob) = (env.worker(1), env.worker(2));
    env.lease(ada, 7);
    let old = env.lease_of(ada, 0);
    env.pass(61_000);
    assert_eq!(env.lease(ada, 7), ["j1 0..7"]);
    let batch = env.batch(ada, job, &[(old, 3, honest(3))]);
    assert_eq!(env.send(ada, batch).acks, [Ack::Accepted]);
    env.workers[ada].leases.remove(&old);
    let acks = env.report_all(ada, job);
    assert_eq!((acks[3], acks[4]), (Ack::Duplicate, Ack::Accepted));
    env.lease(bob, 7);
    env.report_all(bob, job);
    assert!(env.is_done(job));
    assert_eq!((env.status(job).copies, env.credit(ada)), (14, env.credit(bob)));
}
