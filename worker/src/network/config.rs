//! How a worker takes part in the peer network, and why something there does not work.

use super::peer_record::Relay;
use super::{frame, neighbour_limits};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How a worker takes part in the peer network.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; at all addresses, on a port that the system chooses, when absent.
    pub listen: Option<SocketAddr>,
    /// Neighbours at most.
    pub links_max: usize,
    /// Neighbours to look for.
    pub links_wanted: usize,
    /// Connections from outside, of all protocols together.
    pub connections_max: usize,
    /// Of them, those of one address.
    pub connections_per_address_max: usize,
    /// Bytes per second that transfers may send; absent means unlimited.
    pub up_per_second: Option<u64>,
    /// Bytes per second that transfers may ask for; absent means unlimited.
    pub down_per_second: Option<u64>,
    /// Bytes of a calendar month, both ways together; absent means unlimited.
    pub month_bytes_max: Option<u64>,
    /// Whether to tell the coordinator where this worker is reached, and ask it for peers.
    pub tracker: bool,
    /// Whether to look for members on the local network by multicast.
    pub lan: bool,
    /// Whether to ask peers for peers.
    pub exchange: bool,
    /// Whether to search for peers by their keys among members, as in a distributed hash table.
    pub lookup: bool,
    /// Whether to use relays of seeds, where no direct way is open.
    pub relays: bool,
    /// Whether to ask the house's router for an open port (UPnP, PCP, NAT-PMP).
    pub port_mapping: bool,
    /// The relay that this program runs, if it is a seed.
    pub serves: Option<Relay>,
    /// Where the certificate, the peers and the traffic are kept; nothing is kept when absent.
    pub folder: Option<PathBuf>,
    /// How often neighbours are looked after.
    pub tick: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: None,
            links_max: 32,
            links_wanted: 8,
            connections_max: 512,
            connections_per_address_max: 128,
            up_per_second: None,
            down_per_second: None,
            month_bytes_max: None,
            tracker: true,
            lan: true,
            exchange: true,
            lookup: true,
            relays: true,
            port_mapping: true,
            serves: None,
            folder: None,
            tick: Duration::from_secs(2),
        }
    }
}

impl Config {
    /// Of the neighbours, those that opened the link themselves leave as many places as this side looks for.
    pub(super) fn slots(&self) -> neighbour_limits::Limits {
        let inbound = self.links_max.saturating_sub(self.links_wanted).max(self.links_max / 2);
        neighbour_limits::Limits { all: self.links_max, inbound }
    }
}

/// Why the peer network does not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open the peers' port: {0}; choose another with --peer-listen, or do without with --no-peers"
)]
pub struct BindError(String);

impl BindError {
    pub(super) fn of(error: impl std::fmt::Display) -> Self {
        Self(format!("{error:#}"))
    }
}

/// Why a peer is not reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// This worker has no certificate yet.
    #[error("the coordinator has not made this worker a member yet")]
    NoCertificate,
    /// It showed no good certificate.
    #[error("it is no member: {0}")]
    Stranger(String),
    /// It closed the connection, with a [`super::code`] and its reason.
    #[error("it refused ({0}): {1}")]
    Refused(u32, String),
    /// It is shut out for a while.
    #[error("it is shut out for a while for what it did")]
    Banned,
    /// No room for one more neighbour here.
    #[error("there are neighbours enough")]
    Full,
    /// This month's volume is spent.
    #[error("this month's volume is spent")]
    Spent,
    /// No answer, or a connection that broke.
    #[error("{0}")]
    Lost(String),
    /// It was said meanwhile to be reached elsewhere: tried again there.
    #[error("it is reached elsewhere by now")]
    Moved,
    /// This side is closing.
    #[error("the program ends")]
    Closed,
}

impl From<frame::Error> for ConnectError {
    fn from(error: frame::Error) -> Self {
        Self::Lost(error.to_string())
    }
}
