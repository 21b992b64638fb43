//! Every operator that makes NaNs, by every way that their bits become visible, against the engine's own
//! canonicalisation.

use crate::engines::{Kind, run};
use kernel::{Contract, NanMode, prepare};
use std::fmt::Write;

/// Operands: NaNs with payloads, signalling and negative ones, infinities, zeros, and two plain numbers.
const PAIRS: [(f64, f64); 9] = [
    (f64::from_bits(0xfff8_2345_6000_0000), 1.0),
    (1.0, f64::from_bits(0x7ff4_0000_2000_0001)),
    (f64::from_bits(0x7ff8_0000_0000_0000), f64::from_bits(0xfff8_0000_4000_0000)),
    (f64::INFINITY, f64::NEG_INFINITY),
    (f64::INFINITY, f64::INFINITY),
    (0.0, 0.0),
    (f64::INFINITY, 0.0),
    (-1.0, f64::from_bits(0xfff0_0000_8000_0000)),
    (1.5, 2.0),
];
/// Address of the operands: 64 bytes for each pair.
const OPERANDS: usize = 60_000;
/// Bytes of memory for what a producer shows of one pair.
const SHOWN: usize = 64;

/// A module that makes a value of each pair of operands by each producer, and shows it. In the text of the
/// producers and of `shown` `A` and `B` are the operands, `OUT` is an address, and `VALUE` is what was made.
fn module(ty: &str, shown: &str) -> Vec<u8> {
    let data: String =
        PAIRS.iter().enumerate().map(|(index, pair)| operands(index, *pair)).collect();
    let (mut functions, mut calls) = (String::new(), String::new());
    let mut out = 0;
    for (n, made) in producers(ty).iter().enumerate() {
        let mut code = String::new();
        for index in 0..PAIRS.len() {
            let at = OPERANDS + 64 * index;
            let (load, first, second) = match ty {
                "f32" => ("f32.load", at, at + 16),
                "f64" => ("f64.load", at + 32, at + 48),
                "f32x4" => ("v128.load", at, at + 16),
                _ => ("v128.load", at + 32, at + 48),
            };
            let value = made
                .replace('A', &format!("({load} (i32.const {first}))"))
                .replace('B', &format!("({load} (i32.const {second}))"));
            let shown = shown.replace("OUT", &format!("(i32.const {out})"));
            writeln!(code, "{}", shown.replace("VALUE", &value)).unwrap();
            out += SHOWN;
        }
        writeln!(
            functions,
            "(func $p{n} (local $l32 f32) (local $l64 f64) (local $l128 v128) (local $m128 v128)
            (local $n i32) {code})"
        )
        .unwrap();
        write!(calls, "(call $p{n})").unwrap();
    }
    let text = format!(
        r#"(module
        (memory (export "memory") 1)
        (global $g32 (mut f32) (f32.const 0)) (global $g64 (mut f64) (f64.const 0))
        (global $g128 (mut v128) (v128.const i64x2 0 0))
        {data} {functions}
        (func $f32 (param f32) (result f32) (local.get 0))
        (func $f64 (param f64) (result f64) (local.get 0))
        (func $v128 (param v128) (result v128) (local.get 0))
        (func (export "starling_abi_1"))
        (func (export "starling_start") {calls})
        (func (export "starling_step") (result i32) (i32.const 0)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Data segments with a pair of operands: two vectors of f32 and two of f64, whose first lanes serve as
/// scalars.
fn operands(index: usize, (a, b): (f64, f64)) -> String {
    let floats = |lanes: [u32; 4]| lanes.map(u32::to_le_bytes).concat();
    let doubles = |lanes: [f64; 2]| lanes.map(f64::to_le_bytes).concat();
    let (a32, b32) = (narrow(a), narrow(b));
    let vectors = [
        floats([a32, 0x3f80_0000, b32, a32]),
        floats([b32, a32, 0x4000_0000, b32]),
        doubles([a, b]),
        doubles([b, a]),
    ];
    let mut text = format!("(data (i32.const {}) \"", OPERANDS + 64 * index);
    for byte in vectors.concat() {
        write!(text, "\\{byte:02x}").unwrap();
    }
    text + "\")\n"
}

/// The f32 with the same kind of bits, so that payloads survive.
fn narrow(value: f64) -> u32 {
    let bits = value.to_bits();
    if value.is_nan() {
        let [sign_and_exponent, ..] = bits.to_be_bytes();
        let sign = if sign_and_exponent < 0x80 { 0 } else { 0x8000_0000 };
        return sign | 0x7f80_0001 | u32::try_from(bits >> 29 & 0x007f_ffff).unwrap();
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the numbers above are exact in both types"
    )]
    (value as f32).to_bits()
}

const BINARY: [&str; 6] = ["add", "sub", "mul", "div", "min", "max"];
const UNARY: [&str; 5] = ["sqrt", "ceil", "floor", "trunc", "nearest"];

/// Text that makes a value of type `ty` by each operator that can make a NaN.
fn producers(ty: &str) -> Vec<String> {
    let binary = BINARY.iter().map(|op| format!("({ty}.{op} A B)"));
    let unary = UNARY.iter().map(|op| format!("({ty}.{op} A)"));
    let conversion = match ty {
        "f32" => "(f32.demote_f64 (f64.promote_f32 A))",
        "f64" => "(f64.promote_f32 (f32.demote_f64 A))",
        "f32x4" => "(f32x4.demote_f64x2_zero (f64x2.promote_low_f32x4 A))",
        _ => "(f64x2.promote_low_f32x4 (f32x4.demote_f64x2_zero A))",
    };
    binary.chain(unary).chain([conversion.to_owned()]).collect()
}

/// Ways that the bits of a scalar become visible; `T` is its type, `I` the integer of its size.
const SCALAR_WAYS: &[&str] = &[
    "(T.store OUT VALUE)",
    "(I.store OUT (I.reinterpret_T VALUE))",
    "(T.store OUT (T.copysign (T.const 1) VALUE))",
    "(T.store OUT (T.abs VALUE))",
    "(global.set $gN VALUE) (I.store OUT (I.reinterpret_T (global.get $gN)))",
    "(v128.store OUT (VEC.splat VALUE))",
    "(v128.store OUT (VEC.replace_lane 1 (v128.const i64x2 1 2) VALUE))",
    "(T.store OUT (VEC.extract_lane 1 (VEC.splat VALUE)))",
    "(local.set $lN VALUE) (T.store OUT (local.get $lN))",
    "(local.set $lN VALUE) (I.store OUT (I.reinterpret_T (T.add (local.get $lN) (T.const 1))))",
    "(T.store OUT (select VALUE (T.const 1) (i32.const 1)))",
    "(T.store OUT (block (result T) VALUE (br_if 0 (i32.const 1)) (drop) (T.const 2)))",
    "(T.store OUT (if (result T) (i32.const 1) (then VALUE) (else (T.const 3))))",
    "(T.store OUT (call $T VALUE))",
    "(T.store OUT (call $T (call $T VALUE)))",
    "VALUE (local.set $lN) (loop $x (local.set $lN (T.mul (local.get $lN) (T.const 2)))
        (br_if $x (i32.lt_s (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3))))
        (T.store OUT (local.get $lN))",
];

