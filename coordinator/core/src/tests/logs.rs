use super::env::{Env, fails, honest, spec};
use crate::bounds::STILL_MS;
use crate::event::{Event, Logged};
use crate::record::{LogEnd, LogsRecord, UnitLogRecord};
use crate::saved::read;
use proto::bounds::JOB_LOG_BYTES_MAX;
use proto::job::{JobSpec, Limits};
use proto::unit_log::Line;
use proto::{JobId, LeaseId, UnitIndex};

fn talking(units: u64, copies: u32) -> JobSpec {
    let quiet = spec(units, copies);
    JobSpec { limits: Limits { log_bytes: 1 << 20, ..quiet.limits }, ..quiet }
}

fn line(at: u64, text: &str) -> Line {
    Line { at, len: u32::try_from(text.len()).unwrap() + 1, level: 3, text: text.into() }
}

impl Env {
    fn say(&mut self, worker: usize, lease: LeaseId, unit: u64, lines: Vec<Line>) {
        let session = self.workers[worker].session.unwrap();
        let logged = Logged { lease, unit: UnitIndex(unit), lines };
        self.apply(Event::Logged(session, vec![logged]));
    }

    /// A worker tells a line of a unit that it holds.
    fn tell(&mut self, worker: usize, unit: u64, text: &str) {
        let lease = self.lease_of(worker, unit);
        self.say(worker, lease, unit, vec![line(0, text)]);
    }

    fn kept(&self, job: JobId) -> (LogsRecord, Vec<UnitLogRecord>) {
        let (record, logs) = read::logs(self.store.as_ref(), job, None, 100_000).unwrap().unwrap();
        assert!(logs.iter().zip(0..).all(|((position, _), expected)| *position == expected));
        (record, logs.into_iter().map(|(_, log)| log).collect())
    }

    /// Unit, number of the worker, end and first line of what is kept.
    fn told(&self, job: JobId) -> Vec<(u64, usize, LogEnd, String)> {
        let number = |log: &UnitLogRecord| {
            self.workers.iter().position(|worker| worker.key == log.worker).unwrap()
        };
        let logs = self.kept(job).1;
        logs.iter().map(|log| (log.unit, number(log), log.end, log.lines[0].text.clone())).collect()
    }
}

#[test]
fn the_first_reporters_lines_are_kept_with_its_report() {
    let mut env = Env::new();
    let job = env.submit(talking(2, 2));
    let (slow, quick) = (env.worker(1), env.worker(2));
    env.lease(slow, 2);
    env.lease(quick, 2);
    env.tell(slow, 0, "slow");
    env.tell(quick, 0, "quick");
    let live = env.core.live_logs(job, None, 0);
    assert_eq!((live.logs.len(), live.runs), (2, true));
    assert!(env.core.live_logs(job, None, live.tick).logs.is_empty());
    assert!(env.kept(job).1.is_empty());
    env.report_honestly(quick, job, 0);
    env.report_honestly(slow, job, 0);
    assert_eq!(env.told(job), [(0, quick, LogEnd::Done, "quick".into())]);
    assert!(env.core.live_logs(job, None, 0).held.is_empty());
    assert!(!env.core.live_logs(job, Some(UnitIndex(0)), 0).runs);
    env.crash();
    assert_eq!(env.told(job).len(), 1);
    assert_eq!(env.core.log_bytes_of("ada"), env.kept(job).0.bytes);
}

#[test]
fn failures_and_units_that_could_not_be_run_are_kept_as_such() {
    let mut env = Env::new();
    let job = env.submit(talking(2, 1));
    let (one, other) = (env.worker(1), env.worker(2));
    env.lease(one, 2);
    env.tell(one, 0, "panicked");
    env.tell(one, 1, "no memory");
    env.report(one, job, 0, fails());
    env.give_back(one, 1, true);
    env.pass(10_000);
    env.lease(other, 1);
    env.tell(other, 1, "done");
    env.report_honestly(other, job, 1);
    assert!(env.is_done(job));
    let expected = [
        (0, one, LogEnd::Failed, "panicked".into()),
        (1, one, LogEnd::Returned, "no memory".into()),
        (1, other, LogEnd::Done, "done".into()),
    ];
    assert_eq!(env.told(job), expected);
    env.crash();
    assert_eq!(env.told(job), expected);
    assert_eq!(env.core.log_bytes_of("ada"), env.kept(job).0.bytes);
}

