//! A TCP relay between a worker and its coordinator that a test can cut, stall and mend.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Reads that are under way on a line with a delay: 256 MB, far more than a window.
const UNDER_WAY_MAX: usize = 4096;

/// What the wire does with what goes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Carries everything.
    Sound,
    /// Carries nothing more, but keeps connections open: a stream that stalls half way.
    Stalled,
    /// Connections are reset and none is accepted.
    Cut,
}

/// A relay on loopback; it ends when it is dropped.
#[derive(Debug)]
pub struct Wire {
    /// Where to connect to instead of the coordinator.
    pub address: SocketAddr,
    condition: watch::Sender<Condition>,
    _relay: JoinSet<()>,
}

impl Wire {
    /// Starts a relay to `target`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        Self::delayed(target, Duration::ZERO).await
    }

    /// Starts a relay to `target` that carries everything so much later, each way.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn delayed(target: SocketAddr, delay: Duration) -> io::Result<Self> {
        Self::start(target, Ipv4Addr::LOCALHOST, delay).await
    }

    /// Starts a relay to `target` whose connections come from `source`, another address of this machine: from another network,
    /// for whoever looks at addresses.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn coming_from(target: SocketAddr, source: Ipv4Addr) -> io::Result<Self> {
        Self::start(target, source, Duration::ZERO).await
    }

    async fn start(target: SocketAddr, source: Ipv4Addr, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (condition, state) = watch::channel(Condition::Sound);
        let mut relay = JoinSet::new();
        relay.spawn(accept(listener, (target, source), delay, state));
        Ok(Self { address, condition, _relay: relay })
    }

    /// Changes what the wire does from now on.
    pub fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }
}

async fn accept(
    listener: TcpListener,
    (target, source): (SocketAddr, Ipv4Addr),
    delay: Duration,
    state: watch::Receiver<Condition>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        if *state.borrow() == Condition::Cut {
            continue;
        }
        let state = state.clone();
        connections.spawn(async move {
            let Ok(far) = connect(target, source).await else { return };
            let (mut cut, (near, far)) = (state.clone(), (near.into_split(), far.into_split()));
            tokio::select! {
                () = carry(near.0, far.1, delay, state.clone()) => {}
                () = carry(far.0, near.1, delay, state) => {}
                _ = cut.wait_for(|condition| *condition == Condition::Cut) => {}
            }
        });
    }
}

async fn connect(target: SocketAddr, source: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(target).await
}

/// Takes in what comes, and hands it on when its time has come.
async fn carry(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    delay: Duration,
    state: watch::Receiver<Condition>,
) {
    let most = if delay.is_zero() { 1 } else { UNDER_WAY_MAX };
    let (under_way, arriving) = mpsc::channel(most);
    tokio::join!(take(from, delay, state, under_way), hand_on(to, arriving));
}

async fn take(
    from: OwnedReadHalf,
    delay: Duration,
    mut state: watch::Receiver<Condition>,
    under_way: mpsc::Sender<(Instant, Vec<u8>)>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        if state.wait_for(|condition| *condition == Condition::Sound).await.is_err()
            || from.readable().await.is_err()
        {
            return;
        }
        if *state.borrow() != Condition::Sound {
            continue;
        }
        let len = match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        if under_way.send((Instant::now() + delay, buffer[..len].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn hand_on(mut to: OwnedWriteHalf, mut arriving: mpsc::Receiver<(Instant, Vec<u8>)>) {
    while let Some((at, bytes)) = arriving.recv().await {
        if Instant::now() < at {
            tokio::time::sleep_until(at).await;
        }
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}
