//! What two machines of a Starling grid must agree on byte for byte: messages, ids, digests, job specifications,
//! canonical bytes, signatures and credit.
#![forbid(unsafe_code)]

pub mod bearer;
pub mod bounds;
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
pub mod state;
pub mod text;
pub mod ticket;
pub mod tls;
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
