//! What hostile kernels cannot do: each gets one clear answer, and the pool and its other units go on.

use super::lab::{Lab, step_kernel, stepping, walker};
use sandbox::{CompileLimits, Config, Event, Failure, Finished, Limits, Outcome, Trouble, Unit};
use std::time::Duration;

fn good(lab: &Lab) -> Unit {
    lab.unit(stepping("(call $output_write (i32.const 0) (i32.const 3)) (i32.const 0)"))
}

fn trouble(finished: &Finished) -> &Trouble {
    match &finished.outcome {
        Outcome::Infrastructure { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn hostile_units_end_alone() {
    let lab = Lab::new();
    let slots = lab.slots(lab.config(2));
    let short = Limits { fuel: 100_000_000, ..good(&lab).limits };
    let endless = "(loop $again (br $again)) (i32.const 0)";
    let recursing = step_kernel(
        r#"(memory (export "memory") 1) (func (export "starling_start"))
        (func $down (param i64) (result i64) (i64.add (call $down (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
        (func (export "starling_step") (result i32) (i32.wrap_i64 (call $down (i64.const 1))))"#,
    );
    let hostile = [
        Unit { limits: short, ..lab.unit(stepping(endless)) },
        Unit { time: Duration::from_millis(300), ..lab.unit(stepping(endless)) },
        lab.unit(recursing),
        lab.unit(stepping("(call $output_write (i32.const 0) (i32.const 60000)) (i32.const 1)")),
        Unit {
            limits: short,
            ..lab.unit(stepping(
                "(call $log (i32.const 1) (i32.const 0) (i32.const 999)) (i32.const 1)",
            ))
        },
        lab.unit("(module (import \"env\" \"system\" (func (param i32))))"),
        lab.unit("no module at all"),
        lab.unit(&wat::parse_str(walker(1)).unwrap()[..300]),
        Unit { limits: Limits { memory: 1 << 16, ..short }, ..lab.unit(walker(1)) },
    ];
    for (id, unit) in (0..).zip(hostile) {
        slots.pool.submit(id, unit).unwrap();
        slots.pool.submit(100 + id, good(&lab)).unwrap();
    }
    let mut log = 0;
    let mut n_ended = 0;
    while n_ended < 18 {
        let (id, finished) = match slots.next() {
            (id, Event::Finished(finished)) => (id, finished),
            (4, Event::Log(line)) => {
                log += line.text.len();
                continue;
            }
            _ => continue,
        };
        n_ended += 1;
        match (id, &finished.outcome) {
            (0, Outcome::Failed { reason: Failure::FuelSpent, fuel: 100_000_000, trace: None })
            | (3, Outcome::Failed { reason: Failure::OutputTooLarge, .. })
            | (4, Outcome::Failed { reason: Failure::FuelSpent, .. })
            | (100.., Outcome::Done { .. }) => {}
            (1, _) => assert!(matches!(trouble(&finished), Trouble::Time(_)), "{finished:?}"),
            (2, _) => assert_eq!(*trouble(&finished), Trouble::StackOverflow),
            (5..=8, _) => {
                assert!(matches!(trouble(&finished), Trouble::Refused(_)), "{finished:?}")
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((1..=10_100).contains(&log), "{log} bytes of log came through");
}

#[test]
fn a_log_without_end_is_cut_and_changes_nothing() {
    let lab = Lab::new();
    let talker = stepping(
        "(local $i i32) (loop $again (call $log (i32.const 2) (i32.const 0) (i32.const 100))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const 1000))))
         (call $output_write (i32.const 0) (i32.const 16)) (i32.const 0)",
    );
    let mut silent = lab.unit(talker);
    let (loud, events) = lab.run(silent.clone());
    silent.limits.log = 0;
    assert_eq!(lab.run(silent).0.outcome, loud.outcome);
    let lines: Vec<_> = events.iter().filter(|event| matches!(event, Event::Log(_))).collect();
    assert_eq!(lines.len(), 100);
    assert!(matches!(lines[99], Event::Log(line) if line.text.contains("cut")));
}

#[test]
fn a_machine_without_memory_is_nobodys_result() {
    let lab = Lab::new();
    let grower = stepping("(drop (memory.grow (i32.const 40000))) (i32.const 0)");
    let mut unit = lab.unit(grower);
    unit.limits.memory = 4 << 30;
    // Of what the slot may have, most is for the engine: 2.4 GiB more are not there.
    let slots = lab.slots(Config { slot_memory: 1 << 20, ..lab.config(1) });
    slots.pool.submit(1, unit).unwrap();
    slots.pool.submit(2, good(&lab)).unwrap();
    let (_, first) = slots.finished();
    assert!(matches!(trouble(&first), Trouble::OutOfMemory(_)), "{first:?}");
    assert!(matches!(slots.finished().1.outcome, Outcome::Done { .. }));
}

/// Just within what is admissible: deep nests of loops over many locals, in many functions.
fn bomb() -> String {
    let mut text =
        String::from("(memory (export \"memory\") 1) (func (export \"starling_start\"))");
    text.push_str("(func (export \"starling_step\") (result i32) (i32.const 0))");
    for function in 0..32 {
        text.push_str(&format!("(func $f{function} (param i32) (local {})", "i64 ".repeat(95)));
        for depth in 0..95 {
            text.push_str(&format!(
                "(local.set {a} (i64.mul (i64.add (local.get {a}) (local.get {b})) (local.get {c}))) (loop $l{depth} ",
                a = 1 + depth % 95,
                b = 1 + (depth * 7 + 3) % 95,
                c = 1 + (depth * 31 + 11) % 95,
            ));
        }
        for depth in (0..95).rev() {
            text.push_str(&format!("(br_if $l{depth} (local.get 0)))"));
        }
        text.push(')');
    }
    step_kernel(&text)
}

#[test]
fn a_compilation_has_limits() {
    let lab = Lab::new();
    let limited = |limits: CompileLimits| {
        let slots = lab.slots(Config { compile: limits, ..lab.config(1) });
        slots.pool.submit(1, lab.unit(bomb())).unwrap();
        slots.pool.submit(2, lab.unit(bomb())).unwrap();
        let (first, second) = (slots.finished().1, slots.finished().1);
        assert_eq!(first.outcome, second.outcome, "and is not tried again for each unit");
        match trouble(&first) {
            Trouble::CompileLimit(reason) => reason.clone(),
            other => panic!("{other:?}"),
        }
    };
    let usual = CompileLimits::default();
    let time = limited(CompileLimits { cpu: Duration::from_secs(1), ..usual });
    assert!(time.contains("1 s of CPU time"), "{time}");
    let memory = limited(CompileLimits { memory: 64 << 20, ..usual });
    assert!(memory.contains("memory"), "{memory}");
    let wall = limited(CompileLimits { wall: Duration::from_millis(50), ..usual });
    assert!(wall.contains("longer than"), "{wall}");
}

#[test]
fn a_kernel_file_with_other_bytes_is_not_compiled() {
    let lab = Lab::new();
    let unit = good(&lab);
    std::fs::write(&unit.kernel.path, "(module)").unwrap();
    let finished = lab.run(unit).0;
    assert!(
        matches!(trouble(&finished), Trouble::Machine(reason) if reason.contains("digest")),
        "{finished:?}"
    );
}

#[test]
fn a_damaged_compilation_is_made_anew() {
    let lab = Lab::new();
    let want = lab.run(good(&lab)).0.outcome;
    assert!(matches!(want, Outcome::Done { .. }));
    let compiled = || {
        let files =
            std::fs::read_dir(lab.path("cache")).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|suffix| suffix == "kernel"))
            .collect::<Vec<_>>()
    };
    let [file] = &compiled()[..] else { panic!() };
    let whole = std::fs::read(file).unwrap();
    for damage in [whole[..whole.len() / 2].to_vec(), Vec::new(), vec![0; 1000], {
        let mut flipped = whole.clone();
        let last = flipped.len() - 5;
        flipped[last] ^= 1;
        flipped
    }] {
        std::fs::write(file, &damage).unwrap();
        assert_eq!(lab.run(good(&lab)).0.outcome, want);
        assert_eq!(std::fs::read(file).unwrap().len(), whole.len());
    }
    // And when it goes while the pool lives, before the child has loaded it.
    let slots = lab.slots(lab.config(2));
    slots.pool.submit(1, good(&lab)).unwrap();
    assert_eq!(slots.finished().1.outcome, want);
    lab.signal("-KILL");
    std::fs::write(file, b"gone").unwrap();
    for id in 2..6 {
        slots.pool.submit(id, good(&lab)).unwrap();
    }
    for _ in 2..6 {
        let finished = slots.finished().1;
        // The unit that met the killed child may have been lost with it.
        assert!(
            finished.outcome == want || matches!(trouble(&finished), Trouble::Killed(_)),
            "{finished:?}"
        );
    }
    // Another directory has another secret: what was compiled here is foreign there.
    let other = Lab::new();
    std::fs::create_dir(other.path("cache")).unwrap();
    std::fs::copy(file, other.path("cache").join(file.file_name().unwrap())).unwrap();
    assert_eq!(other.run(good(&other)).0.outcome, want);
    assert_eq!(std::fs::read_dir(other.path("cache")).unwrap().count(), 3);
}

#[test]
fn bounds_are_told_at_submission() {
    let lab = Lab::new();
    let slots = lab.slots(lab.config(1));
    let unit = good(&lab);
    let over = [
        Unit { params: vec![b' '; (1 << 20) + 1], ..unit.clone() },
        Unit { limits: Limits { output: 1 << 40, ..unit.limits }, ..unit.clone() },
        Unit { limits: Limits { fuel: u64::MAX, ..unit.limits }, ..unit.clone() },
        Unit { inputs: vec![sandbox::Input::default(); 5000], ..unit },
    ];
    for unit in over {
        let error = slots.pool.submit(1, unit).unwrap_err().to_string();
        assert!(error.contains("at most"), "{error}");
    }
}
