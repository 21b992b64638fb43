//! Workers as peers: who is a member, how they find and reach each other, and what that may cost.
//!
//! Every connection is encrypted and bound to the worker's own key (iroh, QUIC). A *link* is the first connection between
//! two peers: both show the certificate that the project's coordinator signed, and it stays open as long as they are
//! neighbours. Reports and the log travel by it; connections of other protocols are let in only from peers that have shown
//! theirs.
//!
//! Nothing here knows the sandbox, and nothing depends on infrastructure of others.

pub mod connection_limits;
pub mod frame;
pub mod neighbour_limits;
pub mod net;
pub mod peer_record;
pub mod peer_table;
pub mod seed;
pub mod store;
pub mod traffic;

mod address_lookup;
mod admission;
mod bandwidth;
mod config;
mod handshake;
mod kademlia;
mod link;
mod maintenance;
mod mdns;
mod relays;
mod shared;
mod status;

pub use bandwidth::Meter;
pub use config::{BindError, Config, ConnectError};
pub use link::{ProtocolViolation, RequestHandler, RequestStream, Served};
pub use net::{Net, Opening, PeerEvent, Running};
pub use status::{PeerView, PeersReport};

/// Whose fault an application's code for closing a connection names.
pub mod code {
    /// The program ends.
    pub const GOODBYE: u32 = 0;
    /// No certificate, or none that is good.
    pub const STRANGER: u32 = 1;
    /// No room for one more neighbour.
    pub const FULL: u32 = 2;
    /// The other connection between the two is kept.
    pub const DUPLICATE: u32 = 3;
    /// What came was no message, too large, too much or too slow.
    pub const RUDE: u32 = 4;
    /// A peer that has not shown its certificate on a link yet: greet first.
    pub const NOT_GREETED: u32 = 5;
    /// This month's volume is spent.
    pub const SPENT: u32 = 6;
    /// It gave its place to another.
    pub const REPLACED: u32 = 7;
    /// The link was opened for a search, which has ended: there are neighbours enough.
    pub const ENOUGH: u32 = 8;
}
