//! Messages of which a part has come: what is held of them is bounded over all streams, so that many half-sent ones fill no
//! memory.

use crate::grpc::places::{Crowd, Place, Places, Rule};
use crate::grpc::tls::Peer;
use bytes::Bytes;
use futures_util::stream::unfold;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::Request;

/// Bytes of a message that needs no place: a hello, and most of what workers say.
const SMALL_BYTES: usize = 16 << 10;
/// Larger messages that may be on their way: 64 MB of them.
const LARGE_MAX: usize = 16;
/// Those that wait for a place, each with what its stream takes in unread: 32 MB. More are refused.
const WAITING_MAX: usize = 32;
/// Calls of strangers of which a message is awaited: workers that have not said hello, and probes.
const STRANGERS_MAX: usize = 1024;
/// How often it is looked whether a place is free.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes before each message of gRPC: a flag and the message's length.
const HEAD_BYTES: usize = 5;
/// Blobs that are put have places of their own, taken before their first message is read.
const APART: &str = "/starling.v1.Blobs/Put";

/// What bounds them.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    large: Arc<Places<Crowd>>,
    waiting: Arc<Semaphore>,
    strangers: Arc<Places<Crowd>>,
    /// How long the rest of a message may take.
    patience: Duration,
}

impl Parts {
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            large: Places::new(LARGE_MAX, Rule::Fair),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            strangers: Places::new(STRANGERS_MAX, Rule::Oldest),
            patience,
        }
    }

    /// Bounds what a call brings.
    pub(super) fn bound(&self, request: Request<Body>) -> Request<Body> {
        if request.uri().path() == APART {
            return request;
        }
        let peer = request.extensions().get::<Peer>().cloned();
        let crowd = Crowd::of_peer(peer.as_ref().map(|peer| peer.address));
        let stranger = peer.as_ref().filter(|peer| peer.is_stranger());
        let stranger = stranger.and_then(|_| self.strangers.take(crowd));
        request.map(|body| {
            let parts = self.clone();
            let (message, begun) = (Message::default(), Instant::now());
            let call = Call { parts, body, peer, crowd, stranger, large: None, message, begun };
            Body::new(StreamBody::new(unfold(call, Call::next)))
        })
    }
}

/// What comes by one call.
struct Call {
    parts: Parts,
    body: Body,
    peer: Option<Peer>,
    crowd: Crowd,
    /// Held as long as nobody knows who calls.
    stranger: Option<Place<Crowd>>,
    /// Held while a large message comes.
    large: Option<Place<Crowd>>,
    message: Message,
    /// When the message that comes has begun.
    begun: Instant,
}

/// How far the message that comes has come.
#[derive(Debug, Default)]
struct Message {
    head: Vec<u8>,
    len: usize,
    left: usize,
}

impl Message {
    /// Takes in what comes next; whether a message has begun in it.
    fn pass(&mut self, mut data: &[u8]) -> bool {
        let mut begins = false;
        while !data.is_empty() {
            if 0 < self.left {
                let its = self.left.min(data.len());
                self.left -= its;
                data = &data[its..];
                continue;
            }
            let its = (HEAD_BYTES - self.head.len()).min(data.len());
            self.head.extend(&data[..its]);
            data = &data[its..];
            if let [_, len @ ..] = self.head.as_slice()
                && let Ok(len) = len.try_into()
            {
                self.len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
                self.left = self.len;
                self.head.clear();
                begins = true;
            }
        }
        begins
    }

    /// Whether the rest of it needs a place.
    fn is_large(&self) -> bool {
        0 < self.left && SMALL_BYTES < self.len
    }
}

impl Call {
    /// The next part, or why there is none.
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, Status>, Self)> {
        let part = self.part().await?;
        Some((part, self))
    }

    async fn part(&mut self) -> Option<Result<Frame<Bytes>, Status>> {
        if !self.peer.as_ref().is_some_and(Peer::is_stranger) {
            self.stranger = None;
        }
        if let Err(refused) = self.make_room().await {
            return Some(Err(refused));
        }
        let Self { parts, body, stranger, large, message, begun, .. } = self;
        let part = tokio::select! {
            part = body.frame() => part?,
            () = over(stranger.as_ref()) => return Some(Err(gave_way())),
            () = over(large.as_ref()) => return Some(Err(gave_way())),
            () = sleep_until(*begun + parts.patience), if 0 < message.left => {
                let text = "the rest of a message did not come in time: connect again";
                return Some(Err(Status::deadline_exceeded(text)));
            }
        };
        if let Ok(frame) = &part
            && let Some(data) = frame.data_ref()
        {
            if message.pass(data) {
                *begun = Instant::now();
            }
            if !message.is_large() {
                *large = None;
            }
        }
        Some(part)
    }

    /// Takes a place when the message that comes needs one.
    async fn make_room(&mut self) -> Result<(), Status> {
        if !self.message.is_large() || self.large.is_some() {
            return Ok(());
        }
        if self.stranger.is_some() {
            let text =
                format!("who has not said who it is sends messages of at most {SMALL_BYTES} bytes");
            return Err(Status::resource_exhausted(text));
        }
        let too_many = || {
            Status::unavailable("too many large messages come at once: try again in a few seconds")
        };
        let _waits = self.parts.waiting.try_acquire().map_err(|_| too_many())?;
        loop {
            self.large = self.parts.large.take(self.crowd);
            if self.large.is_some() {
                return Ok(());
            }
            if self.begun + self.parts.patience < Instant::now() {
                return Err(too_many());
            }
            sleep(LOOK).await;
        }
    }
}

/// Waits until somebody else has got a place; for ever where none is held.
async fn over(place: Option<&Place<Crowd>>) {
    match place {
        Some(place) => place.over().cancelled().await,
        None => std::future::pending().await,
    }
}

fn gave_way() -> Status {
    Status::unavailable(
        "this call gave way to others, of whom each has fewer: try again in a few seconds",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(lens: &[u32]) -> Vec<u8> {
        let one = |len: &u32| {
            let head = [&[0][..], &len.to_be_bytes()].concat();
            [head, vec![7; *len as usize]].concat()
        };
        lens.iter().flat_map(one).collect()
    }

    #[test]
    fn messages_are_told_apart_however_they_are_cut() {
        let bytes = framed(&[0, 5, 40_000, 3, 70_000]);
        for step in [1, 3, 4, 5, 6, 1000, 16_384, 50_000, bytes.len()] {
            let mut message = Message::default();
            let (mut begun, mut large) = (0, 0);
            for data in bytes.chunks(step) {
                begun += u32::from(message.pass(data));
                large += usize::from(message.is_large());
            }
            assert_eq!(message.left, 0, "{step}");
            assert!(message.head.is_empty() && message.len == 70_000, "{step}");
            assert!(6 < step || begun == 5, "{step}: {begun}");
            assert!(step == bytes.len() || 0 < large, "{step}");
        }
        let mut message = Message::default();
        message.pass(&framed(&[20_000])[..100]);
        assert!(message.is_large());
        message.pass(&framed(&[20_000])[100..]);
        assert!(!message.is_large());
    }
}
