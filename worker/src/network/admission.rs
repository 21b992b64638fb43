//! The gate that every connection passes, of whatever protocol: only members, within the bounds.

use super::peer_record::worker_key;
use super::shared::Network;
use super::{code, kademlia, link};
use iroh::EndpointAddr;
use iroh::endpoint::{
    AfterHandshakeOutcome, BeforeConnectOutcome, Connection, EndpointHooks, Incoming, IncomingAddr,
    Side,
};
use iroh::protocol::IncomingFilterOutcome;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Weak;
use std::time::Duration;

/// Longest wait for a greeting that is about to end.
const GREETING_MAX: Duration = Duration::from_secs(1);

/// Greets before other protocols connect, and lets in whom this side knows.
#[derive(Debug)]
pub(super) struct Gate(pub(super) Weak<Network>);

impl EndpointHooks for Gate {
    async fn before_connect(&self, address: &EndpointAddr, alpn: &[u8]) -> BeforeConnectOutcome {
        if alpn == link::ALPN {
            return BeforeConnectOutcome::Accept;
        }
        let Some(shared) = self.0.upgrade() else { return BeforeConnectOutcome::Reject };
        let worker = worker_key(&address.id);
        if shared.config.lookup && !shared.is_known(&worker) {
            Box::pin(kademlia::find(&shared, &worker)).await;
        }
        match Box::pin(shared.greet(address.clone())).await {
            Ok(()) => BeforeConnectOutcome::Accept,
            Err(error) => {
                tracing::debug!(peer = %address.id.fmt_short(), %error, "not greeted");
                BeforeConnectOutcome::Reject
            }
        }
    }

    async fn after_handshake(&self, connection: &Connection) -> AfterHandshakeOutcome {
        let reject = |code: u32, reason: &str| AfterHandshakeOutcome::Reject {
            error_code: code.into(),
            reason: reason.as_bytes().to_vec(),
        };
        let Some(shared) = self.0.upgrade() else { return reject(code::GOODBYE, "closing") };
        if connection.side() == Side::Client {
            shared.track(connection, None);
            return AfterHandshakeOutcome::Accept;
        }
        let worker = worker_key(&connection.remote_id());
        if shared.is_banned(&worker) {
            return reject(code::RUDE, "shut out for a while");
        }
        // Whoever has just been greeted may connect before this side has noted it.
        if connection.alpn() != link::ALPN
            && !shared.is_greeted(&worker)
            && !shared.joins(&worker, GREETING_MAX).await
        {
            return reject(code::NOT_GREETED, "show your certificate on a link first");
        }
        match shared.track(connection, Some(visitor_of(connection))) {
            true => AfterHandshakeOutcome::Accept,
            false => reject(code::FULL, "too many connections"),
        }
    }
}

/// Whether somebody who knocks is answered at all.
pub(super) fn knock(shared: &Network, incoming: &Incoming) -> IncomingFilterOutcome {
    let address = match incoming.remote_addr() {
        IncomingAddr::Ip(address) => address.ip(),
        IncomingAddr::Relay { url, .. } => relayed(&url.to_string()),
        _ => return IncomingFilterOutcome::Reject,
    };
    match shared.knock(address) {
        true => IncomingFilterOutcome::Accept,
        // No answer costs nothing, and an address that somebody else has written into a packet is not answered either.
        false => IncomingFilterOutcome::Ignore,
    }
}

/// Under which address a connection is counted.
fn visitor_of(connection: &Connection) -> IpAddr {
    let paths = connection.paths();
    let direct = paths.iter().find_map(|path| match path.remote_addr() {
        iroh::TransportAddr::Ip(address) => Some(address.ip()),
        _ => None,
    });
    let relay = paths.iter().find_map(|path| match path.remote_addr() {
        iroh::TransportAddr::Relay(url) => Some(relayed(&url.to_string())),
        _ => None,
    });
    direct.or(relay).unwrap_or_else(|| relayed(""))
}

/// All who come through one relay are counted as one address: 48 bits of the digest of its URL after `0100`. It lies in
/// `100::/8`, which is reserved and routed nowhere, but hardly ever in the `100::/64` of it that RFC 6666 gives away for
/// packets to be dropped. It is a key of tables here and is never sent to.
fn relayed(url: &str) -> IpAddr {
    let digest = blake3::hash(url.as_bytes());
    let low = digest.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    Ipv6Addr::from_bits(0x0100_u128 << 112 | u128::from(low) << 64 & (u128::MAX >> 16)).into()
}
