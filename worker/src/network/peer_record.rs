//! A member and where it is reached: what peers and the tracker tell each other of a peer.

use iroh::{EndpointAddr, EndpointId, RelayUrl, TransportAddr};
use proto::member::{Certificate, Invalid};
use proto::{ProjectKey, WorkerKey, pb};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Addresses of one peer: some of each kind for a machine with a few networks.
pub const ADDRESSES_MAX: usize = 16;
/// Longest URL of a relay, bytes: a host name at its longest, and a port.
pub const URL_BYTES_MAX: usize = 280;

/// A member and where it is reached. The certificate cannot be made up; the addresses can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Shows that it is a member.
    pub certificate: Certificate,
    /// Of its endpoint.
    pub addresses: Vec<SocketAddr>,
    /// The relay at which it listens.
    pub relay: Option<RelayUrl>,
    /// The relay that it runs, if it is a seed.
    pub serves: Option<Relay>,
}

/// A relay that a seed runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Where; its TLS certificate is made with the seed's own key.
    pub url: RelayUrl,
    /// UDP port that tells a peer its public address; 0 when there is none.
    pub quic_port: u16,
}

/// As it travels among peers and is kept on disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Written {
    certificate: Vec<u8>,
    addresses: Vec<SocketAddr>,
    relay: Option<String>,
    serves: Option<(String, u16)>,
}

/// Why a contact is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    /// Its certificate.
    #[error(transparent)]
    Certificate(#[from] Invalid),
    /// Whoever shows it is another.
    #[error("the certificate is another worker's")]
    Another,
    /// Its addresses.
    #[error("an address or URL is none, or there are too many")]
    Address,
}

impl Contact {
    /// The peer.
    #[must_use]
    pub fn worker(&self) -> WorkerKey {
        self.certificate.member().worker
    }

    /// As iroh knows it; none when the key is no point of the curve.
    #[must_use]
    pub fn endpoint_addr(&self) -> Option<EndpointAddr> {
        let addresses = self.addresses.iter().copied().map(TransportAddr::Ip);
        let relay = self.relay.iter().cloned().map(TransportAddr::Relay);
        Some(EndpointAddr::from_parts(endpoint_id(&self.worker())?, addresses.chain(relay)))
    }

    /// As it travels.
    #[must_use]
    pub fn written(&self) -> Written {
        Written {
            certificate: self.certificate.to_bytes(),
            addresses: self.addresses.clone(),
            relay: self.relay.as_ref().map(ToString::to_string),
            serves: self.serves.as_ref().map(|relay| (relay.url.to_string(), relay.quic_port)),
        }
    }

    /// Reads what travelled and checks its certificate, at `now_ms` since 1970.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(written: &Written, project: &ProjectKey, now_ms: u64) -> Result<Self, Malformed> {
        if ADDRESSES_MAX < written.addresses.len() {
            return Err(Malformed::Address);
        }
        let serves = written
            .serves
            .as_ref()
            .map(|(url, quic_port)| relay_url(url).map(|url| Relay { url, quic_port: *quic_port }));
        Ok(Self {
            certificate: Certificate::open(&written.certificate, project, now_ms)?,
            addresses: usable(written.addresses.iter().copied()),
            relay: written.relay.as_deref().map(relay_url).transpose()?,
            serves: serves.transpose()?,
        })
    }

    /// For the tracker.
    #[must_use]
    pub fn to_pb(&self) -> pb::Contact {
        pb::Contact {
            certificate: self.certificate.to_bytes().into(),
            addresses: self.addresses.iter().map(ToString::to_string).collect(),
            relay: self.relay.as_ref().map(ToString::to_string).unwrap_or_default(),
            serves: self.serves.as_ref().map(|relay| pb::Relay {
                url: relay.url.to_string(),
                quic_port: relay.quic_port.into(),
            }),
        }
    }

    /// From the tracker, at `now_ms` since 1970.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_pb(
        contact: &pb::Contact,
        project: &ProjectKey,
        now_ms: u64,
    ) -> Result<Self, Malformed> {
        if ADDRESSES_MAX < contact.addresses.len() {
            return Err(Malformed::Address);
        }
        let addresses =
            contact.addresses.iter().map(|text| text.parse().map_err(|_| Malformed::Address));
        let addresses = addresses.collect::<Result<Vec<_>, Malformed>>()?;
        let serves = contact.serves.as_ref().map(|relay| {
            let quic_port = u16::try_from(relay.quic_port).map_err(|_| Malformed::Address)?;
            Ok::<_, Malformed>(Relay { url: relay_url(&relay.url)?, quic_port })
        });
        let relay = Some(contact.relay.as_str()).filter(|url| !url.is_empty());
        Ok(Self {
            certificate: Certificate::open(&contact.certificate, project, now_ms)?,
            addresses: usable(addresses.into_iter()),
            relay: relay.map(relay_url).transpose()?,
            serves: serves.transpose()?,
        })
    }
}

