//! The configurations of the WASM engine: a part of the kernel contract, with the exactly pinned version.
//!
//! There are two, alike in all that a kernel can notice: with functions copied into their callers (inlining) and without.
//! Results and fuel are the same in both, since the metering is written into the code before; only time and memory of
//! the compiler and speed of the kernel differ.

use wasmtime::{Config, Engine, Inlining, OptLevel, Strategy, WasmFeatures};

/// Bytes of stack of a kernel. A kernel that needs more ends as an infrastructure failure, since frames differ in size
/// between machines; what compilers put on the kernel's own stack lies in linear memory and does not count.
const STACK_BYTES: usize = 512 << 10;
/// Address space of a linear memory: all that 32 bits reach, so that no bounds check is needed.
const RESERVATION_BYTES: u64 = 4 << 30;
/// Guard behind it, for the constant offsets of loads and stores.
const GUARD_BYTES: u64 = 32 << 20;
/// Bytes of a prepared module up to which functions are inlined.
const INLINED_BYTES_MAX: usize = 256 << 10;

/// Whether the functions of a prepared module are inlined: a property of the module alone, so that it is compiled alike
/// on every machine. With inlining the compiler holds all functions at once, which takes many times the memory.
pub(crate) fn inlines(prepared: &[u8]) -> bool {
    prepared.len() <= INLINED_BYTES_MAX
}

/// The engine in which kernels are compiled and run. Fails where the machine lacks what the engine needs.
pub(crate) fn engine(inlining: bool) -> wasmtime::Result<Engine> {
    // The garbage collector's types are a part of the parser's MVP, and this build of the engine has none.
    let features = kernel::admissible_features().difference(WasmFeatures::GC_TYPES);
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .compiler_inlining(if inlining { Inlining::Yes } else { Inlining::No })
        .wasm_features(features.complement(), false)
        .wasm_features(features, true)
        .consume_fuel(false)
        .epoch_interruption(false)
        .cranelift_nan_canonicalization(false)
        .signals_based_traps(true)
        .memory_reservation(RESERVATION_BYTES)
        .memory_guard_size(GUARD_BYTES)
        .memory_init_cow(true)
        .max_wasm_stack(STACK_BYTES)
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .generate_address_map(false);
    Engine::new(&config)
}

/// Both engines, as those need them that run kernels however they were compiled.
#[derive(Clone, Debug)]
pub(crate) struct Engines {
    inlining: Engine,
    plain: Engine,
}

impl Engines {
    pub(crate) fn new() -> wasmtime::Result<Self> {
        Ok(Self { inlining: engine(true)?, plain: engine(false)? })
    }

    pub(crate) fn of(&self, inlining: bool) -> &Engine {
        if inlining { &self.inlining } else { &self.plain }
    }

    /// Both, with what tells them apart.
    pub(crate) fn all(&self) -> [(bool, &Engine); 2] {
        [(true, &self.inlining), (false, &self.plain)]
    }
}
