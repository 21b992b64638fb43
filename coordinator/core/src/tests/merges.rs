//! The merge stage.

use super::env::*;
use proto::UnitIndex;

#[test]
fn a_tree_of_merges_follows_its_inputs() {
    let mut env = Env::new();
    // 5 units, merged by twos: u5..u8 (3), u8..u10 (2), u10.
    let job = env.submit(merging(5, 2));
    let worker = env.worker(1);
    assert_eq!(env.lease(worker, 9), ["j1 0..5"]);
    env.report_honestly(worker, job, 4);
    // The last one is merged alone, at once: the request stands.
    assert_eq!(env.workers[worker].leases.values().last().unwrap().first, UnitIndex(7));
    assert_eq!(
        env.core.why(job, Some(UnitIndex(5))).unwrap(),
        ["it merges 2 units from u0 on, of which 0 are settled"]
    );
    env.crash();
    env.connect(worker);
    for _ in 0..4 {
        env.report_all(worker, job);
        env.want(worker, 9);
    }
    assert!(env.is_done(job));
    assert_eq!(env.results(job).len(), 11);
}

#[test]
fn a_failed_input_fails_everything_above_it() {
    let mut env = Env::new();
    let job = env.submit(merging(4, 2));
    let worker = env.worker(1);
    env.lease(worker, 4);
    env.report(worker, job, 1, fails());
    assert_eq!(env.status(job).failed, 3);
    env.report_honestly(worker, job, 0);
    env.report_honestly(worker, job, 2);
    env.report_honestly(worker, job, 3);
    assert_eq!(env.lease(worker, 4), ["j1 5..6"]);
    env.report_all(worker, job);
    assert!(env.is_done(job));
    let results = env.results(job);
    assert_eq!(results[&4], "u1 has no output for it to merge: it failed or was given up");
    assert_eq!(results[&6], "u4 has no output for it to merge: it failed or was given up");
}
