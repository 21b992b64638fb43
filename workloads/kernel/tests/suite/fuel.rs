//! Fuel: what is charged, alike on every engine, and that it stops exactly.

use crate::checks::exact_stop;
use crate::engines::{Call, Kind, run};
use kernel::{Contract, NanMode, Prepared, prepare};

const CALLS: &[&str] = &["starling_start", "starling_step"];

fn kernel(body: &str, contract: Contract) -> Prepared {
    let text = format!(
        r#"(module
        (import "starling" "params_len" (func $params_len (result i32)))
        (memory (export "memory") 1 3)
        (table 2 funcref) (elem (i32.const 0) $leaf $looping)
        (global $g (mut i32) (i32.const 0))
        (type $t (func (param i32) (result i32)))
        (data $passive "0123456789abcdef0123456789abcdef")
        (func $leaf (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
        (func $looping (param i32) (result i32) (local $sum i32)
            (loop $l
                (local.set $sum (call $leaf (local.get $sum)))
                (br_if $l (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
            (local.get $sum))
        (func $pair (param i32) (result i32 i64)
            (loop $l
                (if (i32.eq (local.get 0) (i32.const 3)) (then (return (i32.const 1) (i64.const 2))))
                (br_if 1 (i32.const 7) (i64.const 8) (i32.eqz (local.get 0))) (drop) (drop)
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (br $l))
            (unreachable))
        (func $deep (param i32)
            (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1))))))
        (func (export "starling_abi_1"))
        {body})"#
    );
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
    prepare(&wasm, NanMode::Canonical, contract).unwrap()
}

fn spent(prepared: &Prepared) -> i64 {
    let budget = 1 << 40;
    let run = |kind| run(kind, &prepared.wasm, Some(&prepared.layout), budget, CALLS).unwrap();
    let left = run(Kind::Cranelift);
    for kind in [Kind::CanonicalCranelift, Kind::Winch, Kind::Pulley] {
        assert_eq!(run(kind), left, "{kind:?}");
    }
    assert_eq!(
        crate::interpreter::run(&prepared.wasm, Some(&prepared.layout), budget, CALLS),
        left,
        "wasmi"
    );
    budget - left.fuel.unwrap()
}

/// Fuel that both contracts charge alike.
fn check(body: &str, fuel: i64) {
    check_each(body, fuel, fuel);
}

/// Fuel by contract 1 and by contract 2.
fn check_each(body: &str, first: i64, second: i64) {
    for (contract, fuel) in [(Contract::One, first), (Contract::Two, second)] {
        let prepared = kernel(body, contract);
        assert_eq!(spent(&prepared), fuel, "{contract:?}: {body}");
        assert!(exact_stop(&prepared, CALLS, 40));
    }
}

/// One `starling_step` that does nothing costs its constant and its end.
const STEP: &str = r#"(func (export "starling_step") (result i32) (i32.const 0))"#;
const STEP_FUEL: i64 = 2;

