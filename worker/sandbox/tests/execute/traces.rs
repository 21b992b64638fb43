//! Traces: the same however a unit is run, and each segment of them by itself.

use super::interrupted::under_fire;
use super::lab::{Lab, step_kernel, walker};
use proto::state;
use proto::trace::{Point, Trace};
use sandbox::{ArchivePlan, Begin, Event, Failure, Outcome, TracePlan, Trouble, Unit, Until};
use std::fs;
use std::path::PathBuf;

/// The whole unit with points so far apart.
fn whole(spacing: u64) -> TracePlan {
    TracePlan { spacing, begin: Begin::Start, until: Until::End, archive: None }
}

fn with(unit: &Unit, plan: TracePlan) -> Unit {
    Unit { trace: Some(plan), ..unit.clone() }
}

/// Output and fuel of a unit that is done, and its trace.
fn done(outcome: Outcome) -> (Vec<u8>, u64, Trace) {
    match outcome {
        Outcome::Done { output, fuel, trace: Some(trace) } => (output, fuel, trace),
        other => panic!("{other:?}"),
    }
}

fn reached(outcome: Outcome) -> Point {
    match outcome {
        Outcome::Reached(point) => point,
        other => panic!("{other:?}"),
    }
}

fn refusal(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Infrastructure { reason: Trouble::Unit(text) } => text,
        other => panic!("{other:?}"),
    }
}

/// Has a state written, and checks that the file is what the run says.
fn show(lab: &Lab, unit: &Unit, begin: Begin, fuel: u64, name: &str) -> (PathBuf, Point) {
    let to = lab.path(name);
    let plan = TracePlan { until: Until::State { fuel, to: to.clone() }, begin, ..whole(u64::MAX) };
    let point = reached(lab.run(with(unit, plan)).0.outcome);
    let file = fs::File::open(&to).unwrap();
    let found = state::verify(file, unit.limits.memory, unit.limits.output).unwrap();
    assert_eq!(found, point);
    (to, point)
}

#[test]
fn a_trace_is_the_same_in_one_go_and_after_kills() {
    let lab = Lab::new();
    let unit = lab.unit(walker(600));
    let Outcome::Done { output: untraced, fuel: untraced_fuel, trace: None } =
        lab.run(unit.clone()).0.outcome
    else {
        panic!("no trace was asked for")
    };
    let mut unit = with(&unit, whole(1 << 20));
    let want = lab.run(unit.clone()).0.outcome;
    let (output, fuel, trace) = done(want.clone());
    assert!(output == untraced && fuel == untraced_fuel, "a trace changes nothing");
    assert!(20 < trace.points().len(), "{} points", trace.points().len());
    assert_eq!(Trace::decode(&trace.encode(), 1 << 20), Ok(trace.clone()));
    let coarse = done(lab.run(with(&unit, whole(1 << 22))).0.outcome).2;
    assert_eq!(coarse, trace.thinned(1 << 22));
    unit.snapshot = lab.snapshot();
    let mut n_resumed = 0;
    for seed in 0..3 {
        let (outcome, _, resumed) = under_fire(&lab, &unit, seed, 150);
        assert!(outcome == want, "seed {seed}");
        n_resumed += resumed;
        fs::remove_file(lab.path("unit.snapshot")).unwrap();
    }
    assert!(2 <= n_resumed, "{n_resumed} resumptions");
}

#[test]
fn segments_run_alone_lead_from_point_to_point_to_the_same_end() {
    let lab = Lab::new();
    let unit = lab.unit(walker(300));
    let (output, fuel, trace) = done(lab.run(with(&unit, whole(1 << 22))).0.outcome);
    let points = trace.points();
    assert!(4 <= points.len() && points.len() <= 20, "{} points", points.len());
    let segment = |begin| TracePlan { begin, until: Until::NextPoint, ..whole(1 << 22) };
    assert_eq!(reached(lab.run(with(&unit, segment(Begin::Start))).0.outcome), points[0]);
    let mut begin = Begin::Start;
    for (index, point) in points.iter().enumerate() {
        let (path, shown) = show(&lab, &unit, begin, point.fuel, &format!("state {index}"));
        assert_eq!(shown, *point);
        begin = Begin::State { path, point: *point };
        let outcome = lab.run(with(&unit, segment(begin.clone()))).0.outcome;
        match points.get(index + 1) {
            Some(next) => assert_eq!(reached(outcome), *next),
            None => {
                let (segment_output, segment_fuel, rest) = done(outcome);
                assert!(segment_output == output && segment_fuel == fuel);
                assert_eq!(rest.points(), []);
            }
        }
    }
    // And the points behind a beginning are those of the whole.
    let (path, point) = show(&lab, &unit, Begin::Start, points[1].fuel, "second");
    let plan = TracePlan { begin: Begin::State { path, point }, ..whole(1 << 22) };
    let (_, _, rest) = done(lab.run(with(&unit, plan)).0.outcome);
    assert_eq!(rest.points(), &points[2..]);
}

