//! WASI commands: arguments, files, clock, randomness, exit codes.

use super::lab::{Lab, logged};
use sandbox::{Failure, Outcome, Unit};

/// A command around what it does at its start, with the imports that these tests use.
fn command(body: &str) -> String {
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $dir_name (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
          (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 2)
        (data (i32.const 60000) "1") (data (i32.const 60001) "../etc/passwd") (data (i32.const 60020) "an error\nrest")
        (func $say (param $fd i32) (param $ptr i32) (param $len i32)
          (i32.store (i32.const 0) (local.get $ptr)) (i32.store (i32.const 4) (local.get $len))
          (if (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable))))
        (func $expect (param $got i32) (param $want i32)
          (if (i32.ne (local.get $got) (local.get $want)) (then (unreachable))))
        (func (export "_start") {body}))"#
    )
}

fn output(lab: &Lab, unit: Unit) -> Vec<u8> {
    match lab.run(unit).0.outcome {
        Outcome::Done { output, .. } => output,
        other => panic!("{other:?}"),
    }
}

#[test]
fn parameters_are_arguments() {
    let lab = Lab::new();
    let mut unit = lab.unit(command(
        "(call $expect (call $args_sizes (i32.const 16) (i32.const 20)) (i32.const 0))
         (call $expect (call $args (i32.const 100) (i32.const 200)) (i32.const 0))
         (call $say (i32.const 1) (i32.const 200) (i32.load (i32.const 20)))
         (call $expect (i32.load (i32.const 100)) (i32.const 200))
         (call $expect (i32.load (i32.const 104)) (i32.const 207))",
    ));
    unit.params =
        br#"{"a":1.50,"big":123456789012345678901,"p":{"end":2,"first":1},"s":"bare \u00e9"}"#
            .to_vec();
    let want = "kernel\0a=1.50\0big=123456789012345678901\0p={\"end\":2,\"first\":1}\0s=bare é\0";
    assert_eq!(String::from_utf8(output(&lab, unit.clone())).unwrap(), want);
    unit.params = b"[1]".to_vec();
    assert!(matches!(lab.run(unit).0.outcome, Outcome::Infrastructure { .. }));
}

#[test]
fn inputs_are_files_and_nothing_else_is() {
    let lab = Lab::new();
    let mut unit = lab.unit(command(
        "(i32.store (i32.const 0) (i32.const 1000)) (i32.store (i32.const 4) (i32.const 5))
         (i32.store (i32.const 8) (i32.const 1005)) (i32.store (i32.const 12) (i32.const 100))
         (call $expect (call $read (i32.const 0) (i32.const 0) (i32.const 2) (i32.const 16)) (i32.const 0))
         (call $say (i32.const 1) (i32.const 1000) (i32.load (i32.const 16)))
         (call $expect (call $prestat (i32.const 3) (i32.const 16)) (i32.const 0))
         (call $expect (call $prestat (i32.const 4) (i32.const 16)) (i32.const 8))
         (call $expect (call $dir_name (i32.const 3) (i32.const 1000) (i32.load (i32.const 20))) (i32.const 0))
         (call $say (i32.const 1) (i32.const 1000) (i32.const 6))
         (call $expect (call $open (i32.const 3) (i32.const 0) (i32.const 60000) (i32.const 1) (i32.const 0)
           (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 24)) (i32.const 0))
         (call $expect (i32.load (i32.const 24)) (i32.const 4))
         (call $expect (call $seek (i32.const 4) (i64.const -3) (i32.const 2) (i32.const 32)) (i32.const 0))
         (i32.store (i32.const 0) (i32.const 1000)) (i32.store (i32.const 4) (i32.const 5))
         (call $expect (call $read (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 16)) (i32.const 0))
         (call $say (i32.const 1) (i32.const 1000) (i32.load (i32.const 16)))
         (call $expect (call $close (i32.const 4)) (i32.const 0))
         (call $expect (call $close (i32.const 4)) (i32.const 8))
         (call $expect (call $open (i32.const 3) (i32.const 0) (i32.const 60001) (i32.const 13) (i32.const 0)
           (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 24)) (i32.const 44))
         (call $expect (call $open (i32.const 3) (i32.const 0) (i32.const 60000) (i32.const 1) (i32.const 9)
           (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 24)) (i32.const 69))
         (call $expect (call $unlink (i32.const 3) (i32.const 60000) (i32.const 1)) (i32.const 52))
         (call $expect (call $seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 32)) (i32.const 70))",
    ));
    unit.inputs = vec![lab.input(b"standard input"), lab.input(b"the second")];
    assert_eq!(output(&lab, unit), b"standard input/inputond");
}

