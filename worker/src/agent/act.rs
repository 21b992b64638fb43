//! What the agent wants done, done.

use super::{AgentTask, Ended, Input, Notice, convert, fetch, put, stream};
use crate::control::{Ask, Report};
use crate::coordinator::Introduction;
use crate::custody::{Command, Reported};
use program::file;
use proto::Digest;
use proto::id::UnitId;
use proto::pb;
use proto::pb::worker_message::Kind;
use proto::report::Batch;
use std::sync::Arc;
use tokio::sync::mpsc;
use worker_core::agent::{Action, Event, Source};

/// Bytes of outputs of a batch, beside those inside its reports, of which peers are given copies while the coordinator is
/// there: it has them, and keeps them.
const OUTPUT_COPIES_BYTES_MAX: u64 = 64 << 10;

impl AgentTask {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Connect => self.connect(),
            Action::Disconnect(reason) => {
                tracing::warn!("the connection is dropped: {reason}");
                self.parted(&reason);
            }
            Action::Send(message) => self.send(message),
            Action::HandOver(batch) => {
                let signed = batch.sign(&self.identity.worker);
                self.keep_copy(&batch, signed, worker_core::agent::HANDED_OUTPUT_BYTES_MAX);
            }
            Action::Settled(sequence) => self.custody.tell(Command::Settled(sequence)),
            Action::Fetch { digest, len } => self.fetch(digest, len),
            Action::Release(digest) => self.blobs.unpin(&digest),
            Action::Put { digest, from } => self.put(digest, from),
            Action::ForgetOutput(id) => self.forget(&self.folder.output(id)),
            Action::ReadTrace { show, unit, spacing } => {
                let (traces, sender) = (Arc::clone(&self.traces), self.sender.clone());
                self.tasks.spawn(async move {
                    let read =
                        tokio::task::spawn_blocking(move || traces.read(unit, spacing)).await;
                    let result = read.unwrap_or_else(|error| Err(error.to_string()));
                    let _ = sender.send(Input::Event(Event::TraceRead { show, result })).await;
                });
            }
            Action::Run { run, id, unit, course } => self.run_unit(run, id, &unit, course),
            Action::Cancel { run } => {
                self.run_names.cancel(run);
                let pool = Arc::clone(&self.pool);
                self.tasks.spawn_blocking(move || pool.cancel(run));
            }
            Action::ForgetSnapshot(id) => {
                self.forget(&self.folder.snapshot(id));
                self.forget(&self.folder.inline_inputs(id));
            }
            Action::ForgetTrace(id) => {
                if let Err(error) = self.traces.forget(id) {
                    tracing::warn!("cannot remove the trace of {id}: {error}");
                }
            }
            Action::ForgetErrand { run } => {
                self.forget(&self.folder.errand_state(run));
                self.forget(&self.folder.errand_inputs(run));
            }
            Action::Try => self.run_trial(),
            Action::Pause => self.pool.pause(),
            Action::Resume => self.pool.resume(),
            Action::Say(text) => self.say(&text),
            Action::Exit => {
                let stopped = self.stop_deadline.is_some();
                self.ended = Some(if stopped { Ended::Stopped } else { Ended::Left });
            }
        }
    }

    /// Has a blob brought; how it went is an event.
    fn fetch(&mut self, digest: Digest, len: Option<u64>) {
        let job = fetch::fetch(
            Arc::clone(&self.blobs),
            self.session.subscribe(),
            self.exchange.clone(),
            digest,
            len,
        );
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            let result = job.await;
            let _ = sender.send(Input::Event(Event::Fetched { digest, result })).await;
        });
    }

    /// Has an output or a shown state put; how it went is an event.
    fn put(&mut self, digest: Digest, from: Source) {
        let path = match from {
            Source::Output(unit) => self.folder.output(unit),
            Source::State { run } => self.folder.errand_state(run),
        };
        let job = put::put(self.session.subscribe(), digest, path);
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            let event = match job.await {
                Ok(()) => Event::Put { digest, result: Ok(()) },
                Err(put::Trouble::Refused(reason)) => Event::Put { digest, result: Err(reason) },
                Err(put::Trouble::Lost(reason)) => Event::OutputLost { digest, reason },
            };
            let _ = sender.send(Input::Event(event)).await;
        });
    }

    /// A file that stays costs room until the next start, no more.
    fn forget(&self, path: &std::path::Path) {
        if let Err(error) = file::remove(path) {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    }

    /// What the stream says, as events; the stream's own end among them.
    pub(super) fn news(&mut self, news: stream::StreamEvent) -> Vec<Event> {
        match news {
            stream::StreamEvent::Attached(session, welcome) => {
                self.certify(&session.certificate);
                self.session.send_replace(Some(session));
                tracing::info!("connected to {}", self.project.join.address);
                let _ = self.notices.send(Notice::Connected);
                self.logs().attached();
                vec![Event::Attached(welcome)]
            }
            stream::StreamEvent::Said(event) => {
                if let Event::Job { spec, .. } = &event {
                    self.custody.tell(Command::Spec(spec.clone()));
                }
                vec![event]
            }
            stream::StreamEvent::Rebuilding(session) => {
                self.say("the coordinator has lost its records: it is given what is kept here");
                let leases = match self.agent.heartbeat() {
                    worker_core::agent::Message::Heartbeat { leases, .. } => {
                        leases.into_iter().collect()
                    }
                    _ => std::collections::BTreeSet::new(),
                };
                self.custody.tell(Command::Rebuild { session, leases });
                Vec::new()
            }
            stream::StreamEvent::Tickets(tickets) => {
                self.custody.tell(Command::Tickets(tickets));
                Vec::new()
            }
            stream::StreamEvent::Ended { reason, retry_after } => {
                self.drop_stream();
                tracing::warn!("not connected to {}: {reason}", self.project.join.address);
                let _ = self.notices.send(Notice::Parted(reason.clone()));
                vec![Event::Detached { reason, retry_after, random: rand::random() }]
            }
            stream::StreamEvent::Refused(reason) => {
                self.drop_stream();
                vec![Event::Refused(reason)]
            }
        }
    }

    fn connect(&mut self) {
        self.drop_stream();
        let hello = Introduction {
            project: self.project.clone(),
            identity: self.identity.clone(),
            slots: self.config.slots,
            memory_bytes: self.config.memory_bytes,
            log_head: self.custody.log_head(),
            work: self.folder.work(),
        };
        let (stream, sender) = (self.stream, self.sender.clone());
        self.reader = Some(self.tasks.spawn(stream::run(hello, stream, sender)));
    }

    /// Ends the stream from this side.
    fn parted(&mut self, reason: &str) {
        self.drop_stream();
        let (sender, stream, reason) = (self.sender.clone(), self.stream, reason.to_owned());
        self.tasks.spawn(async move {
            let _ = sender
                .send(Input::Stream(
                    stream,
                    stream::StreamEvent::Ended { reason, retry_after: None },
                ))
                .await;
        });
    }

    /// Whatever an earlier stream still says is not listened to any more.
    pub(super) fn drop_stream(&mut self) {
        self.stream += 1;
        self.session.send_replace(None);
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
    }

    pub(super) fn send(&mut self, message: worker_core::agent::Message) {
        self.send_logs_of(&message);
        let batch = match &message {
            worker_core::agent::Message::Reports(batch) => Some(batch.clone()),
            _ => None,
        };
        let sent = {
            let session = self.session.borrow();
            let Some(session) = session.as_ref() else { return };
            let message = convert::message(message, &self.identity.worker);
            if let (Some(batch), Some(Kind::Reports(signed))) = (&batch, &message.kind) {
                self.keep_copy(batch, signed.clone(), OUTPUT_COPIES_BYTES_MAX);
            }
            session.outbound.try_send(message)
        };
        if let Err(mpsc::error::TrySendError::Full(_)) = sent {
            self.parted("the coordinator does not read what it is sent");
        }
    }

    /// Has a batch kept, here and by peers.
    fn keep_copy(&self, batch: &Batch, signed: pb::SignedReports, outputs_bytes_max: u64) {
        let large = batch.reports.iter().filter(|report| {
            matches!(
                report.outcome,
                proto::report::Outcome::Done(proto::report::Output::Blob { .. })
            )
        });
        let output = |report: &proto::report::Report| {
            let job = batch.jobs.get(usize::from(report.job))?.id;
            Some(self.folder.output(UnitId { job, unit: report.unit }))
        };
        self.custody.tell(Command::Reported(Reported {
            sequence: batch.sequence,
            signed,
            leases: batch.reports.iter().map(|report| report.lease).collect(),
            outputs: large.filter_map(output).collect(),
            outputs_bytes_max,
        }));
    }

    pub(super) async fn asked(&mut self, ask: Ask) {
        let (event, answer) = match ask {
            Ask::Status(answer) => {
                // Whoever asked and left does without, here and below.
                let _ = answer.send(self.report().await);
                return;
            }
            Ask::Peers(answer) => {
                let _ = answer.send(self.neighbours());
                return;
            }
            Ask::Stop(answer) => {
                self.stop.cancel();
                let _ = answer.send(());
                return;
            }
            Ask::Pause(time, answer) => (Event::Pause(time), answer),
            Ask::Resume(answer) => (Event::Resume, answer),
            Ask::Leave(answer) => (Event::Leave, answer),
        };
        self.apply([event]).await;
        let _ = answer.send(());
    }

    /// What the owner is told.
    pub(super) async fn report(&self) -> Report {
        let mut status = self.agent.status(self.now());
        if let Some(trouble) = &self.trouble {
            status.why.insert(0, trouble.clone());
        }
        let blobs = match &self.exchange {
            Some(exchange) => Some(exchange.numbers().await),
            None => None,
        };
        Report {
            coordinator: self.project.join.address.clone(),
            project: self.project.join.project,
            name: self.project.name.clone(),
            worker: proto::WorkerKey::from(&self.identity.worker),
            account: proto::AccountKey::from(&self.identity.account),
            process: std::process::id(),
            uptime_seconds: self.now().as_secs(),
            cache_bytes: self.blobs.bytes(),
            trace_bytes: self.traces.bytes(),
            held: self.custody.numbers(),
            peers: self.peers.as_ref().map(|peers| peers.net().report()),
            blobs,
            walls: self.pool.status().walls.or_else(|| self.walls.get().copied()),
            status,
        }
    }
}
