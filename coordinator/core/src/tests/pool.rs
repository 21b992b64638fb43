//! What a crowd agrees on waits for a referee.

use super::env::{Env, spec, wrong};
use crate::event::Event;
use proto::JobId;
use proto::job::JobSpec;

/// A job that asks for a chance of one in a thousand: three strangers, or ten checks of the crowd.
fn sure(units: u64) -> JobSpec {
    JobSpec { confidence: Some(1e-3), ..spec(units, 1) }
}

impl Env {
    /// A worker that the operator has appointed.
    fn referee(&mut self) -> usize {
        let referee = self.worker(50);
        let worker = self.workers[referee].key;
        self.apply(Event::Appoint { worker, appointed: true });
        referee
    }

    /// Everybody is lent all that he may have, and reports it honestly.
    fn work_all(&mut self, workers: &[usize], job: JobId) {
        for &worker in workers {
            self.lease(worker, 100);
            self.report_all(worker, job);
        }
    }

    /// A worker is lent so many units at most, and tells one common lie of each.
    fn lie_all(&mut self, worker: usize, units: u32, job: JobId) {
        self.lease(worker, units);
        let leases: Vec<_> =
            std::mem::take(&mut self.workers[worker].leases).into_values().collect();
        for lease in leases {
            let units = (lease.first.0..).take(lease.count as usize);
            let lies: Vec<_> = units.map(|unit| (lease.lease, unit, wrong(unit, 7))).collect();
            let batch = self.batch(worker, job, &lies);
            self.send(worker, batch);
        }
    }

    /// The referee checks one unit after the other, until the job is done; how many.
    fn check_all(&mut self, referee: usize, job: JobId) -> u64 {
        for checks in 0..200 {
            if self.is_done(job) {
                return checks;
            }
            self.want(referee, 1);
            self.report_all(referee, job);
            // What it let go is settled over some events.
            self.pass(1);
        }
        panic!("{:?}", self.core.why(job, None));
    }

    fn times_caught(&self, worker: usize) -> u64 {
        let all = self.core.workers(None, 1_000);
        all.iter().find(|status| status.worker == self.workers[worker].key).unwrap().caught
    }
}

#[test]
fn a_crowd_is_believed_after_some_checks_of_all_it_says() {
    let mut env = Env::new();
    let referee = env.referee();
    let job = env.submit(sure(100));
    let crowd: Vec<usize> = (1..=4).map(|account| env.worker(account)).collect();
    for _ in 0..4 {
        env.work_all(&crowd, job);
    }
    assert_eq!(env.status(job).settled, 0);
    let why = env.core.why(job, None).unwrap().join("; ");
    assert!(why.contains("units wait for a referee") && why.contains("0 are so far"), "{why}");
    let checks = env.check_all(referee, job);
    assert!((10..14).contains(&checks), "{checks}");
    assert_eq!(crowd.iter().map(|worker| env.times_caught(*worker)).sum::<u64>(), 0);
}

#[test]
fn keys_that_agree_with_each_other_are_caught_by_one_check() {
    let mut env = Env::new();
    let referee = env.referee();
    let job = env.submit(sure(40));
    let keys: Vec<usize> = (1..=5).map(|account| env.worker(account)).collect();
    for _ in 0..5 {
        for &key in &keys {
            env.lie_all(key, 40, job);
        }
    }
    assert_eq!(env.status(job).settled, 0, "{:?}", env.core.why(job, None));
    env.want(referee, 1);
    env.report_all(referee, job);
    // Two or three of them agreed on the unit that was drawn.
    let caught = keys.iter().filter(|key| env.times_caught(**key) == 1).count();
    assert_eq!(env.status(job).settled, 1);
    assert!((2..4).contains(&caught), "{caught}");
    // The others go the same way, and everybody else settles the rest.
    let crowd: Vec<usize> = (11..=14).map(|account| env.worker(account)).collect();
    for _ in 0..30 {
        env.work_all(&crowd, job);
        env.want(referee, 1);
        env.report_all(referee, job);
        env.pass(11_000);
    }
    env.check_all(referee, job);
    for (unit, told) in env.results(job) {
        let (right, fuel) = super::env::honest(unit);
        assert!(!told.contains(&format!("{:?}", wrong(unit, 7).0)), "{unit}: {told}");
        assert!(told.contains(&fuel.to_string()), "{unit}: {told} {right:?}");
    }
}

#[test]
fn who_has_passed_checks_is_believed_when_the_crowd_is_not() {
    let mut env = Env::new();
    let referee = env.referee();
    let job = env.submit(sure(100_000));
    let honest: Vec<usize> = (1..=2).map(|account| env.worker(account)).collect();
    for _ in 0..12 {
        env.work_all(&honest, job);
        env.want(referee, 1);
        env.report_all(referee, job);
    }
    // Two keys of one person agree on lies, until one is drawn.
    let liars: Vec<usize> = (3..=4).map(|account| env.worker(account)).collect();
    assert!(10 <= env.core.standings.crowd().passed);
    for _ in 0..100 {
        if env.core.standings.crowd().passed == 0 {
            break;
        }
        for &liar in &liars {
            env.lie_all(liar, 8, job);
        }
        env.want(referee, 1);
        env.report_all(referee, job);
    }
    assert!(liars.iter().any(|liar| 0 < env.times_caught(*liar)));
    // No check is passed from here on: all but what is drawn for one has its verdict all the same.
    let before = env.status(job).settled;
    for _ in 0..4 {
        env.work_all(&honest, job);
    }
    assert!(before + 100 < env.status(job).settled, "{:?}", env.core.why(job, None));
    assert_eq!(env.core.standings.crowd().passed, 0);
}

#[test]
fn a_dismissed_referee_leaves_nothing_waiting() {
    let mut env = Env::new();
    let referee = env.referee();
    let job = env.submit(sure(30));
    let crowd: Vec<usize> = (1..=4).map(|account| env.worker(account)).collect();
    for _ in 0..4 {
        env.work_all(&crowd, job);
    }
    // Also not after a restart.
    env.crash();
    assert_eq!(env.status(job).settled, 0);
    let worker = env.workers[referee].key;
    env.apply(Event::Appoint { worker, appointed: false });
    env.pass(1);
    assert!(0 < env.status(job).settled, "{:?}", env.core.why(job, None));
    for worker in crowd.iter().copied().chain([referee]) {
        env.connect(worker);
    }
    for _ in 0..20 {
        env.work_all(&crowd, job);
        env.work_all(&[referee], job);
        env.pass(11_000);
    }
    assert!(env.is_done(job), "{:?}", env.core.why(job, None));
}

#[test]
fn two_who_agree_earn_what_their_records_lack_while_there_is_other_work() {
    let mut env = Env::new();
    let job = env.submit(sure(2_000));
    let crowd: Vec<usize> = (1..=2).map(|account| env.worker(account)).collect();
    while env.status(job).settled == 0 {
        env.work_all(&crowd, job);
    }
    // Two strangers never were enough; two who have agreed a few times are.
    let status = env.status(job);
    assert!(status.copies < 2_000, "{status:?}");
    while !env.is_done(job) {
        let before = env.status(job).copies;
        env.work_all(&crowd, job);
        assert!(before < env.status(job).copies, "{:?}", env.core.why(job, None));
    }
    assert!(env.status(job).copies <= 4_000);
}
