//! The coordinator: keeps jobs, lends their units to workers, judges what comes back, and hands it to researchers.
//!
//! [`core`] decides and does nothing else; [`engine`] runs it over a [`store`]; the rest connects it to the world.
#![forbid(unsafe_code)]

pub mod backup;
pub mod blobs;
pub mod check;
mod clock;
pub mod command;
pub mod core;
pub mod engine;
pub mod grpc;
mod metrics;
pub mod project;
mod random;
pub mod rebuild;
mod server;
pub mod store;
pub mod tally;
mod tasks;

pub use clock::SystemClock;
pub use server::{Config, Coordinator, StartError};
