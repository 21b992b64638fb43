//! Logs onto the stream, and onto the disk when the program ends.

use super::{Entry, Logs};
use crate::agent::AgentTask;
use program::file;
use proto::id::UnitId;
use proto::pb::{self, worker_message::Kind};
use proto::report::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;
use worker_core::agent::{Message, Record};

/// Version of the file; its first byte.
const VERSION: u8 = 1;
/// Places for messages to the coordinator that logs leave to others.
const PLACES_LEFT: usize = 64;

/// What the last run of the program has kept of units that are still held. It is read once: what comes of it is told or
/// kept anew.
pub(in crate::agent) fn load(path: &Path, held: &BTreeSet<UnitId>) -> Logs {
    let read = || {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        file::remove(path)?;
        let Some((&VERSION, bytes)) = bytes.split_first() else {
            return Err(io::Error::other("it is of another release"));
        };
        postcard::from_bytes::<BTreeMap<UnitId, Entry>>(bytes).map_err(io::Error::other)
    };
    let mut units = read().unwrap_or_else(|error| {
        tracing::warn!(
            "what kernels have logged is lost, {} cannot be read: {error}",
            path.display()
        );
        BTreeMap::new()
    });
    units.retain(|id, _| held.contains(id));
    Logs::restore(units)
}

impl AgentTask {
    pub(in crate::agent) fn logs(&self) -> MutexGuard<'_, Logs> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When lines are to be sent next; not before there is a stream.
    pub(in crate::agent) fn logs_due(&self) -> Option<Instant> {
        self.session.borrow().as_ref()?;
        self.born.checked_add(self.logs().due()?)
    }

    /// Sends what running units have logged, when it is time.
    pub(in crate::agent) fn send_fresh_logs(&self) {
        if self.logs_due().is_some_and(|due| due <= Instant::now()) {
            let messages = self.logs().fresh(self.now());
            self.send_logs(messages);
        }
    }

    /// Sends what is missing of the units that a message is about, before it.
    pub(in crate::agent) fn send_logs_of(&self, message: &Message) {
        if self.session.borrow().is_none() {
            return;
        }
        let messages = match message {
            Message::Reports(batch) => {
                let units = batch.reports.iter().filter_map(|report| {
                    let job = batch.jobs.get(usize::from(report.job))?.id;
                    let failed = matches!(report.outcome, Outcome::Failed(_));
                    Some((UnitId { job, unit: report.unit }, failed))
                });
                self.logs().reported(self.now(), units)
            }
            Message::Returns(returns) => {
                let failed = returns.iter().filter(|unit| unit.failure);
                self.logs().returned(self.now(), failed.map(|unit| (unit.lease, unit.unit)))
            }
            _ => return,
        };
        self.send_logs(messages);
    }

    /// Sends lines if the coordinator reads what it is sent; nothing else waits for them.
    fn send_logs(&self, messages: Vec<pb::KernelLogs>) {
        let session = self.session.borrow();
        let Some(session) = session.as_ref() else { return };
        for logs in messages {
            if session.outbound.capacity() < PLACES_LEFT {
                tracing::debug!("lines of kernels are not sent: the line is slow");
                return;
            }
            let message = pb::WorkerMessage { kind: Some(Kind::Logs(logs)) };
            // There is room, and a stream that has just ended needs no lines.
            let _ = session.outbound.try_send(message);
        }
    }

    /// Notes units that are not held any more.
    pub(in crate::agent) fn note_gone(&self, records: &[Record]) {
        let gone = records.iter().filter_map(|record| match record {
            Record::Gone(units) => Some(units),
            _ => None,
        });
        for units in gone {
            self.logs().gone(self.now(), units);
        }
    }

    /// Keeps what has not arrived yet, for the next run of the program.
    pub(in crate::agent) fn keep_logs(&self) {
        let logs = self.logs();
        if logs.units().is_empty() {
            return;
        }
        let path = self.folder.logs();
        let kept = postcard::to_extend(logs.units(), vec![VERSION]).map_err(io::Error::other);
        if let Err(error) = kept.and_then(|bytes| file::write(&path, &bytes)) {
            tracing::warn!(
                "what kernels have logged is lost, {} cannot be written: {error}",
                path.display()
            );
        }
    }
}