/// Ways that the bits of a vector become visible; `V` is its shape, `W` the other shape.
const VECTOR_WAYS: &[&str] = &[
    "(v128.store OUT VALUE)",
    "(v128.store OUT (i32x4.add VALUE (v128.const i64x2 0 0)))",
    "(v128.store OUT (V.neg VALUE))",
    "(v128.store OUT (V.abs VALUE))",
    "(v128.store OUT (W.neg VALUE))",
    "(v128.store OUT (V.pmin VALUE (v128.const i64x2 0 0)))",
    "(v128.store OUT (V.pmax (v128.const i64x2 0 0) VALUE))",
    "(v128.store OUT (W.pmin (W.mul VALUE VALUE) VALUE))",
    "(v128.store OUT (W.add VALUE (v128.const i64x2 0 0)))",
    "(v128.store OUT (V.add VALUE (v128.const i64x2 0 0)))",
    "(v128.store OUT (V.eq VALUE VALUE))",
    "(i32.store OUT (i32x4.bitmask VALUE))",
    "(i32.store OUT (i32x4.extract_lane 1 VALUE))",
    "(i64.store OUT (i64x2.extract_lane 1 VALUE))",
    "(S.store OUT (V.extract_lane 1 VALUE))",
    "(v128.store OUT (V.replace_lane 0 VALUE (S.const 1)))",
    "(v128.store64_lane 1 OUT VALUE)",
    "(v128.store OUT (v128.xor VALUE (v128.const i64x2 -1 -1)))",
    "(v128.store OUT (v128.bitselect VALUE (v128.const i64x2 5 6) (v128.const i64x2 -1 255)))",
    "(v128.store OUT (i8x16.shuffle 0 1 2 3 20 21 22 23 8 9 10 11 4 5 6 7 VALUE (v128.const i64x2 1 2)))",
    "(v128.store OUT (i8x16.swizzle VALUE (v128.const i8x16 3 2 1 0 7 6 5 4 11 10 9 8 15 14 13 12)))",
    "(global.set $g128 VALUE) (v128.store OUT (global.get $g128))",
    "(local.set $l128 VALUE) (v128.store OUT (local.get $l128))",
    "(v128.store OUT (local.tee $l128 VALUE))",
    "(local.set $l128 VALUE) (local.set $m128 (local.get $l128)) (v128.store OUT (local.get $m128))",
    "(local.set $l128 VALUE) (v128.store OUT (V.mul (local.get $l128) (local.get $l128)))",
    "(local.set $l128 VALUE) (v128.store OUT (W.mul (local.get $l128) (local.get $l128)))",
    "(local.set $l128 VALUE) (local.set $m128 (V.sqrt (local.get $l128)))
        (v128.store OUT (V.div (local.get $m128) (local.get $l128)))",
    "(v128.store OUT (select VALUE (v128.const i64x2 1 2) (i32.const 1)))",
    "(v128.store OUT (block (result v128) VALUE (br_if 0 (i32.const 1)) (drop) (v128.const i64x2 1 2)))",
    "(v128.store OUT (if (result v128) (i32.const 1) (then VALUE) (else (v128.const i64x2 1 2))))",
    "(v128.store OUT (call $v128 VALUE))",
    "VALUE (block (param v128) (result v128) (V.add (V.splat (S.const 1)))) (local.set $l128)
        (v128.store OUT (local.get $l128))",
    "(local.set $l128 VALUE) (local.set $n (i32.const 0)) (loop $x
        (local.set $l128 (V.mul (local.get $l128) (V.splat (S.const 2))))
        (br_if $x (i32.lt_s (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 3))))
        (v128.store OUT (local.get $l128))",
];

