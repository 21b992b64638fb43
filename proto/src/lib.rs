//! What two machines of a Starling grid must agree on byte for byte: messages, ids, digests, job specifications,
//! canonical bytes, signatures and credit. Coordinator, worker and the researcher's command all stand on it.
//!
//! **What is submitted.** [`job`] is a job's specification and the units it falls into; [`cut`] the axes along which it is cut;
//! [`lines`] files with a JSON object in each line; [`json`] parameters in canonical form.
//!
//! **What is said of a unit.** [`report`] is a signed batch of reports; [`trace`] commits to the states of a kernel on the
//! way, and [`state`] is one of them; [`unit_log`] is what a kernel logs, on which nobody has to agree.
//!
//! **What is concluded.** [`receipt`] states a verdict; [`log`] is the project's append-only log of all verdicts, with its
//! signed heads; [`evidence`] shows who was wrong. [`merkle`] is the tree under all three.
//!
//! **Who speaks.** [`key`] has the keys of projects, accounts and workers; [`hello`] what a worker signs when it comes;
//! [`member`] the certificate by which peers know each other; [`join`] the string that a volunteer pastes.
//!
//! **What travels by others' hands.** [`seal`] closes a batch to the project; [`ticket`] shows that a lease was granted;
//! [`pieces`] lets each part of a blob be checked by itself.
//!
//! **The small things.** [`digest`] and [`id`] name content, jobs, leases and units; [`bounds`] has the bounds of the wire, each
//! with its reason; [`text`] makes strangers' words fit to be shown; [`version`] says whom one can speak with. [`pb`] is
//! generated from `starling/v1/*.proto`.
//!
//! # How it is used
//! A message of [`pb`] becomes a domain type at the edge or is refused there; the cores see domain types only. What is signed
//! is never the protobuf message but canonical bytes of the domain type, behind a domain of its own (`"starling.v1 ..."`), so
//! that no signature is good for anything else.
//!
//! # What holds
//! - The bytes of specifications, batches, traces, states, receipts, the log, sealed batches and certificates name their version
//!   and are pinned by tests; so are those of tickets and lists of pieces, which have none.
//! - A specification is hashed as it was submitted; nobody encodes it again.
//! - Whatever a stranger sends is decoded within a bound, and never makes this crate panic.
//! - Fuel and credit are integers. Here is no clock, no file and no connection: it builds for `wasm32-unknown-unknown`.
#![forbid(unsafe_code)]

pub mod bounds;
pub mod bucket;
pub mod cut;
pub mod digest;
pub mod evidence;
pub mod hello;
pub mod id;
pub mod job;
pub mod join;
pub mod json;
pub mod key;
pub mod lines;
pub mod log;
pub mod member;
pub mod merkle;
pub mod pieces;
pub mod receipt;
pub mod report;
pub mod seal;
#[cfg(feature = "state")]
pub mod state;
pub mod text;
pub mod ticket;
pub mod trace;
pub mod unit_log;
pub mod version;

/// Messages of the wire, generated from `starling/v1/*.proto`. They stop at the adapters: cores never see them.
pub mod pb {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::pedantic,
        clippy::restriction,
        reason = "generated code"
    )]
    tonic::include_proto!("starling.v1");

    /// The compiled description of the protocol, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/starling.v1.bin"));
}

pub use digest::Digest;
pub use id::{JobId, LeaseId, UnitIndex};
pub use key::{AccountKey, ProjectKey, WorkerKey};
