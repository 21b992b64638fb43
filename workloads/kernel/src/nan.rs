//! Writes the code that makes a NaN canonical.

use crate::operators::Shape;
use crate::scratch::Scratch;
use serde::{Deserialize, Serialize};
use wasm_encoder::{Ieee32, Ieee64, InstructionSink};
use wasmparser::ValType;

/// What is done about NaNs, whose bits WebAssembly leaves open.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NanMode {
    /// A NaN that arithmetic made is canonical wherever its bits become visible.
    Canonical,
    /// Nothing: bits of NaNs may differ between machines.
    Unchecked,
}

/// The canonical NaN of 32 bits: quiet, positive, no payload.
const NAN32: u32 = 0x7fc0_0000;
/// The canonical NaN of 64 bits.
const NAN64: u64 = 0x7ff8_0000_0000_0000;

/// Makes the scalar on top of the stack canonical if it is a NaN.
pub(crate) fn scalar(ty: ValType, scratch: &mut Scratch, code: &mut InstructionSink<'_>) {
    let kept = scratch.of(ty);
    code.local_tee(kept);
    if ty == ValType::F32 {
        code.f32_const(Ieee32::new(NAN32)).local_get(kept).local_get(kept).f32_eq();
    } else {
        code.f64_const(Ieee64::new(NAN64)).local_get(kept).local_get(kept).f64_eq();
    }
    code.select();
}

/// Makes each NaN of the vector on top of the stack canonical.
pub(crate) fn vector(shape: Shape, scratch: &mut Scratch, code: &mut InstructionSink<'_>) {
    let kept = scratch.of(ValType::V128);
    code.local_tee(kept);
    let (nan32, nan64) = (u128::from(NAN32), u128::from(NAN64));
    let nan = match shape {
        Shape::F32x4 => nan32 | nan32 << 32 | nan32 << 64 | nan32 << 96,
        Shape::F64x2 => nan64 | nan64 << 64,
    };
    code.v128_const(nan.cast_signed()).local_get(kept).local_get(kept);
    match shape {
        Shape::F32x4 => code.f32x4_eq(),
        Shape::F64x2 => code.f64x2_eq(),
    };
    code.v128_bitselect();
}
