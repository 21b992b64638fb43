//! A volunteer's worker: takes units, runs them in the sandbox on all its cores, and reports what they came to.

pub mod blobs;
mod clock;
pub mod command;
pub mod control;
pub mod core;
mod disk;
mod driver;
pub mod execute;
#[cfg(feature = "fault-hook")]
pub mod fault;
pub mod folder;
mod holding;
mod machine;
pub mod memory;
mod metrics;
pub mod outbox;
pub mod p2p;
pub mod traces;

pub use driver::{Config, Ended, Notice, StartError, Worker};

#[cfg(test)]
mod testing;
