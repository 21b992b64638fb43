//! A TCP relay between a worker and its coordinator that a test can cut, stall and mend.

use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

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
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (condition, state) = watch::channel(Condition::Sound);
        let mut relay = JoinSet::new();
        relay.spawn(accept(listener, target, state));
        Ok(Self { address, condition, _relay: relay })
    }

    /// Changes what the wire does from now on.
    pub fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<Condition>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        if *state.borrow() == Condition::Cut {
            continue;
        }
        let state = state.clone();
        connections.spawn(async move {
            let Ok(far) = TcpStream::connect(target).await else { return };
            let (mut cut, (near, far)) = (state.clone(), (near.into_split(), far.into_split()));
            tokio::select! {
                () = carry(near.0, far.1, state.clone()) => {}
                () = carry(far.0, near.1, state) => {}
                _ = cut.wait_for(|condition| *condition == Condition::Cut) => {}
            }
        });
    }
}

async fn carry(
    from: tokio::net::tcp::OwnedReadHalf,
    to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<Condition>,
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
        let mut sent = 0;
        while sent < len {
            if to.writable().await.is_err() {
                return;
            }
            match to.try_write(&buffer[sent..len]) {
                Ok(more) => sent += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}
