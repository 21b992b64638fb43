//! What the core says to one worker, on its way to the stream: bounded in messages and in bytes.

use crate::core::event::ToWorker;
use proto::report::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// Messages that wait for one worker; a worker that lets more pile up reads too slowly.
const MESSAGES_MAX: usize = 1024;
/// Bytes of messages that wait for one worker, about: what the leases bring that fill the largest machine.
const BYTES_MAX: usize = 4 << 20;
/// Bytes of a message beside what it brings, about.
const MESSAGE_BYTES: usize = 128;

/// The engine's end.
#[derive(Clone, Debug)]
pub struct Sink {
    messages: mpsc::Sender<ToWorker>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// The stream's end.
#[derive(Debug)]
pub struct FromCore {
    messages: mpsc::Receiver<ToWorker>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// A way from the engine to a worker's stream.
#[must_use]
pub fn sink() -> (Sink, FromCore) {
    let (sender, messages) = mpsc::channel(MESSAGES_MAX);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let from_core = FromCore { messages, waiting_bytes: Arc::clone(&waiting_bytes) };
    (Sink { messages: sender, waiting_bytes }, from_core)
}

impl Sink {
    /// Adds a message; false when the worker has gone, or reads too slowly.
    #[must_use]
    pub fn send(&self, message: ToWorker) -> bool {
        let bytes = bytes_of(&message);
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        // One message alone always fits.
        (before == 0 || before + bytes <= BYTES_MAX) && self.messages.try_send(message).is_ok()
    }
}

impl FromCore {
    /// Waits for messages and takes at most `most`; their number is 0 when none will follow.
    pub async fn recv_many(&mut self, to: &mut Vec<ToWorker>, most: usize) -> usize {
        let start = to.len();
        let count = self.messages.recv_many(to, most).await;
        let bytes = to[start..].iter().map(bytes_of).sum();
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        count
    }

    /// Waits for the next message; `None` when none will follow.
    pub async fn recv(&mut self) -> Option<ToWorker> {
        let message = self.messages.recv().await?;
        self.waiting_bytes.fetch_sub(bytes_of(&message), Ordering::Relaxed);
        Some(message)
    }
}

/// Bytes that a message holds in memory, about. Specifications are read when they are sent.
fn bytes_of(message: &ToWorker) -> usize {
    let brings = match message {
        ToWorker::Lease(lease) => lease
            .extras
            .iter()
            .map(|extra| {
                let inputs = extra.inputs.iter().map(|input| match input {
                    Output::Inline(content) => content.len() + MESSAGE_BYTES,
                    Output::Blob { .. } => MESSAGE_BYTES,
                });
                extra.line.as_ref().map_or(0, String::len) + inputs.sum::<usize>()
            })
            .sum(),
        ToWorker::Cancel { leases, reason } => leases.len() * size_of::<u64>() + reason.len(),
        ToWorker::Idle { reason: text, .. } | ToWorker::Advice(text) => text.len(),
        ToWorker::Job { .. } | ToWorker::Show(_) | ToWorker::Segment(_) | ToWorker::Replaced => 0,
    };
    MESSAGE_BYTES + brings
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::LeaseId;

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes_and_comes_free_when_it_is_read() {
        let (sink, mut from_core) = sink();
        let cancel = |count: u64| ToWorker::Cancel {
            leases: (0..count).map(LeaseId).collect(),
            reason: String::new(),
        };
        assert!(sink.send(cancel(1 << 20)), "one alone always fits");
        assert!(!sink.send(cancel(1)));
        let mut got = Vec::new();
        assert_eq!(from_core.recv_many(&mut got, 64).await, 1);
        for _ in 0..100 {
            for _ in 0..31 {
                assert!(sink.send(cancel(16_000)));
            }
            assert_eq!(from_core.recv_many(&mut got, 64).await, 31);
            got.clear();
        }
        for _ in 0..MESSAGES_MAX {
            assert!(sink.send(cancel(0)));
        }
        assert!(!sink.send(cancel(0)));
    }
}
