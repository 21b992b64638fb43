//! Modules that are no kernels: each gets its refusal, quickly, and says what is wrong.

use kernel::{Contract, Kind, NanMode, Refusal, inspect, limits, prepare};

const STEP: &str = r#"(func (export "starling_abi_1")) (func (export "starling_start"))
    (func (export "starling_step") (result i32) (i32.const 0))"#;
const MEMORY: &str = r#"(memory (export "memory") 1)"#;

fn refusal(wasm: &[u8]) -> Refusal {
    let refusal = prepare(wasm, NanMode::Canonical, Contract::NEWEST).unwrap_err();
    assert_eq!(inspect(wasm).unwrap_err(), refusal);
    refusal
}

/// Checks that a module in text is refused, with a message that holds `expected`.
fn check(text: &str, expected: &str) {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let message = refusal(&wasm).to_string();
    assert!(message.contains(expected), "{message}");
}

fn check_step(rest: &str, expected: &str) {
    // Imports must come first.
    let (imports, rest) = if rest.starts_with("(import") { (rest, "") } else { ("", rest) };
    check(&format!("(module {imports} {MEMORY} {STEP} {rest})"), expected);
}

#[test]
fn what_is_no_module_is_refused() {
    for bytes in
        [&b""[..], b"\0asm", b"#!/bin/sh\n", b"\0asm\x02\0\0\0", b"\0asm\x0d\0\x01\0", &[0; 1000]]
    {
        assert!(matches!(refusal(bytes), Refusal::Invalid { .. }), "{bytes:?}");
    }
    let wasm = wat::parse_str(format!("(module {MEMORY} {STEP})")).unwrap();
    assert!(prepare(&wasm, NanMode::Canonical, Contract::NEWEST).is_ok());
    for len in 0..wasm.len() {
        assert!(
            prepare(&wasm[..len], NanMode::Canonical, Contract::NEWEST).is_err(),
            "truncated at {len}"
        );
    }
}

