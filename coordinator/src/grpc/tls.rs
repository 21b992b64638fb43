//! Who may connect and how: TCP accepted within bounds, TLS 1.3 with the project's certificate, nothing in plain text.

use super::places::{Crowd, Place, Places, Rule};
use crate::project::Identity;
use crate::tasks::Tasks;
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

/// Handshakes under way at once: each costs a signature and some memory before we know whom we speak with.
const HANDSHAKES_MAX: usize = 512;
/// One of so many connections may be of somebody who has not shown who it is: those who have keep the others.
const STRANGERS_SHARE: usize = 4;
/// Pause after the system refused us a connection (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a stream of connections is taken in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Open at once.
    pub(crate) connections_max: usize,
    /// How long a handshake may take.
    pub(crate) handshake: Duration,
    /// How long a connection may last before a call on it has shown who it is.
    pub(crate) stranger: Duration,
}

/// The other end of a connection, as the services see it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Where it comes from.
    pub(crate) address: SocketAddr,
    /// Held until it has shown who it is.
    stranger: Arc<Stranger>,
}

impl Peer {
    /// Whether no call has shown yet who it is.
    pub(crate) fn is_stranger(&self) -> bool {
        lock(&self.stranger).is_some()
    }

    /// A call has shown who it is: the connection may stay.
    pub(crate) fn is_known(&self) {
        // Dropped after the lock is free.
        let place = lock(&self.stranger).take();
        drop(place);
    }
}

/// The place among strangers, held until a connection is one no more.
type Stranger = Mutex<Option<Place<Crowd>>>;

fn lock(stranger: &Stranger) -> MutexGuard<'_, Option<Place<Crowd>>> {
    stranger.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A connection after its handshake; gives its place free when it is dropped. It ends when its place goes to somebody else.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    /// None once it has ended.
    over: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _place: Place<Crowd>,
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
    let gate = Gate {
        acceptor: TlsAcceptor::from(config),
        connections,
        bounds,
        handshakes: Places::new(HANDSHAKES_MAX, Rule::Oldest),
        strangers: Places::new(bounds.connections_max / STRANGERS_SHARE, Rule::Oldest),
        places: Places::new(bounds.connections_max, Rule::Fair),
    };
    let (tasks_inside, stop) = (tasks.clone(), stop.clone());
    tasks.spawn(async move {
        let accepting = accept_loop(listener, gate, tasks_inside, stop.clone());
        stop.run_until_cancelled_owned(accepting).await;
    });
    accepted
}

/// What a connection passes on its way in.
#[derive(Clone)]
struct Gate {
    acceptor: TlsAcceptor,
    connections: mpsc::Sender<io::Result<Connection>>,
    bounds: Bounds,
    handshakes: Arc<Places<Crowd>>,
    strangers: Arc<Places<Crowd>>,
    places: Arc<Places<Crowd>>,
}

async fn accept_loop(listener: TcpListener, gate: Gate, tasks: Tasks, stop: CancellationToken) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; raise the limit of open files (LimitNOFILE, ulimit -n)");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let crowd = Crowd::of(address.ip());
        let Some(place) = gate.places.take(crowd) else {
            tracing::debug!(%address, "turned away: all connections are taken, as many by its network as by any");
            continue;
        };
        let Some(turn) = gate.handshakes.take(crowd) else { continue };
        let (gate, stop) = (gate.clone(), stop.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled_owned(gate.pass(stream, address, place, turn)).await;
        });
    }
}

impl Gate {
    async fn pass(
        self,
        stream: TcpStream,
        address: SocketAddr,
        place: Place<Crowd>,
        turn: Place<Crowd>,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "connection lost");
            return;
        }
        let over = turn.over().clone();
        let handshake = timeout(self.bounds.handshake, self.acceptor.accept(stream));
        let stream = match over.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => stream,
            Some(Ok(Err(error))) => {
                tracing::debug!(%address, %error, "no TLS handshake");
                return;
            }
            Some(Err(_)) => {
                tracing::debug!(%address, "the TLS handshake took too long");
                return;
            }
            None => {
                tracing::debug!(%address, "the TLS handshake gave way to another");
                return;
            }
        };
        drop(turn);
        let Some(stranger) = self.strangers.take(Crowd::of(address.ip())) else { return };
        let ends = [place.over().clone(), stranger.over().clone()];
        let stranger = Arc::new(Mutex::new(Some(stranger)));
        let over = ending(ends, Arc::downgrade(&stranger), self.bounds.stranger);
        let peer = Peer { address, stranger };
        let over: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(over);
        let connection = Connection { stream, peer, over: Some(over), _place: place };
        // The server has stopped when nobody takes the connection.
        let _ = self.connections.send(Ok(connection)).await;
    }
}

/// Ends when one of `ends` does, or when after `patience` a connection is still a stranger's.
async fn ending(ends: [CancellationToken; 2], stranger: Weak<Stranger>, patience: Duration) {
    let [place, turn] = ends;
    let silent = async {
        sleep(patience).await;
        if !stranger.upgrade().is_some_and(|stranger| lock(&stranger).is_some()) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = place.cancelled() => {}
        () = turn.cancelled() => {}
        () = silent => {}
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The server always reads, so that this is enough to end the connection.
        if self.over.as_mut().is_none_or(|over| over.as_mut().poll(cx).is_ready()) {
            self.over = None;
            let why = "the connection gave way: nobody has shown who it is, or its network holds too many";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
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
