//! Who may connect and how: TCP accepted within bounds, TLS 1.3 with the project's certificate, nothing in plain text.

use crate::project::Identity;
use crate::tasks::Tasks;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

/// Handshakes under way at once: each costs a signature and some memory before we know whom we speak with.
const HANDSHAKES_MAX: usize = 512;
/// Pause after the system refused us a connection (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a stream of connections is taken in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Open at once.
    pub(crate) connections_max: usize,
    /// How long a handshake may take.
    pub(crate) handshake: Duration,
}

/// What the server shows: its certificate with the authority's behind it, so that a client can pin the latter.
pub(crate) fn server_config(identity: &Identity) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![identity.server.clone(), identity.ca.clone()];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, identity.server_key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// A connection after its handshake; gives its place free when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
}

/// Accepts until `stop`; what has shaken hands comes out of the channel.
pub(crate) fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    bounds: Bounds,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (connections, accepted) = mpsc::channel(HANDSHAKES_MAX);
    let handshakes = Handshakes {
        acceptor: TlsAcceptor::from(config),
        connections,
        limit: bounds.handshake,
        at_once: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
    };
    let (tasks_inside, stop) = (tasks.clone(), stop.clone());
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    tasks.spawn(async move {
        stop.clone()
            .run_until_cancelled_owned(accept_loop(
                listener,
                places,
                handshakes,
                tasks_inside,
                stop,
            ))
            .await;
    });
    accepted
}

#[derive(Clone)]
struct Handshakes {
    acceptor: TlsAcceptor,
    connections: mpsc::Sender<io::Result<Connection>>,
    limit: Duration,
    at_once: Arc<Semaphore>,
}

async fn accept_loop(
    listener: TcpListener,
    places: Arc<Semaphore>,
    handshakes: Handshakes,
    tasks: Tasks,
    stop: CancellationToken,
) {
    loop {
        // Semaphores are never closed. While all places are taken, connections wait in the system's own short queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok(turn) = Arc::clone(&handshakes.at_once).acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; raise the limit of open files (LimitNOFILE, ulimit -n)");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (handshakes, stop) = (handshakes.clone(), stop.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled_owned(handshakes.shake(stream, peer, place)).await;
            drop(turn);
        });
    }
}

impl Handshakes {
    async fn shake(self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "connection lost");
            return;
        }
        match timeout(self.limit, self.acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                // The server has stopped when nobody takes the connection.
                let _ = self.connections.send(Ok(Connection { stream, peer, _place: place })).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake"),
            Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = SocketAddr;
    fn connect_info(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
