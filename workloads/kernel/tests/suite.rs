//! Tests of what a kernel may be and how it is prepared, on real engines.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
#![expect(clippy::print_stdout, reason = "what was counted is printed")]

#[path = "suite/checks.rs"]
mod checks;
#[path = "suite/engines.rs"]
mod engines;
#[path = "suite/fuel.rs"]
mod fuel;
#[path = "suite/golden.rs"]
mod golden;
#[path = "suite/interpreter.rs"]
mod interpreter;
#[path = "suite/nans.rs"]
mod nans;
#[path = "suite/random.rs"]
mod random;
#[path = "suite/refusals.rs"]
mod refusals;
#[path = "suite/smith.rs"]
mod smith;
#[path = "suite/state.rs"]
mod state;
