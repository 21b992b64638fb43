//! The relay that a seed runs, for members that no direct way leads to.

use super::BindError;
use ed25519_dalek::SigningKey;
use iroh_metrics::Registry;
use iroh_relay::server::{
    Access, AccessControl, CertConfig, ClientRateLimit, ClientRequest, Limits, QuicConfig,
    RelayConfig, Server, ServerConfig, TlsConfig,
};
use proto::ProjectKey;
use proto::member::Certificate;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

/// Longest token that is looked at, bytes: a certificate in base64.
const TOKEN_BYTES_MAX: usize = 512;
/// How long a relay may take to close its connections.
const CLOSE_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// Where a relay listens, and what it lets through.
#[derive(Clone, Copy, Debug)]
pub struct RelaySettings {
    /// TCP, for the relay itself.
    pub listen: SocketAddr,
    /// UDP, where a peer learns its public address.
    pub listen_quic: SocketAddr,
    /// Bytes per second of one member; absent means unlimited.
    pub bytes_per_second: Option<NonZeroU32>,
}

/// A relay that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct RelayServer(Server);

impl RelayServer {
    /// Starts a relay of the seed whose key is `worker`, for members of `project`.
    ///
    /// # Errors
    /// [`BindError`] when a port is taken.
    pub async fn start(
        worker: &SigningKey,
        project: ProjectKey,
        settings: RelaySettings,
    ) -> Result<Self, BindError> {
        let tls = tls_config(worker).map_err(BindError::of)?;
        // Beside TLS the library wants a plain port, for a page that nobody here needs: on loopback, any.
        let mut relay = RelayConfig::new((Ipv4Addr::LOCALHOST, 0));
        relay.tls = Some(TlsConfig::new(
            settings.listen,
            CertConfig::Manual { server_config: tls.clone() },
        ));
        let mut limits = Limits::default();
        limits.client_rx = settings.bytes_per_second.map(ClientRateLimit::new);
        relay.limits = limits;
        relay.access = Arc::new(MembersOnly { project });
        let mut quic = QuicConfig::new(settings.listen_quic);
        quic.server_config = Some(tls);
        let mut config = ServerConfig::default();
        config.relay = Some(relay);
        config.quic = Some(quic);
        Box::pin(Server::spawn(config)).await.map(Self).map_err(BindError::of)
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.0.https_addr().map(|address| address.port())
    }

    /// The UDP port.
    #[must_use]
    pub fn quic_port(&self) -> Option<u16> {
        self.0.quic_addr().map(|address| address.port())
    }

    /// Bytes that it passed on.
    #[must_use]
    pub fn relayed_bytes(&self) -> u64 {
        self.0.metrics().server.bytes_sent.get()
    }

    /// Adds what the relay counts.
    pub fn register(&self, registry: &mut Registry) {
        registry.sub_registry_with_prefix("iroh").register_all(self.0.metrics());
    }

    /// Closes all connections.
    pub async fn shutdown(self) {
        if tokio::time::timeout(CLOSE_MAX, self.0.shutdown()).await.is_err() {
            tracing::debug!("the relay's connections did not close in time");
        }
    }
}

/// A certificate made with the seed's own key: whoever knows the key needs no authority.
fn tls_config(worker: &SigningKey) -> Result<rustls::ServerConfig, String> {
    let der = PrivatePkcs8KeyDer::from(pkcs8(worker));
    let failed = |error: &dyn std::fmt::Display| format!("cannot make a certificate: {error}");
    let pair = KeyPair::try_from(&der).map_err(|error| failed(&error))?;
    let params = CertificateParams::new(vec!["starling.invalid".to_owned()]);
    let params = params.map_err(|error| failed(&error))?;
    let certificate = params.self_signed(&pair).map_err(|error| failed(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failed(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::from(der))
        .map_err(|error| failed(&error))
}

/// An Ed25519 key as PKCS #8 has it, with the public key (RFC 5958, RFC 8410).
fn pkcs8(key: &SigningKey) -> Vec<u8> {
    const BEGIN: [u8; 16] = [
        0x30, 0x51, 0x02, 0x01, 0x01, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    const PUBLIC: [u8; 3] = [0x81, 0x21, 0x00];
    [BEGIN.as_slice(), key.as_bytes(), &PUBLIC, key.verifying_key().as_bytes()].concat()
}

/// Members only: whoever connects shows its certificate as a token.
#[derive(Debug)]
struct MembersOnly {
    project: ProjectKey,
}

impl AccessControl for MembersOnly {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let token = request.auth_token().filter(|token| token.len() <= TOKEN_BYTES_MAX);
        let bytes =
            token.and_then(|token| data_encoding::BASE64URL_NOPAD.decode(token.as_bytes()).ok());
        let now_ms = crate::clock::wall_ms();
        let certificate = bytes.map(|bytes| Certificate::open(&bytes, &self.project, now_ms));
        match certificate {
            Some(Ok(certificate))
                if certificate.member().worker.0 == *request.endpoint_id().as_bytes() =>
            {
                Access::Allow
            }
            Some(Err(invalid)) => Access::Deny { reason: Some(invalid.to_string()) },
            _ => Access::Deny { reason: Some("members of the project only".into()) },
        }
    }
}
