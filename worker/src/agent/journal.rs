//! Records onto the disk, through a full disk too.

use super::AgentTask;
use crate::control::Ask;
use program::file;
use std::io;
use std::time::Duration;
use worker_core::agent::Record;

/// How often a disk that would not take the records is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl AgentTask {
    /// Keeps records; whether they are kept. While the disk is full nothing else is done but heartbeats: what is not
    /// kept is not spoken of. False only when the program is to end meanwhile; then what follows must not be done, and
    /// the results are computed again from their snapshots.
    pub(super) async fn keep(&mut self, records: Vec<Record>) -> bool {
        if records.is_empty() {
            return true;
        }
        let records = std::sync::Arc::new(records);
        loop {
            let Some(error) = self.try_keep(&records).await.err() else { break };
            let text = if file::is_no_room(&error) {
                format!(
                    "disk full: {} cannot be written ({error}); free some room, nothing is lost meanwhile",
                    self.folder.path().display()
                )
            } else {
                format!("cannot write to {}: {error}; tried again", self.folder.path().display())
            };
            if self.trouble.as_ref() != Some(&text) {
                tracing::error!("{text}");
                self.trouble = Some(text);
            }
            if self.stop.is_cancelled() {
                return false;
            }
            self.wait_in_trouble(AGAIN).await;
        }
        if self.trouble.take().is_some() {
            self.say("there is room on the disk again: going on");
        }
        true
    }

    async fn try_keep(&mut self, records: &std::sync::Arc<Vec<Record>>) -> io::Result<()> {
        let Some(mut outbox) = self.outbox.take() else { return Ok(()) };
        let wasteful = outbox.is_wasteful();
        let anew = wasteful.then(|| self.agent.records());
        let records = std::sync::Arc::clone(records);
        let kept = tokio::task::spawn_blocking(move || {
            let kept = match &anew {
                // What the agent holds includes these records.
                Some(all) => outbox.compact(all).or_else(|_| outbox.append(&records)),
                None => outbox.append(&records),
            };
            (outbox, kept)
        })
        .await;
        match kept {
            Ok((outbox, kept)) => {
                self.outbox = Some(outbox);
                kept
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Waits, answering the owner and keeping the leases.
    async fn wait_in_trouble(&mut self, time: Duration) {
        self.send(self.agent.heartbeat());
        let end = tokio::time::Instant::now() + time;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                () = self.stop.cancelled() => return,
                Some(ask) = self.asks.recv() => match ask {
                    Ask::Status(answer) => drop(answer.send(self.report().await)),
                    Ask::Stop(answer) => {
                        self.stop.cancel();
                        let _ = answer.send(());
                    }
                    // The asker is told that nobody listens, and asks again.
                    Ask::Peers(_) | Ask::Pause(..) | Ask::Resume(_) | Ask::Leave(_) => {}
                },
            }
        }
    }
}
