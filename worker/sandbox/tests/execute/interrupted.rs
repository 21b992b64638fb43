//! Kills, pauses and stops at any moment: the same bytes and the same fuel.

use super::lab::{Lab, PATIENCE, Slots, step_kernel, stepping, walker};
use sandbox::{CHILD_VERB, Config, Event, Outcome, SnapshotPlan, Trouble, Unit};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// Kills in one run: on a busy machine a step can take longer than the time between two, and nothing would ever end.
const SHOTS_MAX: usize = 12;

/// Runs a unit to its end while its child is killed at moments drawn from a seed; returns the end, and how often it was
/// killed and how often a snapshot was taken up.
pub(super) fn under_fire(
    lab: &Lab,
    unit: &Unit,
    mut seed: u64,
    longest_ms: u64,
) -> (Outcome, usize, usize) {
    let slots = lab.slots(lab.config(1));
    let (mut n_killed, mut n_resumed) = (0, 0);
    loop {
        slots.pool.submit(1, unit.clone()).unwrap();
        n_resumed += usize::from(slots.started());
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wait = Duration::from_millis((seed >> 33) % longest_ms);
        let shot = Instant::now() + if n_killed < SHOTS_MAX { wait } else { PATIENCE };
        let finished = loop {
            match slots.events.recv_timeout(shot.saturating_duration_since(Instant::now())) {
                Ok((_, Event::Finished(finished))) => break finished,
                Ok((_, Event::Warning(text))) => panic!("{text}"),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    n_killed += lab.signal("-KILL");
                    break slots.finished().1;
                }
                Err(RecvTimeoutError::Disconnected) => panic!("the pool is gone"),
            }
        };
        match finished.outcome {
            Outcome::Infrastructure { reason: Trouble::Killed(how) } => {
                assert!(how.contains("signal 9"), "{how}")
            }
            outcome => return (outcome, n_killed, n_resumed),
        }
    }
}

#[test]
fn kills_at_any_moment_change_neither_bytes_nor_fuel() {
    let lab = Lab::new();
    let mut unit = lab.unit(walker(600));
    let want = lab.run(unit.clone()).0.outcome;
    assert!(matches!(&want, Outcome::Done { output, .. } if output.len() == 262_144 + 600));
    unit.snapshot = lab.snapshot();
    let (mut n_killed, mut n_resumed) = (0, 0);
    for seed in 0..4 {
        let (outcome, killed, resumed) = under_fire(&lab, &unit, seed, 150);
        assert!(outcome == want, "seed {seed}");
        n_killed += killed;
        n_resumed += resumed;
        std::fs::remove_file(lab.path("unit.snapshot")).unwrap();
    }
    assert!(8 <= n_killed && 4 <= n_resumed, "{n_killed} kills, {n_resumed} resumptions");
}

#[test]
fn a_stop_saves_and_another_pool_goes_on() {
    let lab = Lab::new();
    let mut unit = lab.unit(walker(200_000));
    let want = lab.run(unit.clone()).0.outcome;
    // No snapshot by itself: only the one of the stop.
    unit.snapshot = Some(SnapshotPlan { path: lab.path("unit.snapshot"), interval: PATIENCE });
    let slots = lab.slots(lab.config(1));
    slots.pool.submit(1, unit.clone()).unwrap();
    slots.pool.submit(2, unit.clone()).unwrap();
    assert!(!slots.started());
    slots.pool.stop();
    let mut ends = [slots.finished(), slots.finished()];
    ends.sort_by_key(|(id, _)| *id);
    assert_eq!(ends[0].1.outcome, Outcome::Interrupted { saved: true });
    assert_eq!(ends[1].1.outcome, Outcome::Interrupted { saved: false });
    assert!(slots.pool.submit(3, unit.clone()).is_err());
    assert_eq!(lab.children().len(), 0, "no child outlives its pool");
    let (finished, events) = lab.run(unit);
    assert!(events.contains(&Event::Started { resumed: true }));
    assert!(finished.outcome == want);
}

#[test]
fn a_pause_takes_back_what_can_be_saved_and_freezes_the_rest() {
    let lab = Lab::new();
    let mut walking = lab.unit(walker(200_000));
    let want = lab.run(walking.clone()).0.outcome;
    walking.snapshot = Some(SnapshotPlan { path: lab.path("unit.snapshot"), interval: PATIENCE });
    let slots = lab.slots(Config { grace: Duration::from_millis(100), ..lab.config(2) });
    slots.pool.submit(1, walking).unwrap();
    slots.started();
    // One step of some seconds, so that it is still on its way when the grace is over, on a busy machine too. It tells
    // that it has begun: before that, an interruption would take it back.
    let long = lab.unit(stepping(
        "(local $i i32) (call $log (i32.const 2) (i32.const 0) (i32.const 1))
         (loop $again (local.set $i (i32.add (local.get $i) (i32.const 1)))
         (br_if $again (i32.lt_u (local.get $i) (i32.const 4000000000)))) (i32.const 0)",
    ));
    slots.pool.submit(2, long).unwrap();
    while !matches!(slots.next(), (2, Event::Log(_))) {}
    slots.pool.pause();
    let deadline = Instant::now() + PATIENCE;
    while slots.pool.status().queued < 1 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert!(slots.pool.status().paused);
    while !lab.children().iter().any(|pid| is_stopped(pid)) {
        assert!(Instant::now() < deadline, "the long step is frozen");
        std::thread::sleep(Duration::from_millis(10));
    }
    slots.pool.resume();
    let mut ends = [slots.finished(), slots.finished()];
    ends.sort_by_key(|(id, _)| *id);
    assert!(ends[0].1.outcome == want);
    assert!(matches!(ends[1].1.outcome, Outcome::Done { .. }));
}

