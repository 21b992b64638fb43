//! A volunteer's worker: takes units, runs them in the sandbox on all its cores, and reports what they came to.
//!
//! The crate [`worker_core`] decides and does nothing else; here is what carries it out.
//!
//! ```text
//! coordinator, slots, blobs, owner ──event──► agent ──► core ──► records ──► outbox
//!                                               │                              │ written
//!                                               ▼                              ▼
//!            fetch, run, put, report, hand over to peers  ◄── actions, only after the records
//! ```
//!
//! # Rooms
//! - `agent`: the task around [`worker_core::agent`]: the stream of a session, the fetching of blobs, the slots, the logs of
//!   kernels. The only place that knows both network and sandbox.
//! - [`exchange`]: the task around [`worker_core::exchange`], which brings blobs from peers and gives them.
//! - `custody`: the task around [`worker_core::custody`] and [`worker_core::replica`], with their disk, peers and coordinator.
//! - `coordinator`: how a session with the coordinator begins, and what is told and asked beside its stream.
//! - [`network`]: workers as peers: who is a member, how they find and reach each other, and what that may cost.
//! - the crate [`sandbox`]: kernels compiled in one child process and run in others, behind walls, with snapshots. It takes files
//!   and limits, and knows no network and nobody's units.
//! - [`blobs`], [`outbox`] and [`traces`]: on disk, the cache of kernels and inputs, the journal of what is held, and traces with
//!   states to be shown.
//! - [`folder`]: keys, project and lock. [`control`]: what the owner asks of a running worker.
//! - [`command`]: the program `starling-worker`; its `seed` is a peer that only relays and introduces.
//! - `machine`, `disk`, [`memory`], `clock`, `metrics`: what the machine lets the worker use, the wall clock, numbers for
//!   collectors. With the feature `fault-hook`, which is for tests, `fault` makes the worker lie.
//!
//! # What holds
//! - What decides is in [`worker_core`], which knows no clock, file or network; so do the parts of [`network`] that say so.
//! - A lease, a result, a change of what is held is in the journal before anything is done or said because of it.
//! - Only [`sandbox`] knows wasmtime, and only its children hold strangers' code: behind walls, without keys, opening no file.
//! - A compiled module from another machine is never loaded, and none at all in the process that holds keys.
//! - No attempt of a unit is counted for what this machine lacks.
//! - Of the coordinator it knows the protocol alone.

mod agent;
pub mod blobs;
mod clock;
pub mod command;
pub mod control;
mod coordinator;
mod custody;
mod disk;
pub mod exchange;
#[cfg(feature = "fault-hook")]
pub mod fault;
pub mod folder;
mod machine;
pub mod memory;
mod metrics;
pub mod network;
pub mod outbox;
pub mod traces;

pub use agent::{Config, Ended, Notice, StartError, Worker};

#[cfg(test)]
mod testing;