#[test]
fn only_who_holds_a_unit_may_speak_of_it() {
    let mut env = Env::new();
    let job = env.submit(talking(4, 1));
    let (one, other) = (env.worker(1), env.worker(2));
    env.lease(one, 2);
    env.lease(other, 1);
    let lease = env.lease_of(one, 0);
    let nothing = |env: &mut Env, worker, lease, unit| {
        env.say(worker, lease, unit, vec![line(0, "not mine")]);
        assert!(env.core.live_logs(job, None, 0).held.is_empty());
    };
    nothing(&mut env, other, lease, 0);
    nothing(&mut env, one, LeaseId(99), 0);
    nothing(&mut env, one, lease, 2);
    nothing(&mut env, one, lease, u64::MAX);
    env.report_honestly(one, job, 0);
    nothing(&mut env, one, lease, 0);
    // Beyond what the job lets a unit log there is nothing.
    env.say(one, lease, 1, vec![line(1 << 20, "beyond")]);
    assert!(env.core.live_logs(job, None, 0).held.is_empty());
    env.core.check_invariants().unwrap();
}

#[test]
fn logs_of_a_job_are_bounded_and_failures_have_a_part_of_their_own() {
    let mut env = Env::new();
    let units = 1_500;
    let job = env.submit(talking(units, 1));
    let worker = env.worker(1);
    env.prove(worker);
    let text = "x".repeat(4_000);
    env.lease(worker, 1_500);
    for unit in 0..units {
        let lease = env.lease_of(worker, unit);
        let lines = (0..3).map(|n| line(n * 4_001, &text)).collect();
        env.say(worker, lease, unit, lines);
        let said = if unit < units - 10 { honest(unit) } else { fails() };
        env.report(worker, job, unit, said);
    }
    let (record, logs) = env.kept(job);
    assert!(record.bytes <= JOB_LOG_BYTES_MAX && JOB_LOG_BYTES_MAX / 10 * 7 < record.bytes);
    assert_eq!(record.left_out + logs.len() as u64, units);
    // The first ones, and all that failed.
    assert!(logs.iter().zip(0..1_000).all(|(log, unit)| log.unit == unit));
    assert_eq!(logs.iter().filter(|log| log.end == LogEnd::Failed).count(), 10);
}

#[test]
fn a_cancelled_job_keeps_what_was_kept() {
    let mut env = Env::new();
    let job = env.submit(talking(2, 1));
    let worker = env.worker(1);
    env.lease(worker, 2);
    env.tell(worker, 0, "kept");
    env.tell(worker, 1, "running");
    env.report_honestly(worker, job, 0);
    env.apply(Event::Cancel(job));
    assert_eq!(env.told(job), [(0, worker, LogEnd::Done, "kept".into())]);
    assert!(!env.core.live_logs(job, None, 0).runs);
    env.crash();
    assert_eq!(env.core.log_bytes_of("ada"), env.kept(job).0.bytes);
}

#[test]
fn a_job_that_does_not_move_says_why_until_it_moves() {
    let mut env = Env::new();
    let job = env.submit(spec(2, 2));
    let one = env.worker(1);
    env.lease(one, 2);
    env.report_honestly(one, job, 0);
    assert!(env.status(job).waiting.is_empty());
    env.pass(STILL_MS);
    let status = env.status(job);
    assert_eq!(Some(&status.waiting), env.core.why(job, None).as_ref());
    let accounts = "each unit needs reports of 2 accounts, workers of 1 are connected";
    assert_eq!((status.reason.as_str(), status.waiting[0].as_str()), (accounts, accounts));
    let other = env.worker(2);
    env.lease(other, 2);
    env.report_honestly(other, job, 0);
    assert!(env.status(job).waiting.is_empty());
    env.pass(STILL_MS);
    assert!(!env.status(job).waiting.is_empty());
    env.report_honestly(one, job, 1);
    env.report_honestly(other, job, 1);
    assert!(env.is_done(job) && env.status(job).waiting.is_empty());
}

#[test]
fn a_job_for_confidence_says_that_it_waits_for_another_account() {
    let mut env = Env::new();
    let job = env.submit(JobSpec { copies: 1, confidence: Some(1e-6), ..spec(1, 1) });
    let one = env.worker(1);
    env.lease(one, 1);
    env.report_honestly(one, job, 0);
    env.pass(STILL_MS);
    let why = "1 units are reported and wait for a report of another account";
    assert!(env.status(job).waiting.iter().any(|reason| reason == why));
}