/// Whether a process is stopped.
fn is_stopped(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

#[test]
fn cancelled_units_end_wherever_they_are() {
    let lab = Lab::new();
    let slots = lab.slots(lab.config(1));
    let endless = lab.unit(stepping("(loop $again (br $again)) (i32.const 0)"));
    slots.pool.submit(1, endless.clone()).unwrap();
    slots.started();
    slots.pool.submit(2, endless).unwrap();
    slots.pool.submit(3, lab.unit(stepping("(i32.const 0)"))).unwrap();
    for id in [2, 1] {
        slots.pool.cancel(id);
        let (ended, finished) = slots.finished();
        assert_eq!((ended, finished.outcome), (id, Outcome::Interrupted { saved: false }));
    }
    slots.pool.cancel(77);
    assert!(matches!(slots.finished().1.outcome, Outcome::Done { .. }));
}

#[test]
fn a_useless_snapshot_is_told_and_the_unit_starts_anew() {
    let lab = Lab::new();
    let mut unit = lab.unit(walker(40));
    let want = lab.run(unit.clone()).0.outcome;
    unit.snapshot = lab.snapshot();
    let warned = |unit: Unit| {
        let (finished, events) = lab.run(unit);
        assert!(finished.outcome == want);
        events
            .iter()
            .any(|event| matches!(event, Event::Warning(text) if text.contains("starts anew")))
    };
    assert!(!warned(unit.clone()));
    for garbage in [Vec::new(), vec![b'x'; 100_000]] {
        std::fs::write(lab.path("unit.snapshot"), garbage).unwrap();
        assert!(warned(unit.clone()));
    }
    // What the unit before left is its own: taken up without a word. With another seed it is another unit's.
    assert!(!warned(unit.clone()));
    assert!(warned(Unit { seed: [8; 32], ..unit }));
}

#[test]
fn what_cannot_be_written_costs_the_snapshot_and_not_the_unit() {
    let lab = Lab::new();
    let mut unit = lab.unit(walker(100));
    let want = lab.run(unit.clone()).0.outcome;
    unit.snapshot = lab.snapshot();
    let part = lab.path("unit.snapshot.part");
    std::fs::create_dir(&part).unwrap();
    let (finished, events) = lab.run(unit.clone());
    assert!(finished.outcome == want);
    let told = events
        .iter()
        .any(|event| matches!(event, Event::Warning(text) if text.contains("no snapshot could be written")));
    assert!(told, "{events:?}");
    // A link that somebody has laid there leads nowhere.
    std::fs::remove_dir(&part).unwrap();
    std::fs::write(lab.path("victim"), "precious").unwrap();
    std::os::unix::fs::symlink(lab.path("victim"), &part).unwrap();
    let (finished, events) = lab.run(unit);
    assert!(finished.outcome == want);
    assert!(!events.iter().any(|event| matches!(event, Event::Warning(_))), "{events:?}");
    assert_eq!(std::fs::read(lab.path("victim")).unwrap(), b"precious");
    // And what lay beside is gone with the unit.
    assert!(std::fs::symlink_metadata(&part).is_err());
}

/// Ends within a second of CPU time or so.
fn second(lab: &Lab) -> Unit {
    lab.unit(step_kernel(
        r#"(memory (export "memory") 1) (global $n (mut i32) (i32.const 0)) (func (export "starling_start"))
        (func (export "starling_step") (result i32) (local $i i32)
          (loop $again (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 10000000))))
          (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (i32.lt_u (global.get $n) (i32.const 50)))"#,
    ))
}

#[test]
fn what_stops_the_program_is_for_the_parent_to_heed() {
    let lab = Lab::new();
    let slots: Slots = lab.slots(lab.config(1));
    slots.pool.submit(1, second(&lab)).unwrap();
    slots.started();
    for signal in ["-INT", "-TERM", "-HUP"] {
        assert_eq!(lab.signal(signal), 1);
    }
    assert!(matches!(slots.finished().1.outcome, Outcome::Done { .. }));
}

#[test]
fn a_child_ends_with_its_parent() {
    let lab = Lab::new();
    let (orders, theirs) = UnixStream::pair().unwrap();
    let mut child = Command::new(lab.path("program"))
        .arg(CHILD_VERB)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(orders);
    assert!(child.wait().unwrap().success());
    // And in the middle of a step: the parent here is a pool in this process, whose pipes close when it goes.
    let slots = lab.slots(Config { grace: Duration::ZERO, ..lab.config(1) });
    slots.pool.submit(1, lab.unit(stepping("(loop $again (br $again)) (i32.const 0)"))).unwrap();
    slots.started();
    drop(slots);
    assert_eq!(lab.children().len(), 0);
}
