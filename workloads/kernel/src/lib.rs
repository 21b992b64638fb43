//! What a kernel may be, and how it is prepared: bytes in, bytes out, the same on every machine.
//!
//! [`prepare()`] checks a module against the kernel contract (`docs/kernels.md`) and rewrites it so that
//! any WebAssembly engine runs it to the same bytes and the same fuel: NaNs are made canonical where
//! their bits become visible, the metering is written into the code, and the mutable state is exported.
//! [`inspect`] makes the same checks and says what a module is.
//!
//! Nothing here does I/O or knows an engine, and nothing depends on the machine: the order of
//! everything in the output is the order of the module.
#![forbid(unsafe_code)]

mod abi;
mod body;
mod contract;
mod layout;
pub mod limits;
mod module;
mod nan;
mod operators;
mod prepare;
mod refusal;
mod regions;
mod scratch;
mod summary;
mod vectors;

pub use self::contract::Contract;
pub use self::layout::{DataRange, GlobalExport, Kind, Layout, ValueType};
pub use self::nan::NanMode;
pub use self::prepare::{Prepared, prepare};
pub use self::refusal::{Place, Refusal};
pub use self::summary::{Import, Limit, Summary, inspect};

use wasmparser::WasmFeatures;

/// Exported mutable `i64` global of a prepared module: the fuel left.
///
/// The host sets it to the budget before the kernel runs and charges its own calls to it. After a trap
/// a value below zero means that the budget was spent; otherwise the trap has another cause.
pub const FUEL_EXPORT: &str = "starling:fuel";

/// Exported mutable `i64` global of a module prepared by contract 2: always one, which no compiler can know.
///
/// By it a charge takes time in proportion to what it charges. Nothing writes it and no state holds it.
pub const ONE_EXPORT: &str = "starling:one";

/// Every export that [`prepare()`] adds starts with this; a kernel may not use it.
pub const RESERVED_PREFIX: &str = "starling:";

/// The export under which every kernel has its one linear memory.
pub const MEMORY_EXPORT: &str = "memory";

/// The WebAssembly features that a kernel may use: an engine must allow at least these.
///
/// [`prepare()`] refuses some operators besides (`table.init`, `table.copy`, `elem.drop`, `data.drop`), so
/// that memory and mutable globals are the whole state.
#[must_use]
pub const fn admissible_features() -> WasmFeatures {
    WasmFeatures::FLOATS
        .union(WasmFeatures::MUTABLE_GLOBAL)
        .union(WasmFeatures::SIGN_EXTENSION)
        .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
        .union(WasmFeatures::MULTI_VALUE)
        .union(WasmFeatures::BULK_MEMORY)
        .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
        .union(WasmFeatures::SIMD)
        .union(WasmFeatures::WIDE_ARITHMETIC)
}
