//! Streams that follow a job: its status, and its results.

use super::{WATCH_EVERY, runs};
use crate::core::saved::Results;
use crate::core::status::{Cursor, UnitResult};
use crate::engine;
use crate::grpc::refusal::{Refusal, blocking};
use crate::grpc::{Services, convert, end};
use ed25519_dalek::SigningKey;
use prost::Message;
use proto::receipt::Receipt;
use proto::{JobId, pb};
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};
use tonic::Status;

/// Results asked of the store at once, about 1 MB with receipts.
const PAGE_RESULTS: usize = 1024;
/// Bytes of results in one message, about: far below the bound of a message, far above its overhead.
const REPLY_BYTES: usize = 512 << 10;
/// How long a follower of results sleeps when nothing changes, before it looks again all the same.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The same for a watcher, who is to be told soon why nothing changes.
const WATCH_AGAIN: Duration = Duration::from_secs(3);

/// The reader has gone or reads too slowly.
pub(super) struct Gone;

/// Ends the stream when the reader does not take `message` in time.
pub(super) async fn send<T>(
    shared: &Services,
    stream: &Sender<Result<T, Status>>,
    message: T,
) -> Result<(), Gone> {
    match timeout(shared.patience.stall, stream.send(Ok(message))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

pub(super) fn vanished(job: JobId) -> Refusal {
    Refusal(Status::not_found(format!("there is no job {job} any more")))
}

/// Statuses now, at each change, and at the end.
pub(super) async fn watch(
    shared: &Services,
    job: JobId,
    stream: &Sender<Result<pb::JobStatus, Status>>,
) {
    let mut changes = shared.engine.changes();
    let mut last = None;
    loop {
        changes.mark_unchanged();
        let status = match shared.engine.job(job).await {
            Ok(Some(status)) => status,
            Ok(None) => return end(shared, stream, vanished(job)).await,
            Err(error) => return end(shared, stream, error.into()).await,
        };
        let goes_on = runs(&status);
        let status = convert::job(status);
        if last.as_ref() != Some(&status) {
            last = Some(status.clone());
            if send(shared, stream, status).await.is_err() {
                return;
            }
        }
        if !goes_on {
            return;
        }
        tokio::select! {
            () = stream.closed() => return,
            () = sleep(WATCH_EVERY) => {}
        }
        tokio::select! {
            () = stream.closed() => return,
            () = sleep(WATCH_AGAIN) => {}
            _ = changes.changed() => {}
        }
    }
}

/// What somebody asks of a job's results.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) job: JobId,
    pub(super) from: Cursor,
    /// Wait for what is not settled yet.
    pub(super) follow: bool,
    pub(super) receipts: bool,
    /// End after about so many: a page. `None`: when all were told.
    pub(super) max: Option<usize>,
}

/// Sends results.
pub(super) async fn fetch(
    shared: &Services,
    ask: Ask,
    stream: &Sender<Result<pb::FetchReply, Status>>,
) {
    if let Err(Some(refusal)) = send_results(shared, ask, stream).await {
        end(shared, stream, refusal).await;
    }
}

/// The inner error is for the reader, should it still be there.
async fn send_results(
    shared: &Services,
    ask: Ask,
    stream: &Sender<Result<pb::FetchReply, Status>>,
) -> Result<(), Option<Refusal>> {
    let mut changes = shared.engine.changes();
    let (engine, job) = (shared.engine.clone(), ask.job);
    let opened = blocking(move || engine.results(job, ask.receipts)).await.map_err(Some)?;
    let mut results = opened.ok_or_else(|| Some(vanished(job)))?;
    let (mut at, mut left) = (ask.from, ask.max.unwrap_or(usize::MAX));
    loop {
        changes.mark_unchanged();
        // Asked before reading: what is settled between the two is read, so nothing is missed at the end.
        let status = shared.engine.job(job).await.map_err(|error| Some(error.into()))?;
        let waits = ask.follow && status.as_ref().is_some_and(runs);
        let before = at;
        (results, at, left) = pages(shared, ask, results, at, left, stream).await?;
        if left == 0 {
            return Ok(());
        }
        if !waits {
            return end_page(shared, ask, at, stream).await;
        }
        if ask.max.is_some() && before < at {
            return Ok(());
        }
        results.rest();
        tokio::select! {
            () = stream.closed() => return Ok(()),
            () = sleep(LOOK_AGAIN) => {}
            _ = changes.changed() => {}
        }
    }
}

/// Tells the reader of a page that there is nothing more; others see the stream end.
async fn end_page(
    shared: &Services,
    ask: Ask,
    at: Cursor,
    stream: &Sender<Result<pb::FetchReply, Status>>,
) -> Result<(), Option<Refusal>> {
    if ask.max.is_none() {
        return Ok(());
    }
    let (cursor, offset) = (at.record, at.offset);
    let reply = pb::FetchReply { cursor, offset, page: true, last: true, results: Vec::new() };
    send(shared, stream, reply).await.map_err(|Gone| None)
}

/// Sends what results there are, at most `left`; gives back how far it came, and how many may follow.
async fn pages(
    shared: &Services,
    ask: Ask,
    mut results: Results,
    mut at: Cursor,
    mut left: usize,
    stream: &Sender<Result<pb::FetchReply, Status>>,
) -> Result<(Results, Cursor, usize), Option<Refusal>> {
    let until = shared.engine.committed(ask.job).await.map_err(|error| Some(error.into()))?;
    while 0 < left {
        let (engine, max, key) =
            (shared.engine.clone(), left.min(PAGE_RESULTS), shared.key.clone());
        let read = move || {
            let page = results.page(engine.store().as_ref(), at, until, max)?;
            Ok::<_, engine::Error>((results, page.cursor, signed(page.results, &key)))
        };
        let (reader, cursor, messages) = blocking(read).await.map_err(Some)?;
        results = reader;
        if cursor == at {
            break;
        }
        left = left.saturating_sub(messages.len());
        for reply in replies(at, cursor, ask.max.is_some(), messages) {
            send(shared, stream, reply).await.map_err(|Gone| None)?;
        }
        at = cursor;
    }
    Ok((results, at, left))
}

/// The messages' form of results, their receipts signed.
fn signed(results: Vec<UnitResult>, key: &SigningKey) -> Vec<pb::UnitResult> {
    let mut receipts = Vec::new();
    let mut messages = Vec::with_capacity(results.len());
    for mut result in results {
        let receipt = result.receipt.take();
        messages.push((convert::result(result), receipt.is_some()));
        receipts.extend(receipt);
    }
    let mut receipts = Receipt::sign_all(&receipts, key).into_iter();
    let with_receipt = |(result, has): (pb::UnitResult, bool)| {
        let receipt = if has { receipts.next() } else { None };
        pb::UnitResult { receipt, ..result }
    };
    messages.into_iter().map(with_receipt).collect()
}

/// Splits what was read at once into messages. Only the last one moves the cursor: whoever is cut off before it gets the
/// others again.
fn replies(
    from: Cursor,
    to: Cursor,
    page: bool,
    results: Vec<pb::UnitResult>,
) -> Vec<pb::FetchReply> {
    let reply = |at: Cursor, results| {
        let (cursor, offset) = (at.record, at.offset);
        pb::FetchReply { cursor, offset, page, last: false, results }
    };
    let mut replies = Vec::new();
    let (mut current, mut bytes) = (Vec::new(), 0);
    for result in results {
        let len = result.encoded_len();
        if REPLY_BYTES < bytes + len && !current.is_empty() {
            replies.push(reply(from, std::mem::take(&mut current)));
            bytes = 0;
        }
        bytes += len;
        current.push(result);
    }
    replies.push(reply(to, current));
    replies
}
