//! A link: the first connection between two peers. Both show their certificates; then either may ask the other for peers,
//! or open a [`RequestStream`] about something else.

use super::peer_record::{Contact, Malformed, Written, worker_key};
use super::peer_table::Blame;
use super::shared::Network;
use super::{ConnectError, code, frame};
use iroh::endpoint::{Connection, ConnectionError, RecvStream, SendStream};
use iroh::protocol::{AcceptError, ProtocolHandler};
use proto::WorkerKey;
use proto::bucket::Bucket;
use proto::member::Invalid;
use serde::{Deserialize, Serialize};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::timeout;
use worker_core::custody::bounds::HANDOVERS_MAX;

/// The protocol's name and version.
pub(super) const ALPN: &[u8] = b"starling/link/1";
/// Longest time for the handshake, and for one request: a byte now and then is not enough.
pub(super) const STEP_MAX: Duration = Duration::from_secs(10);
/// Largest greeting, bytes: a certificate, sixteen addresses, two URLs.
const HELLO_BYTES_MAX: usize = 2 << 10;
/// Largest request, bytes: a key.
const REQUEST_BYTES_MAX: usize = 64;
/// Peers in one answer: more are not of use at once.
pub(super) const TOLD_MAX: usize = 16;
/// Largest answer, bytes: so many peers.
const REPLY_BYTES_MAX: usize = TOLD_MAX * HELLO_BYTES_MAX;
/// Requests of one peer per second in the long run, and at once: a search asks a few times in a row.
const REQUESTS_PER_SECOND: u64 = 1;
const REQUESTS_BURST: u64 = 32;
/// Streams that a peer may open at once on a link: a few questions, and [`HANDOVERS_MAX`] talks.
const STREAMS_MAX: u32 = 12;

/// A stream that a peer opened for something else than peers.
#[derive(Debug)]
pub struct RequestStream {
    /// Who.
    pub peer: WorkerKey,
    /// What it is answered on.
    pub send: SendStream,
    /// What it says.
    pub receive: RecvStream,
}

/// How a peer broke the rules.
#[derive(Debug)]
pub struct ProtocolViolation {
    /// What it is blamed for.
    pub blame: Blame,
    /// What it is told.
    pub reason: String,
}

/// A talk that is being served.
pub type Served<'a> = Pin<Box<dyn Future<Output = Result<(), ProtocolViolation>> + Send + 'a>>;

/// Serves talks: those of one peer one after the other.
pub trait RequestHandler: std::fmt::Debug + Send + Sync {
    /// Serves one. After an error the link is closed.
    fn serve(&self, talk: RequestStream) -> Served<'_>;
}

/// What each side says first.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    contact: Written,
}

/// What a peer asks.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Peers that the other side has talked to lately.
    Peers,
    /// Peers whose keys are nearest to this one.
    Near([u8; 32]),
    /// To talk about something else, on the same stream.
    Stream,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
struct Reply {
    peers: Vec<Written>,
}

/// Opens a link on a new connection: shows our certificate, checks the other's.
pub(super) async fn open(
    shared: &Network,
    connection: &Connection,
) -> Result<Contact, ConnectError> {
    let hello =
        Hello { contact: shared.own_contact().ok_or(ConnectError::NoCertificate)?.written() };
    let greeted = async {
        let (mut send, mut receive) = connection.open_bi().await.map_err(broken)?;
        frame::write(&mut send, &hello, STEP_MAX).await?;
        frame::read::<Hello>(&mut receive, HELLO_BYTES_MAX, STEP_MAX).await
    };
    match greeted.await {
        Ok(reply) => check(shared, connection, &reply).map_err(|malformed| {
            connection.close(code::STRANGER.into(), malformed.to_string().as_bytes());
            ConnectError::Stranger(malformed.to_string())
        }),
        Err(error) => {
            if error.is_rude() {
                connection.close(code::RUDE.into(), error.to_string().as_bytes());
            }
            Err(refused(connection).unwrap_or_else(|| ConnectError::Lost(error.to_string())))
        }
    }
}

fn broken(error: ConnectionError) -> frame::Error {
    frame::Error::Broken(error.to_string())
}

/// Why the other side closed the connection, if it said so.
pub(super) fn refused(connection: &Connection) -> Option<ConnectError> {
    let Some(ConnectionError::ApplicationClosed(close)) = connection.close_reason() else {
        return None;
    };
    let code = u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX);
    Some(ConnectError::Refused(code, String::from_utf8_lossy(&close.reason).into_owned()))
}

fn check(shared: &Network, connection: &Connection, hello: &Hello) -> Result<Contact, Malformed> {
    let contact = Contact::read(&hello.contact, &shared.project, crate::clock::wall_ms())?;
    if contact.worker() != worker_key(&connection.remote_id()) {
        return Err(Malformed::Another);
    }
    Ok(contact)
}

/// Accepts links.
#[derive(Debug)]
pub(super) struct Acceptor(pub(super) Weak<Network>);

impl ProtocolHandler for Acceptor {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        connection.set_max_concurrent_bi_streams(STREAMS_MAX.into());
        connection.set_max_concurrent_uni_streams(0_u32.into());
        let Some(contact) = answer(&shared, &connection).await else { return Ok(()) };
        let worker = contact.worker();
        if shared.linked(&connection, contact, true) {
            attend(&shared, &connection, worker).await;
        }
        Ok(())
    }
}

