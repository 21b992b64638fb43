//! What honest units come to.

use super::lab::{Lab, logged, step_kernel, stepping};
use kernel::Contract;
use sandbox::{Event, Failure, Input, Limits, Outcome, Segment, Unit};

/// Echoes parameters and inputs in pieces, and speaks.
fn echo() -> String {
    step_kernel(
        r#"(memory (export "memory") 1)
        (data (i32.const 0) "a line")
        (global $input (mut i32) (i32.const 0)) (global $at (mut i64) (i64.const 0))
        (func (export "starling_start")
          (call $log (i32.const 3) (i32.const 0) (i32.const 6))
          (call $progress (i64.const 3) (i64.const 4))
          (call $output_write (i32.const 100) (call $params_read (i32.const 0) (i32.const 100) (call $params_len))))
        (func (export "starling_step") (result i32) (local $n i32)
          (if (i32.eq (global.get $input) (call $input_count)) (then (return (i32.const 0))))
          (local.set $n (call $input_read (global.get $input) (global.get $at) (i32.const 1000) (i32.const 777)))
          (call $output_write (i32.const 1000) (local.get $n))
          (global.set $at (i64.add (global.get $at) (i64.extend_i32_u (local.get $n))))
          (if (i64.eq (global.get $at) (call $input_len (global.get $input)))
            (then (global.set $at (i64.const 0)) (global.set $input (i32.add (global.get $input) (i32.const 1)))))
          (i32.const 1))"#,
    )
}

