//! How a worker or a researcher reaches the coordinator: TLS to whoever holds a certificate of the authority whose
//! fingerprint the join string carries, and to nobody else.

use hyper_util::rt::TokioIo;
use proto::Digest;
use proto::join::Join;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::Service;

/// The name in every coordinator's certificate. The authority's fingerprint tells projects apart, so that a coordinator
/// may move to another host or address without a new certificate.
pub const SERVER_NAME: &str = "coordinator.starling";
/// 1976-01-01, seconds since 1970. An authority's certificates are good from 1975 to 4096, so that their dates say nothing;
/// a machine without a battery starts in 1970 and would find them not good yet. It connects all the same: who is right is
/// known by the fingerprint, not by the date.
const EARLIEST_S: u64 = 189_302_400;
/// How long to wait for a connection: longer than a handshake over a satellite.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How often an idle connection is probed, so that a dead one is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Bytes that one answer may have under way before they are read: a line with a round trip of 0.2 s carries 40 MB/s then.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// Bytes that all of them may: several times as many, so that no answer that is read slowly takes the room of the others.
const CONNECTION_WINDOW_BYTES: u32 = 4 * STREAM_WINDOW_BYTES;

/// Trusts one certificate authority, known by the digest of its certificate. The server sends that certificate along.
#[derive(Debug)]
struct Pinned {
    ca: Digest,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl Pinned {
    fn refuse() -> rustls::Error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = intermediates
            .iter()
            .find(|cert| Digest::of(cert) == self.ca)
            .ok_or_else(Self::refuse)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().max(EARLIEST_S)));
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|_| Self::refuse())?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks that a server's certificate is one that clients of the authority `ca` would accept.
///
/// # Errors
/// When they would not.
pub fn check_server(
    ca: &CertificateDer<'_>,
    server: &CertificateDer<'_>,
) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let name = ServerName::try_from(SERVER_NAME).expect("a proper name");
    let pinned = Pinned { ca: Digest::of(ca), provider };
    let chain = [ca.clone()];
    pinned.verify_server_cert(server, &chain, &name, &[], UnixTime::now()).map(drop)
}

fn client_config(ca: Digest) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { ca, provider }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Connects to the coordinator of `join`.
///
/// # Errors
/// When the address does not answer, or answers without a certificate of the pinned authority.
pub async fn connect(join: &Join) -> Result<Channel, tonic::transport::Error> {
    endpoint(join)?.connect_with_connector(Connector::new(join)).await
}

/// Whether somebody answered, and has no certificate of the pinned authority.
#[must_use]
pub fn is_foreign(error: &tonic::transport::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Like [`connect`], but connects at the first call and again whenever the connection was lost.
///
/// # Errors
/// When the address is no address.
pub fn connect_lazy(join: &Join) -> Result<Channel, tonic::transport::Error> {
    Ok(endpoint(join)?.connect_with_connector_lazy(Connector::new(join)))
}

fn endpoint(join: &Join) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{}", join.address))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}

/// Opens TCP and then TLS to the coordinator.
#[derive(Clone)]
struct Connector {
    address: String,
    tls: TlsConnector,
}

impl Connector {
    fn new(join: &Join) -> Self {
        let config = client_config(join.ca).expect("the ring provider has the default versions");
        Self { address: join.address.clone(), tls: TlsConnector::from(Arc::new(config)) }
    }

    async fn open(self) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(SERVER_NAME).expect("a proper name");
        Ok(TokioIo::new(self.tls.connect(name, stream).await?))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().open())
    }
}
