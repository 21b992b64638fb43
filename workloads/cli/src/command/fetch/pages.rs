//! Reads a job's results: some pages in one call, handed on as they come. While nobody takes a page, the call's stream waits
//! unread with what its window holds, a quarter of the connection's: no other call stands still for it.

use super::super::watch;
use crate::client::Client;
use crate::error::Error;
use crate::results::Position;
use proto::{JobId, pb};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use tonic::Status;

/// Results handed on at once: about 8 MB with receipts, so that a few pages fit into memory.
const PAGE_RESULTS: usize = 8192;
/// Results asked for in one call: some seconds' worth, so that a line with a delay of 100 ms is idle for little of the time.
const CALL_RESULTS: u32 = 16 * 8192;
/// Most results of a call to a coordinator that knows no pages and does not end them: then its stream is ended here.
const RESULTS_MAX: usize = 2 * PAGE_RESULTS;
/// Most results between two places where the cursor moves: many times what any coordinator sends.
const PART_MAX: usize = 100_000;
/// How long the coordinator may be away before the fetch is given up.
const PATIENCE: Duration = Duration::from_secs(600);
/// Pause before the connection is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// Which results are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) client: Client,
    pub(crate) job: JobId,
    pub(crate) receipts: bool,
    /// Until the job has ended.
    pub(crate) follow: bool,
}

/// Some results in order.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) results: Vec<pb::UnitResult>,
    /// Where the next page begins.
    pub(crate) at: Position,
    /// Whether the coordinator knows pages, and so puts receipts into them.
    pub(crate) known: bool,
    /// Whether there are no more.
    last: bool,
    /// Whether the call was answered, and then was open for long.
    lasted: bool,
}

/// Hands on pages from `at` on until there are no more, through lost connections.
pub(crate) async fn read_all(wanted: Wanted, mut at: Position, pages: Sender<Result<Page, Error>>) {
    // When it was last known to be there: not when there was something new last, which may be days ago.
    let mut there = Instant::now();
    let mut known = false;
    loop {
        let before = at;
        let (page, lost) = match read(&wanted, &mut at, known, &pages).await {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(error) => return drop(pages.send(Err(error)).await),
        };
        let (moved, ended) = (at < page.at, page.last);
        at = page.at;
        known |= page.known;
        if before < at || page.lasted {
            there = Instant::now();
        }
        if (moved && pages.send(Ok(page)).await.is_err()) || ended {
            return;
        }
        let Some(lost) = lost else { continue };
        if !watch::is_lost(&lost) || PATIENCE < there.elapsed() {
            let error = wanted.client.error("hand out results", &lost);
            return drop(pages.send(Err(error)).await);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Hands on all but the last page of what one call brings, `at` being where they end; gives that one, up to where the cursor moved
/// last, and why the call brought no more. Of a coordinator that is `known` to know pages, a call without a word is one that was
/// cut off. `None` when nobody takes pages any more.
async fn read(
    wanted: &Wanted,
    at: &mut Position,
    known: bool,
    pages: &Sender<Result<Page, Error>>,
) -> Result<Option<(Page, Option<Status>)>, Error> {
    let mut page = Page { results: Vec::new(), at: *at, known: false, last: false, lasted: false };
    let request = pb::FetchRequest {
        job_id: wanted.job.0,
        after: at.cursor,
        offset: at.offset,
        follow: wanted.follow,
        receipts: wanted.receipts,
        results_max: CALL_RESULTS,
    };
    let mut stream = match wanted.client.jobs().fetch(request).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return Ok(Some((page, Some(status)))),
    };
    let opened = Instant::now();
    let (mut part, mut silent) = (Vec::new(), true);
    loop {
        let reply = match stream.message().await {
            Ok(Some(reply)) => reply,
            Ok(None) if silent && known => {
                let cut = Status::unavailable("the coordinator ended the stream");
                return Ok(Some((page, Some(cut))));
            }
            // A coordinator that knows no pages says in this way that there are no more.
            Ok(None) => {
                page.last |= silent;
                return Ok(Some((page, None)));
            }
            Err(status) => {
                page.lasted = watch::LASTING < opened.elapsed();
                return Ok(Some((page, Some(status))));
            }
        };
        silent = false;
        (page.known, page.last) = (reply.page, reply.last);
        part.extend(reply.results);
        let to = Position { cursor: reply.cursor, offset: reply.offset };
        if page.at < to {
            page.at = to;
            page.results.append(&mut part);
            // Nobody else ends what follows a job for days.
            if !page.known && (RESULTS_MAX <= page.results.len() || wanted.follow) {
                return Ok(Some((page, None)));
            }
            if PAGE_RESULTS <= page.results.len() && !page.last {
                let next = Page { results: Vec::new(), ..page };
                *at = page.at;
                if pages.send(Ok(std::mem::replace(&mut page, next))).await.is_err() {
                    return Ok(None);
                }
            }
        }
        if PART_MAX < part.len() {
            return Err(Error::Failed("the coordinator's page of results does not end".into()));
        }
    }
}