#[test]
fn a_kernel_sees_its_parameters_and_inputs_and_is_heard() {
    let lab = Lab::new();
    let (path, digest) = lab.file(&(0..200_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    let all = std::fs::read(&path).unwrap();
    let segment = |offset: usize, len: usize| Segment {
        path: path.clone(),
        digest,
        offset: offset as u64,
        len: len as u64,
    };
    let mut unit = lab.unit(echo());
    unit.params = br#"{"p":{"first":1,"end":2}}"#.to_vec();
    unit.inputs = vec![
        Input { segments: vec![segment(5, 1000), segment(150_000, 50_000)] },
        lab.input(b"second"),
    ];
    let mut want = unit.params.clone();
    want.extend_from_slice(&all[5..1005]);
    want.extend_from_slice(&all[150_000..]);
    want.extend_from_slice(b"second");
    let (finished, events) = lab.run(unit);
    let Outcome::Done { output, fuel, .. } = finished.outcome else { panic!("{finished:?}") };
    assert!(output == want);
    assert!(want.len() as u64 / 8 < fuel, "moving bytes costs fuel: {fuel}");
    assert!(logged(&events, 3, "a line"));
    assert!(events.iter().any(|event| matches!(event, Event::Progress { done: 3, total: 4, .. })));
}

#[test]
fn the_same_unit_burns_the_same_fuel_in_any_child() {
    let lab = Lab::new();
    let mut unit = lab.unit(echo());
    unit.inputs = vec![lab.input(&[9; 5000])];
    let first = lab.run(unit.clone()).0.outcome;
    assert!(matches!(first, Outcome::Done { .. }));
    assert_eq!(lab.run(unit).0.outcome, first);
}

fn failure(lab: &Lab, unit: Unit) -> (Failure, u64) {
    match lab.run(unit).0.outcome {
        Outcome::Failed { reason, fuel, .. } => (reason, fuel),
        other => panic!("{other:?}"),
    }
}

#[test]
fn failures_have_names() {
    let lab = Lab::new();
    let check = |body: &str, want: Failure| {
        assert_eq!(failure(&lab, lab.unit(stepping(body))).0, want, "{body}")
    };
    check("unreachable", Failure::Unreachable);
    check("(i32.load (i32.const 65533))", Failure::OutOfBounds);
    check(
        "(call $output_write (i32.const 65530) (i32.const 7)) (i32.const 0)",
        Failure::OutOfBounds,
    );
    check("(call $params_read (i32.const 0) (i32.const -1) (i32.const 2))", Failure::OutOfBounds);
    check("(i32.div_u (i32.const 1) (call $input_count))", Failure::Division);
    check(
        "(i32.div_s (i32.const -2147483648) (i32.sub (call $input_count) (i32.const 1)))",
        Failure::Division,
    );
    check("(i32.trunc_f64_u (f64.const 1e300))", Failure::Division);
    check("(i32.trunc_f64_u (f64.const nan))", Failure::BadConversion);
    check("(i32.const 2)", Failure::BadStep(2));
    check("(i32.const -1)", Failure::BadStep(-1));
    let table = step_kernel(
        r#"(memory (export "memory") 1) (table 3 funcref) (elem (i32.const 0) $other)
        (func $other (param i64)) (func (export "starling_start"))
        (func (export "starling_step") (result i32) (call_indirect (result i32) (call $params_len)))"#,
    );
    for (params, want) in
        [("", Failure::BadCall), ("1", Failure::BadCall), ("123", Failure::OutOfBounds)]
    {
        let unit = Unit { params: params.into(), ..lab.unit(&table) };
        assert_eq!(failure(&lab, unit).0, want, "index {}", params.len());
    }
}

#[test]
fn limits_of_the_job_end_a_unit_at_the_same_place_everywhere() {
    let lab = Lab::new();
    let mut endless = lab.unit(stepping("(loop $again (br $again)) (i32.const 0)"));
    endless.limits.fuel = 12_345;
    assert_eq!(failure(&lab, endless), (Failure::FuelSpent, 12_345));

    let mut writer =
        lab.unit(stepping("(call $output_write (i32.const 0) (i32.const 1000)) (i32.const 1)"));
    writer.limits.output = 10_500;
    assert_eq!(failure(&lab, writer).0, Failure::OutputTooLarge);

    // Moving bytes spends the same budget.
    let mut mover = lab.unit(stepping("(drop (call $params_read (i32.const 0) (i32.const 0) (i32.const 9))) (call $log (i32.const 1) (i32.const 0) (i32.const 65536)) (i32.const 1)"));
    mover.limits.fuel = 100_000;
    assert_eq!(failure(&lab, mover), (Failure::FuelSpent, 100_000));

    // Growth is denied at the limit, and beyond what 32 bits address.
    let grower = stepping(
        "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
         (i32.store (i32.const 0) (memory.size))
         (i32.store (i32.const 4) (memory.grow (i32.const 70000)))
         (call $output_write (i32.const 0) (i32.const 8)) (i32.const 0)",
    );
    let mut unit = lab.unit(grower);
    unit.limits = Limits { memory: 10 * 65_536 + 5, ..unit.limits };
    let Outcome::Done { output, .. } = lab.run(unit).0.outcome else { panic!() };
    assert_eq!(output, [10, 0, 0, 0, 255, 255, 255, 255]);
}

#[test]
fn many_short_units_each_end_once_with_their_own_output() {
    let lab = Lab::new();
    let slots = lab.slots(lab.config(2));
    let unit = lab.unit(echo());
    let n_units = 5_000_u64;
    for id in 0..n_units {
        slots.pool.submit(id, Unit { params: format!("{id}").into(), ..unit.clone() }).unwrap();
    }
    let mut seen = vec![false; 5_000];
    for _ in 0..n_units {
        let (id, finished) = slots.finished();
        let Outcome::Done { output, .. } = finished.outcome else { panic!("{finished:?}") };
        assert_eq!(output, format!("{id}").as_bytes());
        assert!(!std::mem::replace(&mut seen[usize::try_from(id).unwrap()], true));
    }
    let status = slots.pool.status();
    assert_eq!((status.queued, status.paused), (0, false));
}

/// Each step jumps over 200 operators.
fn skipping() -> String {
    let nops = "nop ".repeat(200);
    step_kernel(&format!(
        r#"(memory (export "memory") 1) (global $n (mut i32) (i32.const 0))
        (func (export "starling_start"))
        (func (export "starling_step") (result i32)
          (block (br_if 0 (i32.const 1)) {nops})
          (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (i32.lt_u (global.get $n) (i32.const 10)))"#
    ))
}

#[test]
fn units_of_both_contracts_run_side_by_side_each_with_its_own_fuel() {
    let lab = Lab::new();
    let fuel = |contract| {
        let mut unit = lab.unit(skipping());
        unit.kernel.contract = contract;
        match lab.run(unit).0.outcome {
            Outcome::Done { fuel, .. } => fuel,
            other => panic!("{other:?}"),
        }
    };
    // The start has one operator; a step 12 and those that it jumps over, with the end behind them.
    for _ in 0..2 {
        assert_eq!(fuel(Contract::One), 1 + 10 * (11 + 201));
        assert_eq!(fuel(Contract::Two), 1 + 10 * 11);
    }
}

#[test]
fn a_state_of_one_contract_is_not_taken_for_one_of_the_other() {
    let lab = Lab::new();
    let mut unit = lab.unit(skipping());
    unit.kernel.contract = Contract::One;
    unit.snapshot = lab.snapshot();
    lab.run(unit.clone());
    unit.kernel.contract = Contract::Two;
    let Outcome::Done { fuel, .. } = lab.run(unit).0.outcome else { panic!("it did not end") };
    assert_eq!(fuel, 1 + 10 * 11);
}
