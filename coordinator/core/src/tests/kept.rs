//! What is kept for an account has a bound, whatever keeps it; what is kept of nobody goes.

use super::env::*;
use crate::bounds::{
    BLANK_MS, CANCELLED_OUTPUTS_MS, JOBS_OF_ACCOUNT_MAX, SPEC_BYTES_OF_ACCOUNT_MAX,
};
use crate::event::{Event, Reply, Submission, SubmitRefused};
use crate::record::{Table, output_key};
use crate::saved::whose;
use crate::store::Store;
use proto::bounds::SPEC_BYTES_MAX;
use proto::job::JobSpec;
use proto::report::{Ack, Outcome, Output};
use proto::{Digest, JobId};
use std::sync::Arc;

/// Submits a job whose specification has so many bytes, with white space at its end.
fn submit(env: &mut Env, account: &str, number: u64, bytes: usize) -> Result<JobId, SubmitRefused> {
    let spec = spec(10, 1);
    let mut text = spec.encode();
    text.resize(bytes.max(text.len()), b' ');
    let mut submission = [0; 16];
    submission[..8].copy_from_slice(&number.to_le_bytes());
    let submission = Submission {
        spec: Arc::new(spec),
        bytes: text.into(),
        submission,
        account: account.into(),
    };
    match env.apply(Event::Submit(submission)) {
        Reply::Submitted(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_account_has_so_many_jobs_and_others_have_theirs() {
    let mut env = Env::new();
    for number in 0..JOBS_OF_ACCOUNT_MAX as u64 {
        submit(&mut env, "mallory", number, 0).unwrap();
    }
    let refused = submit(&mut env, "mallory", u64::MAX, 0).unwrap_err();
    assert_eq!(refused, SubmitRefused::TooManyOfAccount(JOBS_OF_ACCOUNT_MAX, "mallory".into()));
    let job = submit(&mut env, "ada", 1, 0).unwrap();
    let worker = env.worker(1);
    assert!(env.lease(worker, 1).contains(&format!("{job} 0..1")), "and they get work at once");
    env.apply(Event::Cancel(JobId(1)));
    assert!(submit(&mut env, "mallory", u64::MAX, 0).is_ok());
}

#[test]
fn specifications_of_an_account_have_a_bound_together() {
    let mut env = Env::new();
    let most = SPEC_BYTES_OF_ACCOUNT_MAX / SPEC_BYTES_MAX as u64;
    for number in 0..most {
        submit(&mut env, "mallory", number, SPEC_BYTES_MAX).unwrap();
    }
    let refused = submit(&mut env, "mallory", most, 0).unwrap_err();
    assert!(matches!(refused, SubmitRefused::Specs { .. }), "{refused}");
    env.crash();
    let refused = submit(&mut env, "mallory", most, 0).unwrap_err();
    assert!(matches!(refused, SubmitRefused::Specs { .. }), "{refused}");
    assert!(submit(&mut env, "ada", 1, SPEC_BYTES_MAX).is_ok());
}

/// An output of 1000 bytes.
fn large(unit: u64) -> (Outcome, u64) {
    let digest = Digest::of(&unit.to_le_bytes());
    (Outcome::Done(Output::Blob { digest, len: 1000 }), 100)
}

/// Reports large outputs of these units.
fn report(env: &mut Env, worker: usize, job: JobId, units: &[u64]) -> Vec<Ack> {
    let reports: Vec<_> =
        units.iter().map(|unit| (env.lease_of(worker, *unit), *unit, large(*unit))).collect();
    let batch = env.batch(worker, job, &reports);
    env.send(worker, batch).acks
}

#[test]
fn outputs_count_in_the_quota_of_who_has_submitted_and_are_freed() {
    let mut env = Env::new();
    let spec = JobSpec { copies: 2, ..spec(10, 1) };
    let bytes = spec.encode().len() as u64;
    let quota = bytes + 2500;
    env.core.set_account_bytes(quota);
    let job = env.submit(spec.clone());
    let (first, second) = (env.worker(1), env.worker(2));
    assert_eq!(env.lease(first, 3), [format!("{job} 0..3")]);
    assert_eq!(env.lease(second, 2), [format!("{job} 0..2")]);
    assert_eq!(report(&mut env, first, job, &[0, 1]), [Ack::Accepted; 2]);
    // The same output of another account takes no room; one that does not fit waits with its worker.
    assert_eq!(report(&mut env, second, job, &[0, 1]), [Ack::Accepted; 2]);
    assert_eq!(env.core.kept_for("ada"), bytes + 2000);
    assert_eq!(report(&mut env, first, job, &[2]), [Ack::Busy]);
    // Nothing more is lent, and both sides are told.
    assert_eq!(env.lease(second, 5), [""; 0]);
    let heard = env.workers[second].heard.last().unwrap();
    assert!(heard.contains("no room for outputs") && !heard.contains("ada"), "{heard}");
    let why = env.core.why(job, None).unwrap().join("; ");
    assert!(why.contains("--account-bytes") && why.contains("--outputs"), "{why}");
    env.crash();
    env.core.set_account_bytes(quota);
    assert_eq!(env.core.kept_for("ada"), bytes + 2000);
    // A job that runs keeps them.
    env.apply(Event::DropOutputs(job));
    let now_ms = env.now.wall_ms;
    assert!(env.core.unwanted_outputs(u64::MAX).is_empty());
    env.apply(Event::Cancel(job));
    assert!(env.core.unwanted_outputs(now_ms + CANCELLED_OUTPUTS_MS - 1).is_empty());
    assert!(env.core.unwanted_outputs(now_ms + CANCELLED_OUTPUTS_MS).contains(&job));
    env.apply(Event::DropOutputs(job));
    let unwanted = env.core.unwanted_outputs(now_ms);
    assert!(unwanted.contains(&job));
    let outputs = whose::outputs_of(env.store.as_ref(), &unwanted).unwrap();
    let outputs: Vec<Digest> = outputs.into_iter().map(|(_, digest)| digest).collect();
    assert_eq!(outputs.len(), 2);
    assert!(whose::is_of(env.store.as_ref(), "ada", &outputs[0]).unwrap());
    assert!(!whose::is_of(env.store.as_ref(), "bob", &outputs[0]).unwrap());
    env.apply(Event::Disown { job, outputs: outputs.clone(), last: false });
    env.apply(Event::Disown { job, outputs: Vec::new(), last: true });
    assert!(!whose::is_anybodys(env.store.as_ref(), &outputs[0]).unwrap());
    assert_eq!(env.core.kept_for("ada"), bytes);
    let next = env.submit(spec);
    env.connect(first);
    assert_eq!(env.lease(first, 1), [format!("{next} 0..1")], "there is room again");
}

#[test]
fn what_an_account_has_put_leaves_less_room_for_outputs() {
    let mut env = Env::new();
    env.core.set_account_bytes(10_000);
    env.apply(Event::HasPut { account: "ada".into(), digest: Digest([4; 32]), len: 9_500 });
    assert!(whose::is_of(env.store.as_ref(), "ada", &Digest([4; 32])).unwrap());
    let refused = submit(&mut env, "ada", 1, 600).unwrap_err();
    assert!(matches!(refused, SubmitRefused::Quota { used: 9_500, .. }), "{refused}");
    assert!(submit(&mut env, "bob", 1, 600).is_ok());
}

#[test]
fn records_that_do_not_say_whose_blobs_are_are_added_to() {
    let mut env = Env::new();
    let job = env.submit(spec(10, 1));
    let worker = env.worker(1);
    env.lease(worker, 4);
    assert_eq!(report(&mut env, worker, job, &[0, 1, 2]), [Ack::Accepted; 3]);
    let kept = env.core.kept_for("ada");
    let records = |env: &Env| env.store.page(&[], None, usize::MAX).unwrap();
    let with = records(&env);
    let about = [Table::Kept, Table::Output, Table::Put].map(|table| table as u8);
    let without = with.iter().filter(|(key, _)| about.contains(&key[0]));
    env.store.commit(without.map(|(key, _)| (key.clone(), None)).collect()).unwrap();
    let owned = [(Digest([8; 32]), 77, "bob".to_owned())];
    for _ in 0..2 {
        whose::note(env.store.as_ref(), &owned).unwrap();
    }
    for record in &with {
        assert!(records(&env).contains(record), "{record:?}");
    }
    assert!(whose::has_put(env.store.as_ref(), "bob", &owned[0].0).unwrap());
    assert!(whose::has_put(env.store.as_ref(), "ada", &Digest([1; 32])).unwrap(), "its kernel");
    let Outcome::Done(Output::Blob { digest, .. }) = large(2).0 else { panic!("a blob") };
    assert!(env.store.get(&output_key(&digest, Some(job))).unwrap().is_some());
    env.crash();
    assert_eq!(env.core.kept_for("ada"), kept);
}

#[test]
fn workers_that_never_reported_are_forgotten_in_time_and_others_are_not() {
    let mut env = Env::new();
    let job = env.submit(spec(100, 1));
    let known_one = env.worker(1);
    env.lease(known_one, 1);
    let lease = env.lease_of(known_one, 0);
    let batch = env.batch(known_one, job, &[(lease, 0, honest(0))]);
    assert_eq!(env.send(known_one, batch).acks, [Ack::Accepted]);
    let go = |env: &mut Env, worker: usize| {
        let session = env.workers[worker].session.take().unwrap();
        env.apply(Event::Gone(session));
    };
    go(&mut env, known_one);
    for round in 0..5_u8 {
        for n in 0..4 {
            let worker = env.worker(10 + round * 4 + n);
            go(&mut env, worker);
        }
        env.now.monotonic_ms += BLANK_MS;
    }
    assert_eq!(env.core.totals().workers_known, 5, "the places of those that went are taken again");
    let known = |env: &Env, worker: usize| env.core.worker_number(&env.workers[worker].key);
    assert_eq!(known(&env, known_one), Some(0));
    assert_eq!(known(&env, 1), None);
    // What was saved says the same.
    env.crash();
    assert_eq!(env.core.totals().workers_known, 5);
    assert_eq!(known(&env, known_one), Some(0));
    // One that holds units is no blank page, however long it is away.
    env.connect(1);
    env.lease(1, 1);
    go(&mut env, 1);
    env.now.monotonic_ms += 10_000;
    let _ = env.worker(200);
    assert!(known(&env, 1).is_some());
}