#[test]
fn clock_and_randomness_are_the_units_own() {
    let lab = Lab::new();
    let mut unit = lab.unit(command(
        "(call $expect (call $clock (i32.const 0) (i64.const 0) (i32.const 1000)) (i32.const 0))
         (call $expect (call $clock (i32.const 1) (i64.const 0) (i32.const 1008)) (i32.const 0))
         (call $expect (call $clock (i32.const 9) (i64.const 0) (i32.const 1008)) (i32.const 28))
         (call $expect (call $random (i32.const 1016) (i32.const 50)) (i32.const 0))
         (call $expect (call $poll (i32.const 2000) (i32.const 3000) (i32.const 2) (i32.const 16)) (i32.const 0))
         (call $expect (i32.load (i32.const 16)) (i32.const 2))
         (call $expect (call $poll (i32.const 2000) (i32.const 3000) (i32.const 0) (i32.const 16)) (i32.const 28))
         (call $say (i32.const 1) (i32.const 1000) (i32.const 66))",
    ));
    let first = output(&lab, unit.clone());
    assert_eq!(output(&lab, unit.clone()), first);
    let time = |at: usize| u64::from_le_bytes(first[at..at + 8].try_into().unwrap());
    assert!(
        (946_684_800_000_000_000..946_684_800_000_001_000).contains(&time(0)) && time(0) < time(8)
    );
    unit.seed = [1; 32];
    let other = output(&lab, unit);
    assert!(other[..16] == first[..16] && other[16..] != first[16..]);
}

#[test]
fn exit_codes_and_errors_are_told() {
    let lab = Lab::new();
    let end = |body: &str| lab.run(lab.unit(command(body)));
    let (finished, events) = end(
        "(call $say (i32.const 2) (i32.const 60020) (i32.const 13)) (call $exit (i32.const 3))",
    );
    assert!(matches!(finished.outcome, Outcome::Failed { reason: Failure::Exit(3), .. }));
    for line in ["an error", "rest"] {
        assert!(logged(&events, 2, line), "{events:?}");
    }
    let with = |body: &str, codes: &[i32]| {
        let mut unit = lab.unit(command(body));
        unit.exit_codes = codes.to_vec();
        lab.run(unit).0.outcome
    };
    let (ten, none) = ("(call $exit (i32.const 10))", "");
    assert!(matches!(with(ten, &[0, 10]), Outcome::Done { .. }));
    assert!(matches!(with(none, &[0, 10]), Outcome::Done { .. }));
    assert!(matches!(with(none, &[10]), Outcome::Failed { reason: Failure::Exit(0), .. }));
    assert!(matches!(
        end("(call $exit (i32.const 0)) unreachable").0.outcome,
        Outcome::Done { .. }
    ));
    assert!(matches!(
        end("(drop (call $write (i32.const 1) (i32.const 131068) (i32.const 1) (i32.const 8)))")
            .0
            .outcome,
        Outcome::Failed { reason: Failure::OutOfBounds, .. }
    ));
    assert!(matches!(
        end("(drop (call $random (i32.const 0) (i32.const 131073)))").0.outcome,
        Outcome::Failed { reason: Failure::OutOfBounds, .. }
    ));
}
