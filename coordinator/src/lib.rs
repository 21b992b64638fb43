//! The coordinator: keeps jobs, lends their units to workers, judges what comes back, and hands it to researchers.
//!
//! [`core`] decides and does nothing else; [`engine`] runs it over a [`store`]; the rest connects it to the world.
//!
//! ```text
//! grpc ──event──► engine ──► core ──► records ──► tally, store        (commit)
//!   ▲                │
//!   └── answers, messages to workers ◄── only after the commit
//! ```
//!
//! # Rooms
//! - [`core`]: jobs, units, leases, reports, verdicts, credit; [`trust`](crate::core::trust) estimates who is
//!   believed. Pure.
//! - [`engine`]: the one thread that owns the core. It gathers events, applies them, commits once, then answers; everybody else
//!   holds an [`engine::Handle`]. What is settled is read from the store without it.
//! - [`store`]: records by key, committed all or none: in memory for tests, in sled otherwise.
//! - [`tally`]: what all records come to, kept with each commit and in a file outside, so that lost records are noticed.
//! - [`blobs`]: kernels, inputs and outputs on disk under their digests.
//! - [`grpc`]: the services, where wire types stop. It verifies signatures, knows who may call, and bounds what strangers cost.
//! - [`project`]: the folder with its keys, certificates and lock.
//! - [`backup`], [`check`] and [`rebuild`]: a copy of a running project; whether all that is stored holds together; what was
//!   lost, gathered from the workers.
//! - [`command`]: the program `starling-coordinator`. [`Coordinator`] is the same for programs that bring one along.
//! - Private: `server` starts and stops it all, its own referee too; `metrics` tells numbers to collectors; `tasks` ends
//!   what was started; `clock` reads the wall clock; `random` makes keys, tokens and nonces.
//!
//! # What holds
//! - The core does no input or output, reads no clock and draws no randomness that was not passed in.
//! - The core has one writer, the engine's thread.
//! - Saved first, then said: no lease, acknowledgement or job number leaves before its commit; a failed commit stops the engine.
//! - Wire types (`proto::pb`) do not pass [`grpc`].
//! - Memory grows with what is active, not with units that exist or are settled. Everything a stranger can fill has a bound.
//! - Of the worker it knows one thing: `server` starts one as its referee (and gives memory back to the system by a function of
//!   that crate). Kernels are compiled for [`grpc`] by the crate [`sandbox`].
#![forbid(unsafe_code)]

pub mod backup;
pub mod blobs;
pub mod check;
mod clock;
pub mod command;
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
pub use coordinator_core as core;
pub use server::{Config, Coordinator, StartError};

/// What this side calls itself.
pub const SOFTWARE: &str = concat!("starling-coordinator ", env!("CARGO_PKG_VERSION"));
