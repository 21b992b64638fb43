//! Asking a peer or the coordinator, and checking what comes.

use super::protocol::{self, Reply, Request};
use super::{Missed, Origin};
use crate::blobs::pieces::PieceFile;
use crate::blobs::{self, Blobs};
use crate::network::Net;
use crate::network::frame::Error;
use iroh::endpoint::{Connection, RecvStream};
use proto::Digest;
use proto::pieces::{Cut, PIECES_MAX, Pieces};
use std::sync::Arc;
use worker_core::exchange::{Fault, Refusal};

/// Whom to ask.
pub(super) enum Asking {
    /// A peer, if it is still connected.
    Peer(Option<Connection>, Net),
    Origin(Arc<dyn Origin>),
}

impl From<Fault> for Missed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Missed {
    fn from(error: Error) -> Self {
        Self::Fault(if error.is_rude() && !matches!(error, Error::Slow(_)) {
            Fault::Wrong
        } else {
            Fault::Lost
        })
    }
}

impl From<blobs::Error> for Missed {
    fn from(error: blobs::Error) -> Self {
        match error {
            blobs::Error::Wrong => Self::Fault(Fault::Wrong),
            error => Self::Disk(error),
        }
    }
}

/// Runs what waits for the disk where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, blobs::Error> + Send + 'static,
) -> Result<T, Missed> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(std::io::Error::other(error).into())).map_err(Missed::from)
}

/// Asks a peer for something: the head of its answer, and the stream with the rest.
async fn put(
    connection: Option<Connection>,
    request: Request,
) -> Result<(Reply, RecvStream), Missed> {
    let connection = connection.ok_or(Fault::Lost)?;
    let (mut send, mut receive) = connection.open_bi().await.map_err(|_| Fault::Lost)?;
    protocol::send_request(&mut send, &request).await?;
    match protocol::receive_reply(&mut receive).await? {
        Reply::Refused(Refusal::Choked) => Err(Fault::Choked.into()),
        Reply::Refused(Refusal::Lacks) => Err(Fault::Lacks.into()),
        Reply::Refused(Refusal::Busy) => Err(Fault::Busy.into()),
        reply => Ok((reply, receive)),
    }
}

/// Gets the list of a blob's pieces, checks it, and opens the file.
pub(super) async fn list(
    asking: Asking,
    blobs: Arc<Blobs>,
    digest: Digest,
    len: Option<u64>,
) -> Result<(PieceFile, Vec<u32>), Missed> {
    let (pieces, proof) = match asking {
        Asking::Origin(origin) => {
            let (told, list) = origin.list(digest).await?;
            let fits = len.is_none_or(|len| len == told);
            let pieces = Pieces::parse(digest, told, &list).ok().filter(|_| fits);
            (pieces.ok_or(Fault::Wrong)?, None)
        }
        Asking::Peer(connection, _) => {
            let request = Request::List { digest, proof: len.is_none() };
            let (reply, mut receive) = put(connection, request).await?;
            let Reply::List { len: told, n_pieces, last_bytes } = reply else {
                return Err(Fault::Wrong.into());
            };
            let cut = Cut::of(told).filter(|cut| {
                cut.n_pieces() == n_pieces
                    && u64::from(n_pieces) <= PIECES_MAX
                    && len.is_none_or(|len| len == told)
            });
            let cut = cut.ok_or(Fault::Wrong)?;
            let list = protocol::receive_bytes(&mut receive, u64::from(n_pieces) * 32).await?;
            let pieces = Pieces::parse(digest, told, &list).map_err(|_| Fault::Wrong)?;
            let last = n_pieces.saturating_sub(1);
            let proof = match len {
                Some(_) => None,
                None if u64::from(last_bytes) != cut.len_of(last) => {
                    return Err(Fault::Wrong.into());
                }
                None => {
                    Some((last, protocol::receive_bytes(&mut receive, last_bytes.into()).await?))
                }
            };
            (pieces, proof)
        }
    };
    blocking(move || {
        if let Some((last, data)) = &proof
            && !pieces.is_piece(*last, data)
        {
            return Err(blobs::Error::Wrong);
        }
        let (file, mut good) = blobs.begin_pieces(pieces)?;
        if let Some((last, data)) = proof {
            file.put(last, &data)?;
            good.push(last);
        }
        Ok((file, good))
    })
    .await
}

/// Gets a piece, checks and keeps it.
pub(super) async fn piece(
    asking: Asking,
    file: Arc<PieceFile>,
    piece: u32,
    last: bool,
) -> Result<(), Missed> {
    let cut = *file.pieces().cut();
    let digest = file.pieces().digest();
    let data = match asking {
        Asking::Origin(origin) => origin.piece(digest, cut.range(piece), last).await?,
        Asking::Peer(connection, net) => {
            if net.meter().is_spent() {
                return Err(Fault::Busy.into());
            }
            net.meter().down(cut.len_of(piece)).await;
            let (reply, mut receive) = put(connection, Request::Piece { digest, piece }).await?;
            if reply != Reply::Piece {
                return Err(Fault::Wrong.into());
            }
            protocol::receive_bytes(&mut receive, cut.len_of(piece)).await?
        }
    };
    blocking(move || file.put(piece, &data)).await
}