/// Moves of a sign bit after arithmetic, where the pass makes the canonical NaN and the engine keeps the
/// sign: the same everywhere is all that is asked.
const SIGN_WAYS: &[&str] =
    &["(T.store OUT (T.neg VALUE))", "(T.store OUT (T.copysign VALUE (T.const -1)))"];

/// Checks a way to show bits; tells whether the engine alone, without the pass, shows others.
fn check(ty: &str, shown: &str, keeps_sign: bool) -> bool {
    let wasm = module(ty, shown);
    let prepared = prepare(&wasm, NanMode::Canonical, Contract::NEWEST).unwrap();
    let start = ["starling_start"].as_slice();
    let on = |kind| {
        run(kind, &prepared.wasm, Some(&prepared.layout), 1 << 40, start)
            .map(|left| (left.calls, left.memory, left.globals))
    };
    let plain = |kind| run(kind, &wasm, None, 0, start).unwrap().memory;
    let reference = on(Kind::CanonicalCranelift).unwrap();
    if keeps_sign {
        assert_eq!(
            reference.1,
            plain(Kind::CanonicalCranelift),
            "the pass shows other bits: {shown}"
        );
    }
    for kind in [Kind::Cranelift, Kind::Pulley, Kind::Winch] {
        let left = on(kind).unwrap_or_else(|| panic!("{kind:?} cannot compile {shown}"));
        assert_eq!(left, reference, "the pass misses a NaN on {kind:?}: {shown}");
    }
    let interpreted =
        crate::interpreter::run(&prepared.wasm, Some(&prepared.layout), 1 << 40, start);
    assert_eq!(
        (interpreted.calls, interpreted.memory, interpreted.globals),
        reference,
        "wasmi: {shown}"
    );
    plain(Kind::Cranelift) != reference.1
}

