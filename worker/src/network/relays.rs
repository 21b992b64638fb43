//! Relays of seeds, used by those to whom no direct way is open: which ones, and how they are known to be what they say.
//!
//! A relay sees who talks to whom and how much, and nothing of what: connections are encrypted from end to end. Its TLS
//! certificate is made with the seed's own worker key, and taken only from seeds that have shown that they are members: no
//! public authority is asked. This side shows the relay its own certificate as a token.

use super::peer_record::Relay;
use super::shared::Network;
use iroh::{RelayConfig, RelayUrl};
use iroh_relay::RelayQuicConfig;
use iroh_relay::tls::CaTlsConfig;
use proto::WorkerKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// Relays to choose from: the nearest becomes ours, and others stand by.
const RELAYS_MAX: usize = 3;
/// Relays known to the endpoint at once, those of peers that we talk to included.
const KNOWN_MAX: usize = 16;
/// What an Ed25519 key begins with in a certificate (RFC 8410).
const SPKI_PREFIX: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Keys of seeds whose relays are used.
pub(super) type Seeds = Arc<RwLock<BTreeSet<WorkerKey>>>;

/// The relays in use.
#[derive(Debug, Default)]
pub(super) struct Relays {
    ours: BTreeSet<RelayUrl>,
}

impl Relays {
    /// Takes up to a few relays of seeds that are known, and lets go of those whose seeds are not known any more.
    pub(super) async fn tend(&mut self, shared: &Arc<Network>) {
        if !shared.config.relays || shared.serves.is_some() {
            return;
        }
        let known = seeds(shared);
        let gone: Vec<_> = self
            .ours
            .iter()
            .filter(|url| !known.iter().any(|(_, relay)| relay.url == **url))
            .cloned()
            .collect();
        for url in gone {
            self.ours.remove(&url);
            if let Some(endpoint) = shared.endpoint() {
                endpoint.remove_relay(&url).await;
            }
        }
        for (worker, relay) in known {
            if RELAYS_MAX <= self.ours.len() {
                break;
            }
            if !self.ours.contains(&relay.url) && take(shared, worker, &relay).await {
                tracing::info!(relay = %relay.url, "a seed's relay stands by");
                self.ours.insert(relay.url);
            }
        }
    }
}

/// Seeds that are known, neighbours first.
fn seeds(shared: &Network) -> Vec<(WorkerKey, Relay)> {
    let state = shared.state();
    let linked = state.links.values().filter(|live| live.is_open()).map(|live| &live.contact);
    let known = state.table.peers().filter(|peer| peer.failures == 0).map(|peer| &peer.contact);
    let mut seen = BTreeSet::new();
    let all = linked.map(|contact| (true, contact)).chain(known.map(|contact| (false, contact)));
    let mut seeds: Vec<_> = all
        .filter_map(|(linked, contact)| {
            let relay = contact.serves.clone()?;
            let worker = contact.worker();
            // In random order, so that nobody is chosen for a key that begins well.
            seen.insert(worker).then(|| (!linked, rand::random::<u64>(), worker, relay))
        })
        .collect();
    seeds.sort_by_key(|(linked, random, ..)| (*linked, *random));
    seeds.into_iter().map(|(_, _, worker, relay)| (worker, relay)).collect()
}

/// Makes a seed's relay known to the endpoint.
async fn take(shared: &Network, worker: WorkerKey, relay: &Relay) -> bool {
    let (Some(endpoint), Some(certificate)) = (shared.endpoint(), *shared.certificate.borrow())
    else {
        return false;
    };
    {
        let mut seeds = shared.seeds.write().unwrap_or_else(PoisonError::into_inner);
        if KNOWN_MAX <= seeds.len() && !seeds.contains(&worker) {
            return false;
        }
        seeds.insert(worker);
    }
    let quic = (relay.quic_port != 0).then(|| RelayQuicConfig::new(relay.quic_port));
    let token = data_encoding::BASE64URL_NOPAD.encode(&certificate.to_bytes());
    let config = RelayConfig::new(relay.url.clone(), quic).with_auth_token(token);
    endpoint.insert_relay(relay.url.clone(), Arc::new(config)).await;
    true
}

/// Before a peer is dialled: the relay at which it listens must be known to the endpoint, if it is a seed's.
pub(super) async fn prepare(shared: &Network, url: &RelayUrl) {
    let seed = seeds(shared).into_iter().find(|(_, relay)| relay.url == *url);
    let is_new = |worker: &WorkerKey| {
        !shared.seeds.read().unwrap_or_else(PoisonError::into_inner).contains(worker)
    };
    if let Some((worker, relay)) = seed
        && is_new(&worker)
    {
        take(shared, worker, &relay).await;
    }
}

/// Trusts relays of `seeds` and nobody else.
pub(super) fn tls(seeds: &Seeds) -> CaTlsConfig {
    let seeds = Arc::clone(seeds);
    CaTlsConfig::custom_server_cert_verifier(Arc::new(move |provider: Arc<CryptoProvider>| {
        let algorithms = provider.signature_verification_algorithms;
        Ok(Arc::new(OnlySeeds { seeds: Arc::clone(&seeds), algorithms }))
    }))
}

/// Takes a certificate whose key is that of a seed; its signature over the handshake shows that the other side has it.
#[derive(Debug)]
struct OnlySeeds {
    seeds: Seeds,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OnlySeeds {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let stranger = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let info = parsed.subject_public_key_info();
        let (_, key) =
            info.as_ref().split_at_checked(info.len().saturating_sub(32)).ok_or_else(stranger)?;
        let key = key.try_into().map(WorkerKey).map_err(|_| stranger())?;
        let is_ed25519 = info.ends_with(&[SPKI_PREFIX.as_slice(), &key.0].concat());
        match is_ed25519 && self.seeds.read().unwrap_or_else(PoisonError::into_inner).contains(&key)
        {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(stranger()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("relays speak TLS 1.3".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