#[test]
fn each_operator_costs_one() {
    check(&format!(r#"(func (export "starling_start")) {STEP}"#), 1 + STEP_FUEL);
    check(
        &format!(r#"(func (export "starling_start") nop (drop (i32.const 1))) {STEP}"#),
        4 + STEP_FUEL,
    );
    // Both arms of an `if` are charged, whichever is taken.
    let body = "(if (i32.const 1) (then nop) (else nop nop nop))";
    check(&format!(r#"(func (export "starling_start") {body}) {STEP}"#), 9 + STEP_FUEL);
}

#[test]
fn each_turn_of_a_loop_costs_its_operators() {
    let body = "(local $n i32) (local.set $n (i32.const 10)) (loop $l
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))";
    // Outside: const, set, loop, end. Each turn: get, const, sub, tee, br_if, end.
    check(&format!(r#"(func (export "starling_start") {body}) {STEP}"#), 4 + 10 * 6 + STEP_FUEL);
    let nested = "(local $i i32) (local $j i32) (local.set $i (i32.const 4)) (loop $outer
        (local.set $j (i32.const 5))
        (loop $inner (br_if $inner (local.tee $j (i32.sub (local.get $j) (i32.const 1)))))
        (br_if $outer (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))";
    let fuel = 4 + 4 * (9 + 5 * 6) + STEP_FUEL;
    check(&format!(r#"(func (export "starling_start") {nested}) {STEP}"#), fuel);
}

#[test]
fn calls_cost_what_they_call() {
    // start: const, call, drop, end; looping: loop, get, end, and in each turn 10; leaf: 4 each time.
    let direct = "(drop (call $looping (i32.const 6)))";
    check(
        &format!(r#"(func (export "starling_start") {direct}) {STEP}"#),
        4 + 3 + 6 * (9 + 4) + STEP_FUEL,
    );
    let indirect = "(drop (call_indirect (type $t) (i32.const 6) (i32.const 1)))";
    check(
        &format!(r#"(func (export "starling_start") {indirect}) {STEP}"#),
        5 + 3 + 6 * 13 + STEP_FUEL,
    );
    let host = "(drop (call $params_len))";
    check(&format!(r#"(func (export "starling_start") {host}) {STEP}"#), 3 + STEP_FUEL);
    // deep: get, if, get, const, sub, call, end, end.
    let deep = "(call $deep (i32.const 9))";
    check(&format!(r#"(func (export "starling_start") {deep}) {STEP}"#), 3 + 10 * 8 + STEP_FUEL);
}

#[test]
fn every_way_out_of_a_function_keeps_the_count() {
    // pair: loop, unreachable, end; a turn has 21 operators, of which two ends cannot be reached.
    for (argument, turns) in [(7, 5_i64), (3, 1), (2, 3)] {
        let body = format!(
            "(local $a i32) (local $b i64) (call $pair (i32.const {argument}))
             (local.set $b) (local.set $a)"
        );
        let fuel = |turn: i64| 5 + 2 + turns * turn + STEP_FUEL;
        let start = format!(r#"(func (export "starling_start") {body}) {STEP}"#);
        check_each(&start, fuel(21) + 1, fuel(19));
    }
    // A branch by table to the function's own label.
    let body = "(loop $l (br_table 1 0 (i32.const 0)))";
    let start = format!(r#"(func (export "starling_start") {body}) {STEP}"#);
    check_each(&start, 2 + 3 + STEP_FUEL, 2 + 2 + STEP_FUEL);
}

/// `n` operators that do nothing.
fn nops(n: usize) -> String {
    "nop ".repeat(n)
}

/// What `starling_start` is charged by contract 1 and by contract 2, without its own end.
fn check_start(body: &str, first: i64, second: i64) {
    let start = format!(r#"(func (export "starling_start") {body}) {STEP}"#);
    check_each(&start, first + 1 + STEP_FUEL, second + 1 + STEP_FUEL);
}

#[test]
fn what_cannot_be_reached_costs_nothing_by_contract_2() {
    check_start(&format!("(block (br 0) {})", nops(9)), 3 + 9, 2);
    check_start(
        &format!("(block (block (br_table 0 1 (i32.const 0)) (loop {} (br 0))))", nops(9)),
        7,
        4 + 1,
    );
    check_start(&format!("(block (return) {})", nops(200)), 203, 2);
}

#[test]
fn large_arms_cost_when_they_are_taken_by_contract_2() {
    for taken in [0, 1] {
        // Each arm with the `else` or `end` that closes it; the second is small enough to be charged always.
        let body = format!("(if (i32.const {taken}) (then {}) (else {}))", nops(70), nops(10));
        check_start(&body, 2 + 71 + 11, 2 + taken * 71 + 11);
        // What is small enough alone is not together: 41 and 21 are within 64, 31 more are not.
        let body = format!(
            "(if (i32.const {taken}) (then {}) (else {})) (if (i32.const {taken}) (then {}))",
            nops(40),
            nops(20),
            nops(30)
        );
        check_start(&body, 4 + 41 + 21 + 31, 4 + 41 + 21 + taken * 31);
        // At the edge.
        for (n, charged) in [(63, 64), (64, taken * 65)] {
            let body = format!("(if (i32.const {taken}) (then {}))", nops(n));
            check_start(&body, 3 + i64::try_from(n).unwrap(), 2 + charged);
        }
    }
}

#[test]
fn what_a_branch_leaves_out_costs_when_it_is_reached_by_contract_2() {
    for skips in [0, 1] {
        // The rest of the block that is left, with its end.
        let body = format!("(block (br_if 0 (i32.const {skips})) {})", nops(100));
        check_start(&body, 3 + 101, 3 + (1 - skips) * 101);
        // And what follows the blocks in between.
        let body =
            format!("(block (block (br_if 1 (i32.const {skips})) {}) {})", nops(100), nops(200));
        check_start(&body, 4 + 101 + 201, 4 + (1 - skips) * (101 + 201));
        // Not so where the block that is left is followed by `unreachable`, which ends everything.
        let body = format!(
            "(block $done (block $panic (br_if $panic (i32.const 0)) {} (br $done)) (unreachable))",
            nops(100)
        );
        check_start(&body, 2 + 2 + 100 + 1 + 1 + 1 + 1, 2 + 2 + 100 + 1 + 1);
    }
    // One case of a switch out of three.
    for (case, fuel) in [(0, 81 + 91), (1, 91), (2, 0)] {
        let (first, second) = (nops(80), nops(90));
        let body =
            format!("(block (block (block (br_table 0 1 2 (i32.const {case}))) {first}) {second})");
        check_start(&body, 6 + 81 + 91, 5 + fuel);
    }
    // A loop that is left in the middle.
    let body = format!(
        "(local $n i32) (loop $l {0} (local.tee $n (i32.add (local.get $n) (i32.const 1)))
            (if (i32.lt_u (i32.const 5)) (then {0} (br $l))))",
        nops(80)
    );
    check_start(&body, 1 + 5 * (87 + 82 + 1), 1 + 5 * 88 + 4 * 81);
}

#[test]
fn a_loop_that_nothing_repeats_costs_with_what_is_around_it_by_contract_2() {
    check_start(&format!("(loop {})", nops(30)), 1 + 31, 1 + 31);
    check_start(&format!("(if (i32.const 0) (then (loop {})))", nops(80)), 4, 2);
    check_start(&format!("(if (i32.const 0) (then (loop {})))", nops(10)), 4, 2 + 2 + 11);
}

#[test]
fn charges_of_every_size_are_exact() {
    for n in (0..240).chain([3_000]) {
        let prepared = kernel(
            &format!(r#"(func (export "starling_start") (loop $l {})) {STEP}"#, nops(n)),
            Contract::Two,
        );
        let left =
            run(Kind::Cranelift, &prepared.wasm, Some(&prepared.layout), 5_000, CALLS).unwrap();
        assert_eq!(left.fuel, Some(4_997 - i64::try_from(n).unwrap() - STEP_FUEL));
    }
}

#[test]
fn bulk_memory_costs_by_length() {
    for operators in [
        "(memory.fill (i32.const 0) (i32.const 7) (i32.const 1000))",
        "(memory.copy (i32.const 10) (i32.const 0) (i32.const 1000))",
    ] {
        let fuel = 5 + 1000 / 16 + STEP_FUEL;
        check(&format!(r#"(func (export "starling_start") {operators}) {STEP}"#), fuel);
        let in_loop = format!("(loop $l {operators})");
        let fuel = 2 + 5 + 1000 / 16 + STEP_FUEL;
        check(&format!(r#"(func (export "starling_start") {in_loop}) {STEP}"#), fuel);
    }
    let init = "(memory.init $passive (i32.const 0) (i32.const 0) (i32.const 32))";
    check(&format!(r#"(func (export "starling_start") {init}) {STEP}"#), 5 + 2 + STEP_FUEL);
}

#[test]
fn a_kernel_that_loops_for_ever_is_stopped() {
    let prepared = kernel(
        &format!(r#"(func (export "starling_start") (loop $l (br $l))) {STEP}"#),
        Contract::NEWEST,
    );
    for kind in [Kind::Cranelift, Kind::Winch, Kind::Pulley] {
        let left = run(kind, &prepared.wasm, Some(&prepared.layout), 100_001, CALLS).unwrap();
        assert_eq!(left.calls, [Call::Spent]);
        assert_eq!(left.fuel, Some(-1), "entry 3, each turn 2");
    }
}

#[test]
fn a_trap_of_the_kernel_is_not_taken_for_the_budget() {
    for (body, trap) in [
        ("(unreachable)", "UnreachableCodeReached"),
        ("(loop (unreachable))", "UnreachableCodeReached"),
        ("(drop (i32.div_u (i32.const 1) (global.get $g)))", "IntegerDivisionByZero"),
        ("(loop (memory.fill (i32.const -1) (i32.const 0) (i32.const 2)))", "MemoryOutOfBounds"),
    ] {
        let prepared =
            kernel(&format!(r#"(func (export "starling_start") {body}) {STEP}"#), Contract::NEWEST);
        for kind in [Kind::Cranelift, Kind::Winch, Kind::Pulley] {
            let left = run(kind, &prepared.wasm, Some(&prepared.layout), 1000, CALLS).unwrap();
            assert_eq!(left.calls, [Call::Trapped(trap.into())], "{kind:?}");
            assert!(0 <= left.fuel.unwrap());
        }
    }
}
