//! The sandbox: compiles strangers' kernels and runs their units, in child processes behind walls, with limits on all that a
//! kernel may use, and snapshots between steps. It knows no network and nothing of who asked for a unit.
//!
//! ```text
//! caller ──Unit──► parent: Pool ──► slot ──orders, open files──► child: walls, then wasmtime
//!        ◄─Event──                       ◄──messages────────────
//! ```
//!
//! # The two halves
//! - `parent` is in the process that has keys and opens files. It holds no line of a kernel's code, and loads none.
//! - `child` is in a process of its own, with nothing of its parent's but a socket and a pipe: it raises the walls, and only
//!   then touches what a stranger made. Read it as code beside which hostile code runs.
//! - `protocol` is all that they know of each other; both call [`Unit`] and [`Walls`] the same.
//!
//! The program that holds a [`Pool`] must call [`child_main`] when its first argument is [`CHILD_VERB`]: children are the same
//! program again, so that a crash or a kill costs one unit.

mod child;
mod engine;
mod parent;
mod proc_file;
mod protocol;
mod unit;
mod walls;

pub use child::{child_main, raise_walls};
pub use parent::compile::{COMPILE_MEMORY_MIN, Compilation, CompileLimits, Stop as CompileStop};
pub use parent::pool::{Config, Error, Pool, Running, Status, run_once, run_watched};
pub use parent::process::own_program;
pub use parent::trial::{compile_trial, trial};
pub use protocol::{CHILD_VERB, CompileCost, Priority};
pub use unit::{
    ArchivePlan, Begin, Digest, Event, FUEL_MAX, Failure, Fault, Finished, INPUTS_MAX, Input,
    Kernel, Limits, MEMORY_BYTES_MAX, OUTPUT_BYTES_MAX, Outcome, PARAMS_BYTES_MAX, SEGMENTS_MAX,
    Segment, SnapshotPlan, TracePlan, Trouble, Unit, Until,
};
pub use walls::{WallPlan, Walls};
