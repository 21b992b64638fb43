//! What two peers say about blobs, as bytes: one stream of messages for each pair, one stream for each thing asked for.

use crate::network::frame::{self, Error};
use iroh::endpoint::{RecvStream, SendStream};
use proto::Digest;
use proto::pieces::{PIECE_BYTES_MAX, PIECES_MAX};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;
use worker_core::exchange::{Message, Refusal};

/// The protocol's name and version.
pub(super) const ALPN: &[u8] = b"starling/swarm/1";
/// Longest time for a message that has begun: a byte now and then is not enough.
pub(super) const STEP_MAX: Duration = Duration::from_secs(10);
/// Longest time for the bytes of one piece, once they may go.
pub(super) const PIECE_MAX: Duration = Duration::from_secs(90);
/// Largest message, bytes: the bitmap of [`PIECES_MAX`] pieces, each of its words as ten bytes at worst, and what is
/// around it.
const MESSAGE_BYTES_MAX: usize = 11 << 10;
/// Largest request, bytes: a digest and a number.
const REQUEST_BYTES_MAX: usize = 64;
/// Largest head of a reply, bytes: a few numbers.
const REPLY_BYTES_MAX: usize = 64;

/// What is asked for on a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// One piece.
    Piece { digest: Digest, piece: u32 },
    /// The list of pieces; with a proof of the blob's length, which is its last piece.
    List { digest: Digest, proof: bool },
}

/// What comes before the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// No bytes will come.
    Refused(Refusal),
    /// The piece's bytes follow.
    Piece,
    /// The list's bytes follow, then the last piece, if it was asked for.
    List { len: u64, n_pieces: u32, last_bytes: u32 },
}

/// The next message of a peer, for which it may take any time; once begun it must come.
pub(super) async fn receive(stream: &mut RecvStream) -> Result<Message, Error> {
    let broken = |error: iroh::endpoint::ReadExactError| Error::Broken(error.to_string());
    let mut len = [0; 4];
    stream.read_exact(&mut len[..1]).await.map_err(broken)?;
    let rest = async {
        stream.read_exact(&mut len[1..]).await.map_err(broken)?;
        let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
        if MESSAGE_BYTES_MAX < len {
            return Err(Error::TooLarge { len, max: MESSAGE_BYTES_MAX });
        }
        let mut content = vec![0; len];
        stream.read_exact(&mut content).await.map_err(broken)?;
        postcard::from_bytes(&content).map_err(|_| Error::Garbage)
    };
    timeout(STEP_MAX, rest).await.map_err(|_| Error::Slow(STEP_MAX))?
}

pub(super) async fn send(stream: &mut SendStream, message: &Message) -> Result<(), Error> {
    frame::write(stream, message, STEP_MAX).await
}

pub(super) async fn receive_request(stream: &mut RecvStream) -> Result<Request, Error> {
    frame::read(stream, REQUEST_BYTES_MAX, STEP_MAX).await
}

pub(super) async fn send_request(stream: &mut SendStream, request: &Request) -> Result<(), Error> {
    frame::write(stream, request, STEP_MAX).await?;
    // The other side has gone when this fails, and the answer will not come.
    let _ = stream.finish();
    Ok(())
}

pub(super) async fn send_reply(stream: &mut SendStream, reply: &Reply) -> Result<(), Error> {
    frame::write(stream, reply, STEP_MAX).await
}

/// The head of the answer. The caller gives it a time of its own: a peer answers when its limits let it.
pub(super) async fn receive_reply(stream: &mut RecvStream) -> Result<Reply, Error> {
    frame::read(stream, REPLY_BYTES_MAX, PIECE_MAX).await
}

/// Bytes whose number is known, which is bounded by what a piece or list may be.
pub(super) async fn receive_bytes(stream: &mut RecvStream, len: u64) -> Result<Vec<u8>, Error> {
    let max = PIECE_BYTES_MAX.max(PIECES_MAX * 32);
    let len = usize::try_from(len).ok().filter(|len| *len as u64 <= max).ok_or(Error::Garbage)?;
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.map_err(|error| Error::Broken(error.to_string()))?;
    Ok(bytes)
}

/// Sends bytes and ends the stream.
pub(super) async fn send_bytes(stream: &mut SendStream, bytes: &[u8]) -> Result<(), Error> {
    let sent = timeout(PIECE_MAX, stream.write_all(bytes)).await;
    sent.map_err(|_| Error::Slow(PIECE_MAX))?.map_err(|error| Error::Broken(error.to_string()))?;
    // The other side has gone when this fails.
    let _ = stream.finish();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use worker_core::exchange::Bits;

    #[test]
    fn the_largest_message_is_within_its_bound() {
        let pieces = Bits::all(u32::try_from(PIECES_MAX).unwrap());
        let message = Message::Holds { digest: Digest([0xff; 32]), len: u64::MAX, pieces };
        assert!(postcard::to_allocvec(&message).unwrap().len() <= MESSAGE_BYTES_MAX);
    }

    #[test]
    fn requests_and_replies_are_pinned() {
        let digest = Digest([7; 32]);
        let of = "07".repeat(32);
        let hex = |bytes: Vec<u8>| data_encoding::HEXLOWER.encode(&bytes);
        let request = |request| hex(postcard::to_allocvec::<Request>(&request).unwrap());
        assert_eq!(request(Request::Piece { digest, piece: 300 }), format!("00{of}ac02"));
        assert_eq!(request(Request::List { digest, proof: true }), format!("01{of}01"));
        let reply = |reply| hex(postcard::to_allocvec::<Reply>(&reply).unwrap());
        assert_eq!(reply(Reply::Refused(Refusal::Lacks)), "0001");
        assert_eq!(reply(Reply::Piece), "01");
        assert_eq!(reply(Reply::List { len: 300, n_pieces: 2, last_bytes: 5 }), "02ac020205");
    }
}
