//! What a worker decides: pure cores, each with a task in the crate `worker` around it.
//!
//! - [`agent`]: what is held, what to ask for, what to run next, when to report.
//! - [`exchange`]: which piece of a blob comes from whom, and who gets one.
//! - [`custody`]: which peers hold which of one's own reports, and what is held for others.
//! - [`replica`]: the project's log as a worker has it, and how news of it spreads.
//!
//! Each takes what happened and when, and says what to do. None reads a clock, a file or a network, or draws randomness but from
//! what was passed in: the crate builds for `wasm32-unknown-unknown`.
#![forbid(unsafe_code)]

pub mod agent;
pub mod custody;
pub mod exchange;
pub mod replica;
