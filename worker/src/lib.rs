//! A volunteer's worker: takes units, runs them in the sandbox on all its cores, and reports what they came to.
//!
//! [`core`] decides and does nothing else; the private `driver` does what it wants done, and is the only place that knows
//! both network and sandbox.
//!
//! ```text
//! stream, slots, blobs, owner ──event──► driver ──► core ──► records ──► outbox
//!                                           │                              │ written
//!                                           ▼                              ▼
//!        fetch, run, put, report, hand over to peers  ◄── actions, only after the records
//! ```
//!
//! # Rooms
//! - [`core`]: the agent: what is held, what to ask for, what to run next, when to report. Pure.
//! - `driver`: the task that owns the agent, the stream to the coordinator, the fetching of blobs, the slots, the logs of
//!   kernels.
//! - the crate [`sandbox`]: kernels compiled in one child process and run in others, behind walls, with snapshots. It takes files
//!   and limits, and knows no network and nobody's units.
//! - [`network`]: workers as peers. [`network::swarm`] decides which piece of a blob comes from whom and [`network::carrier`] carries it out;
//!   [`network::hold`] decides which peers hold which reports; [`network::ledger`] spreads the project's log. It knows no sandbox.
//! - `holding`: the task around the last two, with their disk, peers and coordinator.
//! - [`blobs`], [`outbox`] and [`traces`]: on disk, the cache of kernels and inputs, the journal of what is held, and traces with
//!   states to be shown.
//! - [`folder`]: keys, project and lock. [`control`]: what the owner asks of a running worker.
//! - [`command`]: the program `starling-worker`; its `seed` is a peer that only relays and introduces.
//! - `machine`, `disk`, [`memory`], `clock`, `metrics`: what the machine lets the worker use, the wall clock, numbers for
//!   collectors. With the feature `fault-hook`, which is for tests, `fault` makes the worker lie.
//!
//! # What holds
//! - The agent, and the parts of [`network`] that say so, do no input or output, read no clock, and draw no randomness but from a
//!   seed that was passed in.
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