#[test]
fn imports_and_exports_must_be_those_of_the_abi() {
    check("(module)", "neither a step kernel");
    check(&format!("(module {STEP})"), "export memory is missing");
    check(
        &format!(r#"(module (func (export "memory")) {STEP})"#),
        "export memory is something else",
    );
    check(
        &format!(r#"(module {MEMORY} (func (export "starling_abi_1")))"#),
        "export starling_start is missing; it must be () -> ()",
    );
    check(
        &format!(
            r#"(module {MEMORY} (func (export "starling_abi_1")) (func (export "starling_start"))
            (func (export "starling_step") (result i64) (i64.const 0)))"#
        ),
        "export starling_step is () -> (i64), but must be () -> (i32)",
    );
    check_step(
        r#"(import "starling" "clock" (func))"#,
        "import starling.clock is not in the ABI; a kernel of this kind may import params_len,",
    );
    check_step(
        r#"(import "starling" "log" (func (param i32)))"#,
        "import starling.log is (i32) -> (), but must be (i32, i32, i32) -> ()",
    );
    check_step(
        r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#,
        "not in the ABI",
    );
    check_step(r#"(import "env" "memory" (memory 1))"#, "");
    check_step(r#"(import "starling" "log" (global i32))"#, "an import that is no function");
    check(
        &format!(
            r#"(module (import "wasi_snapshot_preview1" "sock_send" (func (param i32 i32 i32 i32 i32) (result i32)))
            {MEMORY} (func (export "_start")))"#
        ),
        "not in the ABI",
    );
    check_step(r#"(func (export "starling:fuel"))"#, "reserved");
    check_step(r#"(global (export "starling:x") i32 (i32.const 0))"#, "reserved");
}

#[test]
fn what_would_break_determinism_or_snapshots_is_refused() {
    check_step("(func $f) (start $f)", "a start function is not admissible");
    check_step("(data $d \"x\") (func $f (data.drop $d))", "data.drop is not admissible");
    check_step("(table 1 funcref) (elem $e func 0) (func $f (elem.drop $e))", "elem.drop");
    check_step(
        "(table 1 funcref) (elem $e func 0) (func $f (table.init $e (i32.const 0) (i32.const 0) (i32.const 0)))",
        "table.init is not admissible",
    );
    check_step(
        "(table 1 funcref) (func $named (table.copy (i32.const 0) (i32.const 0) (i32.const 0)))",
        "in function 3 (named)",
    );
    for text in [
        "(table 1 funcref) (func (table.set (i32.const 0) (ref.null func)))",
        "(table 1 funcref) (func (drop (table.grow (ref.null func) (i32.const 1))))",
        "(global (mut funcref) (ref.null func))",
        "(memory 1)",
        "(func (param f32x4))",
        "(func (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i64x2 0 0))))",
        "(func (drop (i32.atomic.load (i32.const 0))))",
        "(func $f (return_call $f))",
        "(tag)",
        "(type (struct))",
        "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
        "(func (param externref))",
    ] {
        let text = text.replace("(func (param f32x4))", "(func (param (ref null func)))");
        check_step(&text, "not WebAssembly with the features that a kernel may use");
    }
    for memory in ["(memory (export \"memory\") i64 1)", "(memory (export \"memory\") 1 2 shared)"]
    {
        check(&format!("(module {memory} {STEP})"), "not WebAssembly with the features");
    }
    check_step("(data (i32.const 65535) \"ab\")", "data segment 0 ends at 65537, beyond the 65536");
    check_step("(data (i32.const -1) \"ab\")", "data segment 0");
    check_step(
        "(table 1 funcref) (elem (i32.const 1) 0)",
        "element segment 0 ends at 2, beyond the 1",
    );
}

#[test]
fn every_limit_holds() {
    let repeat = |text: &str, n: u64| text.repeat(usize::try_from(n).unwrap());
    let over = |text: &str, max: u64| repeat(text, max + 1);
    check_step(&over("(func)", limits::FUNCTIONS_MAX), "functions: 20004, but at most 20000");
    check_step(&over("(global i32 (i32.const 0))", limits::GLOBALS_MAX), "globals: 10001");
    check_step(&over("(data (i32.const 0) \"\")", limits::SEGMENTS_MAX), "data segments: 10001");
    check_step(
        &format!("(func (param {}))", over("i32 ", limits::ARITY_MAX)),
        "parameters or results",
    );
    check_step(&format!("(func (local {}))", over("i32 ", limits::LOCALS_MAX)), "locals: 5001");
    check_step(
        &repeat(&format!("(func (local {}))", repeat("i32 ", 4_000)), 126),
        "locals of all functions: 504000",
    );
    check_step(&format!("(func {})", over("nop ", limits::BODY_BYTES_MAX)), "bytes of the body");
    let (open, close) = (over("(block ", limits::NESTING_MAX), over(")", limits::NESTING_MAX));
    check_step(&format!("(func {open}{close})"), "nesting of blocks: 201, but at most 200");
    check_step("(table 100000 funcref)", "elements of the table");
    check_step(
        &format!("(data \"{}\")", over("x", limits::MODULE_BYTES_MAX)),
        "bytes of the module",
    );
}

/// 12 KB that took a compiler over 43 s: nested loops, each with all locals live.
#[test]
fn compile_bombs_are_refused() {
    let locals = "i32 ".repeat(1000);
    let bomb = |n: usize| {
        let (open, close) = ("(loop ".repeat(n), ")".repeat(n));
        format!("(func (local {locals}) {open} (local.set 0 (local.get 999)) {close})")
    };
    check_step(&bomb(150), "loops times locals: 150000, but at most 10000");
    let joins = "(if (local.get 0) (then (local.set 1 (local.get 0))))".repeat(3000);
    check_step(&format!("(func (local {locals}) {joins})"), "joins times locals: 3001000");
    let many = format!("(func (local {}) {})", "i32 ".repeat(100), "(loop)".repeat(90)).repeat(200);
    check_step(&many, "loops times locals of all functions: 306000");
    let few = "i32 ".repeat(100);
    let many = format!("(func (local {few}) {})", "(block)".repeat(1000)).repeat(60);
    check_step(&many, "joins times locals of all functions: 5005000");
    let targets = "0 ".repeat(60_002);
    check_step(&format!("(func (br_table {targets} (i32.const 0)))"), "targets of a br_table: ");
}

#[test]
fn lies_about_sizes_cost_nothing() {
    // A vector of four billion in each section, with no bytes behind it.
    for id in 1..=12u8 {
        let wasm = [b"\0asm\x01\0\0\0", &[id, 5, 0xff, 0xff, 0xff, 0xff, 0x0f][..]].concat();
        refusal(&wasm);
    }
    // A body with four billion locals.
    let code = [1, 8, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x7f, 0x0b];
    let wasm = [b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x0a", &code[..]].concat();
    assert!(matches!(refusal(&wasm), Refusal::InvalidCode { .. }));
}

#[test]
fn a_million_functions_are_refused_before_they_are_read() {
    let n = 1_000_000u32;
    let leb = |value: u32| {
        let byte = |shift: u32| (value >> shift).to_le_bytes()[0] & 0x7f;
        [byte(0) | 0x80, byte(7) | 0x80, byte(14)]
    };
    let mut wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03".to_vec();
    wasm.extend(leb(n + 3));
    wasm.extend(leb(n));
    wasm.extend(vec![0; 1_000_000]);
    assert_eq!(
        refusal(&wasm),
        Refusal::Limit {
            what: "functions",
            value: 1_000_000,
            max: limits::FUNCTIONS_MAX,
            place: None
        }
    );
}

#[test]
fn a_summary_says_what_a_kernel_is() {
    let wasm = wat::parse_str(format!(
        r#"(module (import "starling" "log" (func (param i32 i32 i32)))
        (memory (export "memory") 2 9) {STEP}
        (func (local i32 v128) (loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 1)))
            (local.set 1 (f32x4.add (local.get 1) (local.get 1)))))"#
    ))
    .unwrap();
    let summary = inspect(&wasm).unwrap();
    assert_eq!(summary.kind, Kind::Step);
    assert_eq!(summary.imports[0].name, "log");
    assert_eq!(summary.exports, ["memory", "starling_abi_1", "starling_start", "starling_step"]);
    assert_eq!((summary.memory_min_pages, summary.memory_max_pages), (2, Some(9)));
    assert_eq!(summary.functions, 4);
    assert_eq!(summary.features, ["bulk_memory", "mvp", "simd"]);
    let limit = |what| summary.limits.iter().find(|limit| limit.what == what).unwrap().value;
    assert_eq!(limit("loops times locals"), 2);
    assert_eq!(limit("functions"), 5);
    assert!(summary.limits.iter().all(|limit| limit.value <= limit.max));

    let command = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (memory (export "memory") 1) (func (export "_start")))"#;
    assert_eq!(inspect(&wat::parse_str(command).unwrap()).unwrap().kind, Kind::Wasi);
}