#[test]
fn a_segment_goes_on_after_kills_as_a_unit_does() {
    let lab = Lab::new();
    let unit = lab.unit(walker(600));
    let (_, _, trace) = done(lab.run(with(&unit, whole(1 << 24))).0.outcome);
    let [first, second, ..] = trace.points() else { panic!("too short") };
    let (path, point) = show(&lab, &unit, Begin::Start, first.fuel, "shown");
    let plan = TracePlan {
        begin: Begin::State { path, point },
        until: Until::NextPoint,
        ..whole(1 << 24)
    };
    let segment = Unit { snapshot: lab.snapshot(), ..with(&unit, plan) };
    let (outcome, ..) = under_fire(&lab, &segment, 5, 60);
    assert_eq!(reached(outcome), *second);
    // A snapshot of the segment is none of the unit's.
    let all = Unit { snapshot: lab.snapshot(), ..with(&unit, whole(1 << 24)) };
    assert_eq!(done(lab.run(all).0.outcome).2, trace);
}

#[test]
fn a_kept_state_is_the_same_bytes_as_one_computed_from_the_start() {
    let lab = Lab::new();
    let mut unit = lab.unit(walker(60_000));
    // Little memory, so that it is soon worth keeping.
    unit.limits.memory = 5 << 16;
    let archive = ArchivePlan { path: lab.path("kept"), bytes_max: 16 << 20 };
    let plan = TracePlan { archive: Some(archive), ..whole(1 << 26) };
    let (_, _, trace) = done(lab.run(with(&unit, plan)).0.outcome);
    let points = trace.points();
    assert!(fs::metadata(lab.path("kept")).unwrap().len() <= 16 << 20);
    let kept = || Begin::Archived(lab.path("kept"));
    for (name, point) in [("first", points[0]), ("half", points[points.len() / 2])] {
        let (anew, one) = show(&lab, &unit, Begin::Start, point.fuel, &format!("{name} anew"));
        let (from_kept, other) = show(&lab, &unit, kept(), point.fuel, &format!("{name} kept"));
        assert!(one == point && other == point);
        assert!(fs::read(anew).unwrap() == fs::read(from_kept).unwrap());
    }
    // Something was kept indeed: the point after the last of it is not the first.
    let next = TracePlan { begin: kept(), until: Until::NextPoint, ..whole(1 << 26) };
    let after = match lab.run(with(&unit, next.clone())).0.outcome {
        Outcome::Reached(point) => points.iter().position(|other| *other == point).unwrap(),
        Outcome::Done { .. } => points.len(),
        other => panic!("{other:?}"),
    };
    assert!(0 < after, "nothing was kept");
    // What is torn at its end still serves, what is another unit's is passed over and said.
    let bytes = fs::read(lab.path("kept")).unwrap();
    fs::write(lab.path("kept"), &bytes[..bytes.len() - 1]).unwrap();
    show(&lab, &unit, kept(), points[0].fuel, "torn");
    let other = Unit { seed: [1; 32], ..unit };
    let (finished, events) = lab.run(with(&other, next));
    assert_eq!(reached(finished.outcome), points[0]);
    assert!(events.iter().any(|event| matches!(event, Event::Warning(_))));
}

#[test]
fn keeping_ends_at_its_limit_and_never_harms_the_unit() {
    let lab = Lab::new();
    let mut unit = lab.unit(walker(20_000));
    unit.limits.memory = 5 << 16;
    let traced = with(&unit, whole(1 << 24));
    let want = lab.run(traced.clone()).0.outcome;
    let keeping = |path, bytes_max| {
        let archive = Some(ArchivePlan { path, bytes_max });
        lab.run(with(&traced, TracePlan { archive, ..whole(1 << 24) }))
    };
    let (finished, events) = keeping(lab.path("small"), 100_000);
    assert!(finished.outcome == want);
    assert!(!events.iter().any(|event| matches!(event, Event::Warning(_))));
    let len = fs::metadata(lab.path("small")).map_or(0, |file| file.len());
    assert!(len <= 100_000, "{len} bytes");
    let (finished, events) = keeping(lab.path("no such folder").join("kept"), 1 << 20);
    assert!(finished.outcome == want);
    let n_warnings = events.iter().filter(|event| matches!(event, Event::Warning(_))).count();
    assert!(n_warnings <= 1, "said {n_warnings} times");
}

