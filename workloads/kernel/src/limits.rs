//! Static limits: an engine's compiler takes minutes or gigabytes over tiny modules made for that.
//!
//! Kernels in use are far below (the largest of 14: 0.8 MB, 752 functions, loops x locals 1,771,
//! nesting 42), and what is below compiles in seconds. The host compiles in a limited process besides.

use crate::refusal::{Place, Refusal};

/// Bytes of a module.
pub const MODULE_BYTES_MAX: u64 = 4 << 20;
/// Functions, imports counted: a million empty ones cost a compiler 5 GB.
pub const FUNCTIONS_MAX: u64 = 20_000;
/// Bytes of one function's body: some passes of a compiler are worse than linear in it.
pub const BODY_BYTES_MAX: u64 = 128 << 10;
/// Blocks, loops and ifs inside each other: compilers recurse over them.
pub const NESTING_MAX: u64 = 200;
/// Parameters, and results, of one function or block.
pub const ARITY_MAX: u64 = 64;
/// Locals of one function, parameters counted.
pub const LOCALS_MAX: u64 = 5_000;
/// Locals of all functions together: a compiler's work without a byte of code.
pub const LOCALS_TOTAL_MAX: u64 = 500_000;
/// Loops times locals of one function: each local may need a phi at each loop header; 9,000 take
/// 0.07 s and 90,000 take 6 s.
pub const LOOPS_TIMES_LOCALS_MAX: u64 = 10_000;
/// Joins (ends of blocks and ifs) times locals of one function: the same, but cheaper, since a join's
/// predecessors are known when it is reached; 1,200,000 take 0.9 s.
pub const JOINS_TIMES_LOCALS_MAX: u64 = 200_000;
/// Loops times locals of all functions together: 300,000 in 30 KB take 1.1 s, and a million with a value carried through each
/// loop took 3.3 GB. Real modules stay far below: the largest of the shipped kernels has 35,224.
pub const LOOPS_TIMES_LOCALS_TOTAL_MAX: u64 = 300_000;
/// Joins times locals of all functions together.
pub const JOINS_TIMES_LOCALS_TOTAL_MAX: u64 = 5_000_000;
/// Targets of a `br_table`: the engine's compiler fails above 65,520.
pub const BRANCH_TABLE_MAX: u64 = 60_000;
/// Types.
pub const TYPES_MAX: u64 = 10_000;
/// Imports: the ABI has 8 and 42 functions, and a module may repeat one.
pub const IMPORTS_MAX: u64 = 200;
/// Exports.
pub const EXPORTS_MAX: u64 = 10_000;
/// Globals, each of which a snapshot holds.
pub const GLOBALS_MAX: u64 = 10_000;
/// Data segments, and element segments.
pub const SEGMENTS_MAX: u64 = 10_000;
/// Elements of the table: one for each function twice over.
pub const TABLE_ELEMENTS_MAX: u64 = 40_000;
/// Bytes of a prepared module. The passes add about a tenth; only a module made for it comes here.
pub const PREPARED_BYTES_MAX: u64 = 16 << 20;

/// Refuses a value above its maximum.
pub(crate) fn check(what: &'static str, value: u64, max: u64) -> Result<(), Refusal> {
    check_in(what, value, max, || None)
}

/// Refuses a value above its maximum, and says where it is.
pub(crate) fn check_in(
    what: &'static str,
    value: u64,
    max: u64,
    place: impl FnOnce() -> Option<Place>,
) -> Result<(), Refusal> {
    if value <= max { Ok(()) } else { Err(Refusal::Limit { what, value, max, place: place() }) }
}
