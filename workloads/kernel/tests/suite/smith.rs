//! Random step kernels, made by wasm-smith from bytes.

use arbitrary::Unstructured;
use std::sync::OnceLock;
use wasm_smith::{Config, InstructionKind, InstructionKinds, Module};

/// The exports that are called, in this order.
pub(crate) const CALLS: &[&str] = &["starling_start", "more", "starling_step", "starling_step"];

/// Turns of loops and entries of functions after which a module ends by itself.
const TURNS: u32 = 500;

/// What a module is to be made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Diet {
    /// Everything but data segments, without which there is no `data.drop`.
    Mixed,
    /// The same, but nothing traps.
    Calm,
    /// Long stretches of arithmetic, moves and stores, with no branches between.
    Arithmetic,
}

fn shape(text: &str, cell: &'static OnceLock<Vec<u8>>) -> Vec<u8> {
    cell.get_or_init(|| wat::parse_str(text).unwrap()).clone()
}

fn exports() -> Vec<u8> {
    static SHAPE: OnceLock<Vec<u8>> = OnceLock::new();
    shape(
        r#"(module
            (memory (export "memory") 1 4)
            (func (export "starling_abi_1"))
            (func (export "starling_start"))
            (func (export "more") (result f32 f64 v128 i64) unreachable)
            (func (export "starling_step") (result i32) unreachable))"#,
        &SHAPE,
    )
}

fn imports() -> Vec<u8> {
    static SHAPE: OnceLock<Vec<u8>> = OnceLock::new();
    shape(
        r#"(module
            (import "starling" "params_len" (func (result i32)))
            (import "starling" "input_len" (func (param i32) (result i64)))
            (import "starling" "output_write" (func (param i32 i32)))
            (import "starling" "progress" (func (param i64 i64))))"#,
        &SHAPE,
    )
}

fn config(diet: Diet) -> Config {
    let mut config = Config {
        exports: Some(exports()),
        available_imports: Some(imports()),
        allow_start_export: false,
        max_imports: 4,
        max_memories: 0, // besides the exported one
        max_memory32_bytes: 4 * (64 << 10),
        memory_max_size_required: false,
        max_table_elements: 100,
        max_nesting_depth: 8,
        max_instructions: 120,
        min_funcs: 4,
        max_funcs: 12,
        max_data_segments: 4,
        max_element_segments: 4,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: true,
        simd_enabled: true,
        extended_const_enabled: false,
        ..Config::default()
    };
    match diet {
        Diet::Mixed | Diet::Calm => {
            config.disallow_traps = diet == Diet::Calm;
            config.max_data_segments = 0;
            config.allowed_instructions = InstructionKinds::new(&[
                InstructionKind::Numeric,
                InstructionKind::Vector,
                InstructionKind::Variable,
                InstructionKind::Memory,
                InstructionKind::Parametric,
                InstructionKind::Control,
            ]);
        }
        Diet::Arithmetic => {
            config.max_instructions = 400;
            config.bulk_memory_enabled = false;
            config.allowed_instructions = InstructionKinds::new(&[
                InstructionKind::Numeric,
                InstructionKind::Vector,
                InstructionKind::Variable,
                InstructionKind::Memory,
                InstructionKind::Parametric,
            ]);
        }
    }
    config
}

/// A module made from bytes; none if they are too few. It ends by itself.
pub(crate) fn module(diet: Diet, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut module = Module::new(config(diet), &mut Unstructured::new(bytes)).ok()?;
    module.ensure_termination(TURNS).ok()?;
    Some(module.to_bytes())
}