fn check_all(ty: &str, ways: &[&str], names: &[(&str, &str)], keeps_sign: bool) {
    let mut n_biting = 0;
    for way in ways {
        let shown =
            names.iter().fold((*way).to_owned(), |text, (from, to)| replace(&text, from, to));
        n_biting += usize::from(check(ty, &shown, keeps_sign));
    }
    println!("{ty}: {} ways, in {n_biting} of which the engine alone shows other bits", ways.len());
    assert!(ways.len() * 3 / 4 < n_biting, "the probes prove nothing");
}

/// Replaces a placeholder where it stands alone, not within a word in capitals.
fn replace(text: &str, from: &str, to: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let part_of_word = before.ends_with(|c: char| c.is_ascii_uppercase())
            || after.starts_with(|c: char| c.is_ascii_uppercase());
        out.push_str(before);
        out.push_str(if part_of_word { from } else { to });
        rest = after;
    }
    out + rest
}

const F32: &[(&str, &str)] = &[("VEC", "f32x4"), ("T", "f32"), ("I", "i32"), ("N", "32")];
const F64: &[(&str, &str)] = &[("VEC", "f64x2"), ("T", "f64"), ("I", "i64"), ("N", "64")];
const F32X4: &[(&str, &str)] = &[("V", "f32x4"), ("W", "f64x2"), ("S", "f32")];
const F64X2: &[(&str, &str)] = &[("V", "f64x2"), ("W", "f32x4"), ("S", "f64")];

#[test]
fn scalars_of_32_bits_are_canonical_wherever_they_show() {
    check_all("f32", SCALAR_WAYS, F32, true);
}

#[test]
fn scalars_of_64_bits_are_canonical_wherever_they_show() {
    check_all("f64", SCALAR_WAYS, F64, true);
}

#[test]
fn vectors_of_32_bits_are_canonical_wherever_they_show() {
    check_all("f32x4", VECTOR_WAYS, F32X4, true);
}

#[test]
fn vectors_of_64_bits_are_canonical_wherever_they_show() {
    check_all("f64x2", VECTOR_WAYS, F64X2, true);
}

#[test]
fn moved_signs_of_nans_are_the_same_everywhere() {
    check_all("f32", SIGN_WAYS, F32, false);
    check_all("f64", SIGN_WAYS, F64, false);
}

/// A NaN that is only copied keeps its payload.
#[test]
fn a_copied_nan_keeps_its_bits() {
    let wasm = wat::parse_str(
        r#"(module (memory (export "memory") 1)
            (data (i32.const 0) "\01\00\a0\ff")
            (func (export "starling_abi_1"))
            (func (export "starling_start")
                (f32.store (i32.const 4) (f32.load (i32.const 0)))
                (v128.store (i32.const 16) (v128.load (i32.const 0))))
            (func (export "starling_step") (result i32) (i32.const 0)))"#,
    )
    .unwrap();
    let prepared = prepare(&wasm, NanMode::Canonical, Contract::NEWEST).unwrap();
    let plain = run(Kind::Cranelift, &wasm, None, 0, &["starling_start"]).unwrap();
    let left =
        run(Kind::Cranelift, &prepared.wasm, Some(&prepared.layout), 1 << 40, &["starling_start"]);
    assert_eq!(left.unwrap().memory, plain.memory);
}
