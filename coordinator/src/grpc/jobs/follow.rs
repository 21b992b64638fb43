//! Streams that follow a job: its status, and its results.

use super::{WATCH_EVERY, runs};
use crate::core::status::Page;
use crate::grpc::refusal::{Refusal, blocking};
use crate::grpc::{Shared, convert, end};
use prost::Message;
use proto::{JobId, pb};
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};
use tonic::Status;

/// Results asked of the store at once.
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
    shared: &Shared,
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
    shared: &Shared,
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

/// Results after cursor `after`; with `follow` until the job has ended.
pub(super) async fn fetch(
    shared: &Shared,
    job: JobId,
    after: u64,
    follow: bool,
    stream: &Sender<Result<pb::FetchReply, Status>>,
) {
    let mut changes = shared.engine.changes();
    let mut after = after;
    loop {
        changes.mark_unchanged();
        match pages(shared, job, &mut after, stream).await {
            Ok(goes_on) if follow && goes_on => {}
            Ok(_) => return,
            Err(Some(refusal)) => return end(shared, stream, refusal).await,
            Err(None) => return,
        }
        tokio::select! {
            () = stream.closed() => return,
            () = sleep(LOOK_AGAIN) => {}
            _ = changes.changed() => {}
        }
    }
}

/// Sends all results that there are; whether there may be more later.
async fn pages(
    shared: &Shared,
    job: JobId,
    after: &mut u64,
    stream: &Sender<Result<pb::FetchReply, Status>>,
) -> Result<bool, Option<Refusal>> {
    // Asked before reading: what is settled between the two is read, so nothing is missed at the end.
    let status = shared.engine.job(job).await.map_err(|error| Some(error.into()))?;
    let goes_on = status.as_ref().is_some_and(runs);
    loop {
        let (engine, from) = (shared.engine.clone(), *after);
        let page = blocking(move || engine.results(job, from, PAGE_RESULTS)).await.map_err(Some)?;
        let Some(Page { cursor, results }) = page else { return Err(Some(vanished(job))) };
        if results.is_empty() {
            return Ok(goes_on);
        }
        for reply in replies(from, cursor, results.into_iter().map(convert::result)) {
            send(shared, stream, reply).await.map_err(|Gone| None)?;
        }
        *after = cursor;
    }
}

/// Splits a page into messages. Only the last one moves the cursor: whoever is cut off before it gets the page again.
fn replies(
    from: u64,
    cursor: u64,
    results: impl Iterator<Item = pb::UnitResult>,
) -> Vec<pb::FetchReply> {
    let mut replies = Vec::new();
    let (mut current, mut bytes) = (Vec::new(), 0);
    for result in results {
        let len = result.encoded_len();
        if REPLY_BYTES < bytes + len && !current.is_empty() {
            replies.push(pb::FetchReply { cursor: from, results: std::mem::take(&mut current) });
            bytes = 0;
        }
        bytes += len;
        current.push(result);
    }
    replies.push(pb::FetchReply { cursor, results: current });
    replies
}