#[test]
fn a_state_that_is_not_the_one_it_should_be_is_refused() {
    let lab = Lab::new();
    let unit = lab.unit(walker(300));
    let (_, _, trace) = done(lab.run(with(&unit, whole(1 << 22))).0.outcome);
    let [first, second, ..] = trace.points() else { panic!("too short") };
    let (path, point) = show(&lab, &unit, Begin::Start, first.fuel, "state");
    let refused = |unit: &Unit, path: PathBuf, point: Point| {
        let begin = Begin::State { path, point };
        let plan = TracePlan { begin, until: Until::NextPoint, ..whole(1 << 22) };
        let outcome = lab.run(with(unit, plan)).0.outcome;
        assert!(refusal(&outcome).contains("is not the one that it should be"), "{outcome:?}");
    };
    let bytes = fs::read(&path).unwrap();
    for place in [3, 20, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[place] ^= 4;
        let damaged_path = lab.path("damaged");
        fs::write(&damaged_path, damaged).unwrap();
        refused(&unit, damaged_path, point);
    }
    refused(&unit, path.clone(), *second);
    refused(&unit, lab.path("nothing here"), point);
    let mut small = unit.clone();
    small.limits.memory = 4 << 16;
    refused(&small, path.clone(), point);
    small.limits = unit.limits;
    small.limits.fuel = first.fuel - 1;
    refused(&small, path.clone(), point);
    refused(
        &lab.unit(step_kernel(
            r#"(memory (export "memory") 1) (func (export "starling_start"))
        (func (export "starling_step") (result i32) (i32.const 0))"#,
        )),
        path,
        point,
    );
    // Nor is a state shown that the unit never has.
    let until = Until::State { fuel: first.fuel - 1, to: lab.path("missed") };
    let outcome = lab.run(with(&unit, TracePlan { until, ..whole(1 << 22) })).0.outcome;
    assert!(refusal(&outcome).contains("has no state"), "{outcome:?}");
    let until = Until::State { fuel: first.fuel, to: lab.path("no folder").join("state") };
    let outcome = lab.run(with(&unit, TracePlan { until, ..whole(1 << 22) })).0.outcome;
    let Outcome::Infrastructure { reason: Trouble::Machine(text) } = &outcome else {
        panic!("{outcome:?}");
    };
    assert!(text.contains("could not be written"), "{text}");
}

/// A kernel whose start and every step count to a million; after 5 steps it does not go on.
fn trapping() -> String {
    step_kernel(
        r#"(memory (export "memory") 2)
        (func $count (local $i i32)
          (loop $again (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 1000000)))))
        (func (export "starling_start") (call $count))
        (func (export "starling_step") (result i32)
          (i32.store (i32.const 70000) (i32.add (i32.load (i32.const 70000)) (i32.const 1)))
          (call $output_write (i32.const 70000) (i32.const 4))
          (call $count)
          (if (i32.lt_u (i32.const 5) (i32.load (i32.const 70000))) (then (unreachable)))
          (i32.const 1))"#,
    )
}

#[test]
fn a_unit_that_fails_has_a_trace_and_fails_in_its_last_segment() {
    let lab = Lab::new();
    let unit = lab.unit(trapping());
    let Outcome::Failed { reason: Failure::Unreachable, fuel, trace: Some(trace) } =
        lab.run(with(&unit, whole(1 << 20))).0.outcome
    else {
        panic!("it fails")
    };
    // After the start and after each step but the last.
    assert_eq!(trace.points().len(), 6);
    let last = *trace.points().last().unwrap();
    let (path, point) = show(&lab, &unit, Begin::Start, last.fuel, "last");
    let begin = Begin::State { path, point };
    let plan = TracePlan { begin, until: Until::NextPoint, ..whole(1 << 20) };
    match lab.run(with(&unit, plan)).0.outcome {
        Outcome::Failed { reason: Failure::Unreachable, fuel: segment_fuel, .. } => {
            assert_eq!(segment_fuel, fuel);
        }
        other => panic!("{other:?}"),
    }
    // A budget that is spent on the way is such a failure too.
    let mut short = unit;
    short.limits.fuel = last.fuel - 1;
    match lab.run(with(&short, whole(1 << 20))).0.outcome {
        Outcome::Failed { reason: Failure::FuelSpent, trace: Some(shorter), .. } => {
            assert_eq!(shorter.points(), &trace.points()[..5]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_has_no_trace() {
    let lab = Lab::new();
    let mut unit = lab.unit(shipped::COLLATZ);
    unit.params = br#"{"n":{"end":1000,"first":1}}"#.to_vec();
    let want = lab.run(unit.clone()).0.outcome;
    assert!(matches!(want, Outcome::Done { trace: None, .. }));
    assert_eq!(lab.run(with(&unit, whole(1 << 16))).0.outcome, want);
}
