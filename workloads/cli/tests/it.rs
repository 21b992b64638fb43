//! The command `starling` as its users meet it: real processes, a real coordinator, real workers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a failed expectation is the result of a test"
)]

#[path = "it/alone.rs"]
mod alone;
#[path = "it/documented.rs"]
mod documented;
#[path = "it/grid.rs"]
mod grid;
#[path = "it/inputs.rs"]
mod inputs;
#[path = "it/log.rs"]
mod log;
#[path = "it/logs.rs"]
mod logs;
#[path = "it/stdout.rs"]
mod stdout;
#[path = "it/try_out.rs"]
mod try_out;
#[path = "it/world.rs"]
mod world;
