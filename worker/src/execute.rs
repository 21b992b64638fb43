//! Runs units of kernels in the sandbox: one child process for each slot, limits on all that a kernel may use, snapshots
//! between steps. It knows no network and nothing of who asked for a unit.
//!
//! The program that holds a [`Pool`] must call [`child_main`] when its first argument is [`CHILD_VERB`]: kernels are
//! compiled and run in children of the same program, so that a crash or a kill costs one unit.

mod cache;
mod child;
mod compile;
mod engine;
mod files;
mod frame;
mod hand;
mod host;
mod input;
mod keep;
mod keeper;
mod pool;
mod process;
mod run;
mod slot;
mod snapshot;
mod trace;
mod trial;
mod unit;
mod walls;
mod wasi;

pub use child::{CHILD_VERB, child_main};
pub use compile::{
    COMPILE_MEMORY_MIN, Compilation, CompileCost, CompileLimits, Stop as CompileStop,
};
pub use pool::{Config, Error, Pool, Priority, Running, Status, run_once, run_watched};
pub use process::own_program;
pub use trial::{compile_trial, trial};
pub use unit::{
    Begin, Digest, Event, FUEL_MAX, Failure, Fault, Finished, INPUTS_MAX, Input, KeepPlan, Kernel,
    Limits, MEMORY_BYTES_MAX, OUTPUT_BYTES_MAX, Outcome, PARAMS_BYTES_MAX, SEGMENTS_MAX, Segment,
    SnapshotPlan, TracePlan, Trouble, Unit, Until,
};
pub use walls::{WallPlan, Walls, raise as raise_walls};
