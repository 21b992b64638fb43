//! The exact bytes of prepared modules: a change here is a new version of the contract.

use kernel::{Contract, NanMode, prepare};

/// A kernel with everything that the passes touch.
const KERNEL: &str = r#"(module
    (import "starling" "params_len" (func $len (result i32)))
    (memory (export "memory") 1 4)
    (table 1 funcref) (elem (i32.const 0) $float)
    (global $seed (mut i64) (i64.const 1)) (global $x (mut f64) (f64.const 0))
    (data (i32.const 16) "golden")
    (type $t (func (param f64) (result f64)))
    (func $float (type $t) (f64.div (local.get 0) (f64.const 3)))
    (func $two (param $n i32) (result i32 f32)
        (loop $l
            (if (i32.eqz (local.get $n)) (then (return (i32.const 1) (f32.const 2))))
            (memory.fill (i32.const 64) (i32.const 1) (local.get $n))
            (global.set $x (call_indirect (type $t) (global.get $x) (i32.const 0)))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br $l))
        (unreachable))
    (func (export "starling_abi_1"))
    (func (export "starling_start") (local $v v128) (local $f f32)
        (call $two (call $len)) (local.set $f) (drop)
        (f32.store (i32.const 0) (f32.add (local.get $f) (local.get $f)))
        (local.set $v (f32x4.mul (f32x4.splat (local.get $f)) (v128.load (i32.const 0))))
        (local.set $v (f32x4.sub (local.get $v) (local.get $v)))
        (v128.store (i32.const 32) (f32x4.add (local.get $v) (local.get $v))))
    (func (export "starling_step") (result i32) (i32.const 0)))"#;

fn check(contract: Contract, nan: NanMode, digest: &str) {
    let wasm = prepare(&wat::parse_str(KERNEL).unwrap(), nan, contract).unwrap().wasm;
    assert_eq!(blake3::hash(&wasm).to_hex().as_str(), digest, "{nan:?}: {} bytes", wasm.len());
}

#[test]
fn the_bytes_of_prepared_modules_are_pinned() {
    let check_1 = |nan, digest| check(Contract::One, nan, digest);
    check_1(NanMode::Unchecked, "00cc7916d4b07af4c760f923889b1b1dd49b2cad8d44791fffe590e99330a7b5");
    check_1(NanMode::Canonical, "9a0eda1a521ed810dd798cf4c4e41df142a95a99fa84fb8651c95f22e4ab2ce0");
    let check_2 = |nan, digest| check(Contract::Two, nan, digest);
    check_2(NanMode::Unchecked, "f810cd8cee9b5b5fc3418e030540f2868d09094cc0a45b882396fc00fbbf8b4b");
    check_2(NanMode::Canonical, "c42a9ab5757370e8b479f4dda8ba911da47c73cd68dc44a1b842a4cc286aa37d");
}