/// The key of a worker as iroh's endpoints know it; none when it is no point of the curve.
#[must_use]
pub fn endpoint_id(worker: &WorkerKey) -> Option<EndpointId> {
    EndpointId::from_bytes(&worker.0).ok()
}

/// The worker of an endpoint.
#[must_use]
pub fn worker_key(id: &EndpointId) -> WorkerKey {
    WorkerKey(*id.as_bytes())
}

fn relay_url(text: &str) -> Result<RelayUrl, Malformed> {
    match text.parse::<RelayUrl>() {
        Ok(url)
            if text.len() <= URL_BYTES_MAX && url.scheme() == "https" && url.host().is_some() =>
        {
            Ok(url)
        }
        _ => Err(Malformed::Address),
    }
}

/// Addresses to which something can be sent.
fn usable(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut usable: Vec<_> = addresses
        .filter(|address| {
            let ip = address.ip();
            let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
            !(address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || broadcast)
        })
        .collect();
    usable.sort_unstable();
    usable.dedup();
    usable
}

/// What the address of a peer begins with, as far as one owner commonly holds it: 24 bits of an IPv4 address, 48 of an
/// IPv6 one; 0 for addresses that say nothing of who is where. The same figure as the coordinator's in certificates.
#[must_use]
pub fn network(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) if !(ip.is_private() || ip.is_loopback() || ip.is_link_local()) => {
            u64::from(ip.to_bits() >> 8) | 1 << 32
        }
        IpAddr::V6(ip)
            if !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()) =>
        {
            u64::try_from(ip.to_bits() >> 80).unwrap_or(0) | 1 << 56
        }
        _ => 0,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use proto::AccountKey;
    use proto::member::Member;

    pub(crate) fn project() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    /// Worker `worker` of account `account` in network `network`.
    pub(crate) fn contact(worker: u32, account: u32, network: u64) -> Contact {
        let key = |number: u32| *blake3::hash(&number.to_le_bytes()).as_bytes();
        let member = Member {
            project: ProjectKey::from(&project()),
            worker: WorkerKey(key(worker)),
            account: AccountKey(key(account)),
            network,
            expires_at_ms: u64::MAX,
        };
        Contact {
            certificate: member.certify(&project()),
            addresses: vec![SocketAddr::from(([192, 0, 2, 1], 4000))],
            relay: None,
            serves: None,
        }
    }

    #[test]
    fn a_contact_travels_and_is_checked_on_arrival() {
        let key = ProjectKey::from(&project());
        let mut contact = contact(1, 1, 1);
        contact.relay = Some("https://relay.example.org:7701".parse().unwrap());
        contact.serves =
            Some(Relay { url: "https://[2001:db8::1]:7701".parse().unwrap(), quic_port: 7702 });
        assert_eq!(Contact::read(&contact.written(), &key, 0), Ok(contact.clone()));
        assert_eq!(Contact::from_pb(&contact.to_pb(), &key, 0), Ok(contact.clone()));
        let other = ProjectKey([1; 32]);
        let wrong = Err(Malformed::Certificate(Invalid::Project));
        assert_eq!(Contact::read(&contact.written(), &other, 0), wrong);
        let check = |change: fn(&mut Written)| {
            let mut written = contact.written();
            change(&mut written);
            assert_eq!(Contact::read(&written, &key, 0), Err(Malformed::Address));
        };
        check(|written| written.addresses = vec![written.addresses[0]; 17]);
        check(|written| written.relay = Some("http://plain.example.org".into()));
        check(|written| written.serves = Some((format!("https://{}", "a".repeat(300)), 1)));
    }

    #[test]
    fn nothing_is_sent_to_addresses_that_are_nobodys() {
        let addresses = ["0.0.0.0:1", "224.0.0.1:5", "[::]:1", "[ff02::1]:1", "255.255.255.255:1"];
        let addresses = addresses.into_iter().chain(["192.0.2.1:0", "192.0.2.1:9", "192.0.2.1:9"]);
        let usable = usable(addresses.map(|text| text.parse().unwrap()));
        assert_eq!(usable, ["192.0.2.1:9".parse().unwrap()]);
    }
}
