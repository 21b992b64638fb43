//! One worker's stream from its challenge to its end: a reader and a writer side by side.

use super::hello::{Greeted, greet};
use super::rate::Rate;
use super::{End, Outbound, RETRY_MS, reports, send, shown, writer};
use crate::core::event::Session;
use crate::grpc::access::Volunteer;
use crate::grpc::places::Crowd;
use crate::grpc::tls::Peer;
use crate::grpc::{Services, convert};
use prost::Message;
use proto::bounds::{HEARTBEAT_LEASES_MAX, LEASE_UNITS_MAX, LOGS_PER_MESSAGE_MAX};
use proto::pb::{self, coordinator_message::Kind as ToKind, refusal::Code, worker_message::Kind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Status, Streaming};

/// Units given back in one message: a whole lease.
const RETURNS_MAX: usize = LEASE_UNITS_MAX as usize;
/// How long a refusal may take to leave: whoever does not read it in time does without.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves the stream to its end.
pub(super) async fn serve(
    shared: Arc<Services>,
    peer: Option<Peer>,
    mut inbound: Streaming<pb::WorkerMessage>,
    outbound: Outbound,
) {
    let known = peer;
    let peer = known.as_ref().map(|peer| peer.address);
    let stop = shared.stop.clone();
    let from = (network(peer, shared.lan), Crowd::of_peer(peer));
    let greeted =
        match stop.run_until_cancelled(greet(&shared, &mut inbound, &outbound, from)).await {
            Some(Ok(greeted)) => greeted,
            Some(Err(end)) => return last_words(peer, &outbound, end).await,
            None => return last_words(peer, &outbound, stopping()).await,
        };
    if let Some(peer) = known {
        peer.is_known();
    }
    let session = greeted.session;
    tracing::debug!(?peer, worker = ?greeted.volunteer.worker, "worker connected");
    let end = tokio::select! {
        end = attend(&shared, greeted, &mut inbound, &outbound) => end,
        () = stop.cancelled() => stopping(),
    };
    // The engine has stopped before us when this fails, and forgot its sessions.
    let _ = shared.engine.gone(session).await;
    last_words(peer, &outbound, end).await;
}

fn stopping() -> End {
    let text = "the coordinator is stopping: go on with what you hold, and connect again later";
    End::refusal(Code::ShuttingDown, text, RETRY_MS)
}

async fn last_words(peer: Option<SocketAddr>, outbound: &Outbound, end: End) {
    let End::Refusal(refusal) = end else {
        tracing::debug!(?peer, "worker's stream ended");
        return;
    };
    tracing::debug!(?peer, code = refusal.code, refusal.message, "worker's stream refused");
    let message = pb::CoordinatorMessage { kind: Some(ToKind::Refusal(refusal)) };
    // Whoever does not read it does without.
    let _ = timeout(LAST_WORDS, outbound.send(Ok(message))).await;
}

/// What a failed read means: a message that is none, or a connection that was lost.
pub(super) fn broken(status: &Status) -> End {
    match status.code() {
        tonic::Code::OutOfRange | tonic::Code::Internal | tonic::Code::InvalidArgument => {
            End::refusal(
                Code::Malformed,
                format!("a message cannot be read: {}", status.message()),
                0,
            )
        }
        _ => End::Quiet,
    }
}

async fn attend(
    shared: &Services,
    greeted: Greeted,
    inbound: &mut Streaming<pb::WorkerMessage>,
    outbound: &Outbound,
) -> End {
    let Greeted { session, volunteer, from_core, _token } = greeted;
    if shared.gather.is_some() {
        // Nothing is decided meanwhile: what is said is not answered, and the stream only keeps the session.
        while let Ok(Ok(Some(_))) = timeout(shared.patience.silence, inbound.message()).await {}
        return End::Quiet;
    }
    tokio::select! {
        end = read(shared, session, volunteer, inbound, outbound) => end,
        end = writer::write(shared, &volunteer.worker, from_core, outbound) => end,
    }
}

async fn read(
    shared: &Services,
    session: Session,
    volunteer: Volunteer,
    inbound: &mut Streaming<pb::WorkerMessage>,
    outbound: &Outbound,
) -> End {
    let mut rate = Rate::new();
    loop {
        let message = match timeout(shared.patience.silence, inbound.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return End::Quiet,
            Ok(Err(status)) => return broken(&status),
            Err(_) => {
                let silence = humantime::format_duration(shared.patience.silence);
                let text = format!("nothing was heard for {silence}: connect again");
                return End::refusal(Code::Unspecified, text, RETRY_MS);
            }
        };
        rate.next().await;
        if let Err(end) = heard(shared, session, volunteer, message, outbound, &mut rate).await {
            return end;
        }
    }
}