/// The other side of [`open`]; none when the connection was closed.
async fn answer(shared: &Network, connection: &Connection) -> Option<Contact> {
    let close = |code: u32, reason: &str| connection.close(code.into(), reason.as_bytes());
    let Some(own) = shared.own_contact() else {
        close(code::FULL, "not a member itself yet");
        return None;
    };
    let greeted = async {
        let (mut send, mut receive) = connection.accept_bi().await.map_err(broken)?;
        let hello = frame::read::<Hello>(&mut receive, HELLO_BYTES_MAX, STEP_MAX).await?;
        Ok::<_, frame::Error>((hello, send_half(&mut send, &own).await?))
    };
    // One limit for all of it: a stream that is never opened, and bytes that come one by one.
    let greeted = timeout(STEP_MAX, greeted).await.unwrap_or(Err(frame::Error::Slow(STEP_MAX)));
    match greeted {
        Ok((hello, ())) => match check(shared, connection, &hello) {
            Ok(contact) => Some(contact),
            Err(malformed) => {
                close(code::STRANGER, &malformed.to_string());
                None
            }
        },
        Err(error) => {
            if error.is_rude() {
                close(code::RUDE, &error.to_string());
                shared.blame(&worker_key(&connection.remote_id()), Blame::Garbage);
            }
            None
        }
    }
}

async fn send_half(send: &mut SendStream, own: &Contact) -> Result<(), frame::Error> {
    frame::write(send, &Hello { contact: own.written() }, STEP_MAX).await
}

/// Answers what the other side asks, until the link ends.
pub(super) async fn attend(shared: &Arc<Network>, connection: &Connection, worker: WorkerKey) {
    connection.set_max_concurrent_bi_streams(STREAMS_MAX.into());
    let (talks, to_serve) = mpsc::channel(HANDOVERS_MAX);
    let rude = tokio::select! {
        rude = answer_all(shared, connection, worker, talks) => rude,
        rude = serve_talks(shared, to_serve) => Some(rude),
    };
    if let Some(ProtocolViolation { blame, reason }) = rude {
        connection.close(code::RUDE.into(), reason.as_bytes());
        shared.blame(&worker, blame);
    }
    connection.closed().await;
    shared.unlinked(&worker, connection);
}

/// Answers questions and passes talks on, until the link ends or the other side breaks the rules.
async fn answer_all(
    shared: &Network,
    connection: &Connection,
    peer: WorkerKey,
    talks: mpsc::Sender<RequestStream>,
) -> Option<ProtocolViolation> {
    let born = Instant::now();
    let mut bucket = Bucket::new(REQUESTS_PER_SECOND, REQUESTS_BURST);
    loop {
        let (mut send, mut receive) = connection.accept_bi().await.ok()?;
        let request = frame::read::<Request>(&mut receive, REQUEST_BYTES_MAX, STEP_MAX).await;
        let answered = match request {
            Ok(Request::Stream) => {
                talks.send(RequestStream { peer, send, receive }).await.ok()?;
                continue;
            }
            Ok(_) if !bucket.passes(born.elapsed(), 1) => {
                return Some(ProtocolViolation {
                    blame: Blame::Greedy,
                    reason: "too many requests".into(),
                });
            }
            Ok(Request::Peers) => tell(&mut send, &shared.to_tell(TOLD_MAX)).await,
            Ok(Request::Near(key)) => {
                tell(&mut send, &shared.nearest(&WorkerKey(key), TOLD_MAX)).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = answered
            && error.is_rude()
        {
            return Some(ProtocolViolation { blame: Blame::Garbage, reason: error.to_string() });
        }
    }
}

async fn tell(send: &mut SendStream, peers: &[Contact]) -> Result<(), frame::Error> {
    let reply = Reply { peers: peers.iter().map(Contact::written).collect() };
    frame::write(send, &reply, STEP_MAX).await?;
    // The other side has gone when this fails.
    let _ = send.finish();
    Ok(())
}

/// Serves talks; where nobody does, their streams end. Ends when the other side breaks the rules.
async fn serve_talks(
    shared: &Network,
    mut talks: mpsc::Receiver<RequestStream>,
) -> ProtocolViolation {
    while let Some(talk) = talks.recv().await {
        if let Some(served) = shared.talks.get()
            && let Err(rude) = served.serve(talk).await
        {
            return rude;
        }
    }
    std::future::pending().await
}

/// Opens a talk with a neighbour.
pub(super) async fn talk(
    connection: &Connection,
) -> Result<(SendStream, RecvStream), frame::Error> {
    let opened = timeout(STEP_MAX, connection.open_bi()).await;
    let (mut send, receive) = opened.map_err(|_| frame::Error::Slow(STEP_MAX))?.map_err(broken)?;
    frame::write(&mut send, &Request::Stream, STEP_MAX).await?;
    Ok((send, receive))
}

/// Asks a neighbour for peers: those nearest to `target`, or any.
pub(super) async fn ask(
    shared: &Network,
    connection: &Connection,
    target: Option<WorkerKey>,
) -> Result<Vec<Contact>, frame::Error> {
    let asked = async {
        let (mut send, mut receive) = connection.open_bi().await.map_err(broken)?;
        let request = target.map_or(Request::Peers, |key| Request::Near(key.0));
        frame::write(&mut send, &request, STEP_MAX).await?;
        frame::read::<Reply>(&mut receive, REPLY_BYTES_MAX, STEP_MAX).await
    };
    let reply = timeout(STEP_MAX, asked).await.unwrap_or(Err(frame::Error::Slow(STEP_MAX)))?;
    if TOLD_MAX < reply.peers.len() {
        return Err(frame::Error::Garbage);
    }
    let now_ms = crate::clock::wall_ms();
    // One whose certificate has expired meanwhile is nobody's fault.
    let peers = reply.peers.iter().filter_map(|written| {
        match Contact::read(written, &shared.project, now_ms) {
            Err(Malformed::Certificate(Invalid::Expired)) => None,
            read => Some(read),
        }
    });
    peers.collect::<Result<_, _>>().map_err(|_| frame::Error::Garbage)
}
