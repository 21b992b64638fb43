//! Blobs on their way in and out, and whose places they take.

use crate::grpc::access::Caller;
use crate::grpc::places::{Crowd, Place, Places, Rule};
use proto::pb;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::Status;

/// Blobs given out at once, in bounded memory: a reader that takes nothing holds not quite a megabyte, with what waits in its
/// connection. Those that read are soon done.
const READERS_MAX: usize = 128;
/// Blobs taken in at once: each holds an open file.
const WRITERS_MAX: usize = 256;

/// Whom a blob's reading or writing is counted to. Accounts of volunteers are free, so their networks stand for them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Party {
    Researcher(String),
    Network(Crowd),
}

impl Party {
    pub(super) fn of(caller: &Caller) -> Self {
        match caller {
            Caller::Person(person) => Self::Researcher(person.account.clone()),
            Caller::Volunteer(volunteer) => Self::Network(volunteer.network),
        }
    }
}

/// Blobs on their way in and out.
#[derive(Debug)]
pub(crate) struct Transfers {
    pub(super) readers: Arc<Places<Party>>,
    pub(super) writers: Arc<Places<Party>>,
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            readers: Places::new(READERS_MAX, Rule::Fair),
            writers: Places::new(WRITERS_MAX, Rule::Fair),
        }
    }
}

pub(super) fn taken(what: &str) -> Status {
    Status::unavailable(format!(
        "too many blobs are being {what} at once: try again in a few seconds"
    ))
}

pub(super) fn gave_way() -> Status {
    let text =
        "this transfer gave way to others, of whom each has fewer: try again in a few seconds";
    Status::unavailable(text)
}

/// Gives a blob out until its place is over, and says so then.
pub(super) async fn until_over(
    turn: &Place<Party>,
    giving: impl Future<Output = ()>,
    chunks: &mpsc::Sender<Result<pb::Chunk, Status>>,
) {
    if turn.over().run_until_cancelled(giving).await.is_none() {
        // A reader that takes nothing needs no reason.
        let _ = chunks.try_send(Err(gave_way()));
    }
}
