//! One connection to a peer: its messages, and what it asks for.

use super::Input;
use super::protocol::{self, ALPN, Request};
use crate::network::frame::Error;
use crate::network::peer_record::worker_key;
use crate::network::peer_table::Blame;
use crate::network::{Net, code};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use iroh::protocol::{AcceptError, ProtocolHandler};
use proto::WorkerKey;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use worker_core::exchange::Message;

/// Streams that a peer may open at once: what it may ask for at a time, and its messages.
const STREAMS_MAX: u32 = 48;
/// Messages on their way to one peer: a bitmap for each blob, and a second of pieces on a fast line.
const OUTBOUND: usize = 2048;
/// How long a peer that has connected may take to open its stream of messages.
const CONTROL_MAX: Duration = Duration::from_secs(10);

/// A peer that messages can be sent to and asked.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    pub(super) connection: Connection,
    pub(super) outbound: mpsc::Sender<Message>,
}

/// Lets the swarm's connections in.
#[derive(Clone, Debug)]
pub(super) struct Acceptor(pub(super) mpsc::Sender<Input>);

impl ProtocolHandler for Acceptor {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        if self.0.send(Input::Inbound(connection.clone())).await.is_ok() {
            connection.closed().await;
        }
        Ok(())
    }
}

/// Connects to a neighbour.
pub(super) async fn dial(net: &Net, peer: WorkerKey) -> Option<Connection> {
    match Box::pin(net.connect(&peer, ALPN)).await {
        Ok(connection) => Some(connection),
        Err(error) => {
            tracing::debug!(?peer, %error, "no connection for blobs");
            None
        }
    }
}

/// Attends to a connection until it ends; `dialled` tells who opened it.
pub(super) async fn attend(
    net: Net,
    connection: Connection,
    dialled: bool,
    inputs: mpsc::Sender<Input>,
) {
    let peer = worker_key(&connection.remote_id());
    let id = connection.stable_id();
    connection.set_max_concurrent_bi_streams(STREAMS_MAX.into());
    connection.set_max_concurrent_uni_streams(0_u32.into());
    let opened = async {
        if dialled {
            let (mut send, receive) = connection.open_bi().await.ok()?;
            // A stream is seen by the other side when something was sent on it.
            protocol::send(&mut send, &Message::Choke).await.ok()?;
            Some((send, receive))
        } else {
            connection.accept_bi().await.ok()
        }
    };
    if let Ok(Some((send, receive))) = timeout(CONTROL_MAX, opened).await {
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        let talk = Talk { connection: connection.clone(), outbound };
        if inputs.send(Input::Connected { peer, talk }).await.is_ok() {
            let ended = tokio::select! {
                ended = listen(receive, peer, &inputs) => ended,
                () = speak(send, messages) => None,
                ended = answer(&connection, peer, &inputs) => ended,
                _ = connection.closed() => None,
            };
            if let Some(error) = ended.filter(Error::is_rude) {
                tracing::debug!(?peer, %error, "dropped");
                connection.close(code::RUDE.into(), error.to_string().as_bytes());
                net.blame(&peer, Blame::Garbage);
            }
        }
    }
    connection.close(code::GOODBYE.into(), b"the end");
    // The task has gone when this fails.
    let _ = inputs.send(Input::Closed { peer, id }).await;
}

async fn listen(
    mut receive: RecvStream,
    peer: WorkerKey,
    inputs: &mpsc::Sender<Input>,
) -> Option<Error> {
    loop {
        match protocol::receive(&mut receive).await {
            Ok(message) => inputs.send(Input::Said { peer, message }).await.ok()?,
            Err(error) => return Some(error),
        }
    }
}

async fn speak(mut send: SendStream, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        if protocol::send(&mut send, &message).await.is_err() {
            return;
        }
    }
}

/// Takes what the peer asks for, each on a stream of its own.
async fn answer(
    connection: &Connection,
    peer: WorkerKey,
    inputs: &mpsc::Sender<Input>,
) -> Option<Error> {
    let mut reading = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept_bi() => {
                let (send, mut receive) = accepted.ok()?;
                reading.spawn(async move {
                    let request = protocol::receive_request(&mut receive).await;
                    (request, send)
                });
            }
            Some(read) = reading.join_next() => {
                let Ok((request, send)) = read else { continue };
                let input = match request {
                    Ok(Request::Piece { digest, piece }) => {
                        Input::Asked { peer, digest, piece, send }
                    }
                    Ok(Request::List { digest, proof }) => {
                        Input::AskedList { peer, digest, proof, send }
                    }
                    Err(error) if error.is_rude() => return Some(error),
                    // It changed its mind.
                    Err(_) => continue,
                };
                inputs.send(input).await.ok()?;
            }
        }
    }
}