/// One message becomes one event.
async fn heard(
    shared: &Services,
    session: Session,
    volunteer: Volunteer,
    message: pb::WorkerMessage,
    outbound: &Outbound,
    rate: &mut Rate,
) -> Result<(), End> {
    let engine = &shared.engine;
    let too_many = |what: &str, max: usize| {
        End::refusal(Code::Malformed, format!("at most {max} {what} in one message"), 0)
    };
    match message.kind {
        Some(Kind::Want(want)) => engine.want(session, convert::want(&want)).await?,
        Some(Kind::Reports(signed)) => {
            let acks = reports::taken(shared, session, volunteer, &signed).await?;
            send(shared, outbound, ToKind::Acks(acks)).await?;
        }
        Some(Kind::Heartbeat(heartbeat)) if HEARTBEAT_LEASES_MAX < heartbeat.lease_ids.len() => {
            return Err(too_many("leases", HEARTBEAT_LEASES_MAX));
        }
        Some(Kind::Heartbeat(heartbeat)) => {
            engine.heartbeat(session, convert::heartbeat(&heartbeat)).await?
        }
        Some(Kind::Returns(returns)) if RETURNS_MAX < returns.returns.len() => {
            return Err(too_many("returns", RETURNS_MAX));
        }
        Some(Kind::Returns(returns)) => engine.returned(session, convert::returns(returns)).await?,
        Some(Kind::Goodbye(goodbye)) => {
            engine.goodbye(session, goodbye.leaving).await?;
            return Err(End::Quiet);
        }
        Some(Kind::Logs(logs)) if LOGS_PER_MESSAGE_MAX < logs.logs.len() => {
            return Err(too_many("units with lines", LOGS_PER_MESSAGE_MAX));
        }
        Some(Kind::Logs(logs)) if rate.lets_lines(logs.encoded_len()) => {
            engine.logged(session, convert::logs(logs)).await?;
        }
        // Said too fast: it is left out.
        Some(Kind::Logs(_)) => {}
        Some(Kind::Hello(_)) => {
            return Err(End::refusal(Code::Malformed, "Hello is said once per stream", 0));
        }
        Some(Kind::Shown(shown)) => {
            let shown = shown::checked(shared, volunteer, shown).await?;
            engine.shown(session, shown).await?;
        }
        Some(Kind::Segment(report)) => {
            let found = convert::found(&report, &volunteer.worker)
                .map_err(|error| End::refusal(Code::Signature, error, 0))?;
            engine.found(session, found).await?;
        }
        // A newer minor version may say more; what we do not know we pass over.
        None => {}
    }
    Ok(())
}

/// The network of all private addresses together: beyond what IPv4 ones begin with, below those of IPv6.
const PRIVATE: u64 = 1 << 33;

/// What the address of a worker begins with, as far as one owner commonly holds it: 24 bits of an IPv4 address, 48 of an
/// IPv6 one. Private addresses are one network, since all that come through a gateway, a proxy or a bridge of containers have
/// one, unless it is a `lan` whose people the operator knows: then, and for this machine, 0, which tells nothing.
fn network(peer: Option<SocketAddr>, lan: bool) -> u64 {
    let private = if lan { 0 } else { PRIVATE };
    match peer.map(|peer| peer.ip().to_canonical()) {
        None => 0,
        Some(ip) if ip.is_loopback() => 0,
        Some(IpAddr::V4(ip)) if ip.is_private() || ip.is_link_local() || is_shared(ip) => private,
        Some(IpAddr::V6(ip)) if ip.is_unique_local() || ip.is_unicast_link_local() => private,
        Some(IpAddr::V4(ip)) => u64::from(ip.to_bits() >> 8) | 1 << 32,
        Some(IpAddr::V6(ip)) => u64::try_from(ip.to_bits() >> 80).unwrap_or(0) | 1 << 56,
    }
}

/// Whether an address is one that providers and overlay networks share out (RFC 6598: 100.64.0.0/10).
fn is_shared(ip: Ipv4Addr) -> bool {
    ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_what_one_owner_commonly_holds() {
        let in_lan = |ip: &str, lan| network(Some(SocketAddr::new(ip.parse().unwrap(), 1)), lan);
        let of = |ip: &str| in_lan(ip, false);
        assert_eq!(of("203.0.113.7"), of("203.0.113.250"));
        assert_ne!(of("203.0.113.7"), of("203.0.114.7"));
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:ffff::9"));
        assert_ne!(of("2001:db8:1::3"), of("2001:db8:2::3"));
        assert_eq!(of("::ffff:203.0.113.7"), of("203.0.113.7"));
        for ip in ["10.1.2.3", "192.168.1.1", "172.17.0.1", "100.64.0.1", "fd00::1", "fe80::1"] {
            assert_eq!((of(ip), in_lan(ip, true)), (PRIVATE, 0), "{ip}");
        }
        assert_eq!((of("127.0.0.1"), of("::1"), network(None, false)), (0, 0, 0));
        assert_ne!(of("100.128.0.1"), PRIVATE);
    }
}
