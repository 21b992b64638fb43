//! Locals that the passes add to a function, after its own.

use wasm_encoder::Encode;
use wasmparser::ValType;

/// The locals added to one function: at most one of each type and purpose.
#[derive(Debug)]
pub(crate) struct Scratch {
    first: u32,
    added: Vec<ValType>,
}

impl Scratch {
    /// For a function whose own locals, parameters counted, end before index `first`.
    pub(crate) fn new(first: u32) -> Self {
        Self { first, added: Vec::new() }
    }

    /// Index of the scratch local of a type, added on first use. Nothing holds a value in it beyond the
    /// few operators that asked for it.
    pub(crate) fn of(&mut self, ty: ValType) -> u32 {
        let position = self.added.iter().position(|added| *added == ty).unwrap_or_else(|| {
            self.added.push(ty);
            self.added.len() - 1
        });
        self.first + u32::try_from(position).expect("there are five types")
    }

    /// Number of runs that [`Scratch::encode`] writes.
    pub(crate) fn runs(&self) -> u32 {
        u32::try_from(self.added.len()).expect("there are five types")
    }

    /// Writes the runs of a function's declaration of locals.
    pub(crate) fn encode(&self, sink: &mut Vec<u8>) {
        for ty in &self.added {
            1u32.encode(sink);
            encode_type(*ty, sink);
        }
    }
}

/// Writes a number, vector or 128-bit type; there are no others in a kernel's code.
pub(crate) fn encode_type(ty: ValType, sink: &mut Vec<u8>) {
    value_type(ty).encode(sink);
}

/// The same type, as the encoder has it.
pub(crate) fn value_type(ty: ValType) -> wasm_encoder::ValType {
    match ty {
        ValType::I32 => wasm_encoder::ValType::I32,
        ValType::I64 => wasm_encoder::ValType::I64,
        ValType::F32 => wasm_encoder::ValType::F32,
        ValType::F64 => wasm_encoder::ValType::F64,
        ValType::V128 => wasm_encoder::ValType::V128,
        ValType::Ref(_) => unreachable!("without reference types no value of a function is one"),
    }
}
