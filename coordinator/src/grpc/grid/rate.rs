//! Bounds on what a worker's stream gets a hearing for.

use proto::bucket::Bucket;
use tokio::time::{Instant, sleep};

/// Messages of one worker per second in the long run: a hundred times what a busy one needs, as reports come in batches.
const PER_SECOND: u64 = 1_000;
/// Messages at once, after a silence.
const BURST: u64 = 2_000;
/// Bytes of lines of one worker per second in the long run: twice what ours sends.
const LOG_BYTES_PER_SECOND: u64 = 64 << 10;
/// Bytes of lines at once, after a silence.
const LOG_BYTES_BURST: u64 = 4 << 20;

/// Lets messages through as fast as they may come; faster ones wait, and with them their sender. Lines of kernels that come too
/// fast are dropped, which costs nobody anything.
#[derive(Debug)]
pub(super) struct Rate {
    since: Instant,
    messages: Bucket,
    log_bytes: Bucket,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            messages: Bucket::new(PER_SECOND, BURST),
            log_bytes: Bucket::new(LOG_BYTES_PER_SECOND, LOG_BYTES_BURST),
        }
    }

    /// Waits until one more message may be heard.
    pub(super) async fn next(&mut self) {
        let wait = self.messages.wait(self.since.elapsed(), 1);
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Counts so many bytes of lines that come now; whether they may.
    pub(super) fn lets_lines(&mut self, bytes: usize) -> bool {
        self.log_bytes.passes(self.since.elapsed(), bytes as u64)
    }
}
