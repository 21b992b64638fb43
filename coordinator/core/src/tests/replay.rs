//! The coordinator loses its records, and gets them back from what its workers have kept.

use super::env::{Env, PROJECT, honest, merging, spec};
use crate::replay::{Found, rebuild};
use crate::store::Store;
use proto::JobId;
use proto::job::JobSpec;
use proto::report::Ack;

/// What a job came to, as far as it must be the same again.
fn told(env: &Env, job: JobId) -> (u64, u64, u64, u128, u128, u64) {
    let status = env.status(job);
    let (settled, failed, copies) = (status.settled, status.failed, status.copies);
    (settled, failed, copies, status.fuel, status.credit, status.submitted_at_ms)
}

/// Three workers of three accounts have computed a part of a job.
fn half_done(spec: JobSpec) -> (Env, JobId) {
    let mut env = Env::new();
    let job = env.submit(spec);
    for account in 0..3 {
        let worker = env.worker(account);
        env.lease(worker, 7);
        env.report_all(worker, job);
    }
    (env, job)
}

fn finished(env: &mut Env, job: JobId) {
    for _ in 0..200 {
        if env.is_done(job) {
            return;
        }
        for worker in 0..env.workers.len() {
            if env.workers[worker].session.is_none() {
                env.connect(worker);
            }
            env.want(worker, 100);
            env.report_all(worker, job);
        }
        env.pass(100_000);
    }
    panic!("not done: {:?}", env.core.why(job, None));
}

#[test]
fn verdicts_credit_and_open_reports_are_as_before() {
    let specs = [spec(20, 1), spec(20, 2), merging(20, 3)];
    let confident = JobSpec { confidence: Some(1e-3), ..spec(20, 1) };
    for spec in specs.into_iter().chain([confident]) {
        let (mut env, job) = half_done(spec);
        let (before, results) = (told(&env, job), env.results(job));
        env.lose();
        assert_eq!(told(&env, job), before);
        assert_eq!(env.results(job), results);
        finished(&mut env, job);
        let (before, results) = (told(&env, job), env.results(job));
        env.lose();
        assert_eq!(told(&env, job), before, "a job that has ended");
        assert_eq!(env.results(job), results);
    }
}

#[test]
fn reports_whose_verdict_is_not_in_the_log_that_was_kept_are_judged_again() {
    let (mut env, job) = half_done(spec(20, 2));
    let before = told(&env, job);
    assert!(0 < before.0, "{before:?}");
    let found = env.found();
    // Of the log only the submission is left; of the reports all.
    let found = Found { entries: found.entries[..1].to_vec(), ..found };
    let rebuilt = rebuild(PROJECT, &found, 7);
    env.store = Default::default();
    env.store.commit(rebuilt.records).unwrap();
    env.crash();
    env.pass(1);
    assert_eq!(told(&env, job), before);
}

#[test]
fn a_report_of_a_unit_that_nobody_was_lent_counts_for_nothing() {
    let (mut env, job) = half_done(spec(20, 2));
    let mut found = env.found();
    for batch in found.batches.values_mut() {
        batch.tickets.clear();
    }
    found.entries.truncate(1);
    let rebuilt = rebuild(PROJECT, &found, 7);
    assert_eq!(rebuilt.open, 0);
    env.store = Default::default();
    env.store.commit(rebuilt.records).unwrap();
    env.crash();
    assert_eq!(told(&env, job).0, 0);
    finished(&mut env, job);
}

#[test]
fn verdicts_whose_reports_nobody_has_are_told_and_computed_again() {
    let (mut env, job) = half_done(spec(20, 1));
    let before = told(&env, job);
    let mut found = env.found();
    let lost = found.batches.pop_first().unwrap().1.batch.reports.len() as u64;
    let rebuilt = rebuild(PROJECT, &found, 7);
    assert_eq!(rebuilt.losses.len(), 1, "{:?}", rebuilt.losses);
    env.store = Default::default();
    env.store.commit(rebuilt.records).unwrap();
    env.crash();
    assert_eq!(told(&env, job).0, before.0 - lost);
    finished(&mut env, job);
    assert_eq!(env.results(job).len(), 20);
}

#[test]
fn jobs_whose_specification_nobody_has_are_told() {
    let (env, _) = half_done(spec(20, 1));
    let found = Found { specs: Default::default(), ..env.found() };
    let rebuilt = rebuild(PROJECT, &found, 7);
    assert_eq!(rebuilt.losses.len(), 1);
    assert_eq!((rebuilt.running, rebuilt.ended, rebuilt.settled), (0, 0, 0));
}

#[test]
fn a_late_report_under_a_lease_that_a_ticket_tells_of_is_taken() {
    let mut env = Env::new();
    let job = env.submit(spec(10, 1));
    let worker = env.worker(1);
    env.lease(worker, 4);
    let (first, second) = (env.lease_of(worker, 0), env.lease_of(worker, 1));
    let batch = env.batch(worker, job, &[(first, 0, honest(0))]);
    env.send(worker, batch);
    let mut found = env.found();
    for batch in found.batches.values_mut() {
        batch.tickets[0].count = 4;
    }
    let rebuilt = rebuild(PROJECT, &found, 7);
    env.store = Default::default();
    env.store.commit(rebuilt.records).unwrap();
    env.crash();
    env.connect(worker);
    let batch = env.batch(worker, job, &[(second, 1, honest(1))]);
    assert_eq!(env.send(worker, batch).acks, [Ack::Accepted]);
}
