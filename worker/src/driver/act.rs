//! What the agent wants done, done.

use super::{Config, Driver, Ended, Input, Notice, convert, fetch, put, stream};
use crate::control::{Ask, Report};
use crate::core::{Action, End, Event, Remedy};
use crate::execute::{self, Pool};
use crate::file;
use crate::folder::Folder;
use crate::holding::{Reported, Told};
use proto::id::UnitId;
use proto::job::Unit;
use proto::pb;
use proto::pb::worker_message::Kind;
use proto::report::Batch;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Memory of a slot's process beside what a unit may use, bytes.
const SLOT_SPARE_BYTES: u64 = 512 << 20;
/// Bytes of outputs of a batch, beside those inside its reports, of which peers are given copies while the coordinator is
/// there: it has them, and keeps them.
const OUTPUT_COPIES_BYTES_MAX: u64 = 64 << 10;
/// How often a slot tries again to write an output to a full disk.
const OUTPUT_AGAIN: Duration = Duration::from_secs(1);

/// Units by the number of their run, for the slots' threads.
#[derive(Debug, Default)]
pub(super) struct RunNames(Mutex<HashMap<u64, UnitId>>);

impl RunNames {
    fn get(&self, run: u64) -> Option<UnitId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&run).copied()
    }

    fn remove(&self, run: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
    }

    fn insert(&self, run: u64, id: UnitId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run, id);
    }
}

/// Starts the slots; what they say comes back as events.
pub(super) fn start_pool(
    config: &Config,
    folder: &Arc<Folder>,
    sender: mpsc::Sender<Input>,
) -> Result<(Pool, Arc<RunNames>), execute::Error> {
    let names = Arc::new(RunNames::default());
    let settings = execute::Config {
        slot_memory: config.memory_bytes.saturating_add(SLOT_SPARE_BYTES),
        priority: config.priority,
        ..execute::Config::new(config.program.clone(), folder.compiled(), config.slots as usize)
    };
    let sink = Sink { folder: Arc::clone(folder), names: Arc::clone(&names), sender };
    let pool = Pool::start(settings, move |run, event| sink.heard(run, event))?;
    Ok((pool, names))
}

/// What the slots' threads need to turn what they hear into events.
struct Sink {
    folder: Arc<Folder>,
    names: Arc<RunNames>,
    sender: mpsc::Sender<Input>,
}

impl Sink {
    /// On a slot's thread: may wait.
    fn heard(&self, run: u64, event: execute::Event) {
        let Some(id) = self.names.get(run) else { return };
        match event {
            execute::Event::Started { resumed: true } => {
                tracing::info!("{id} resumed from its snapshot")
            }
            execute::Event::Started { resumed: false } => tracing::debug!("{id} started"),
            execute::Event::Progress { done, total } => {
                self.tell(Event::Progress { run, done, total })
            }
            execute::Event::Log { level, line } => tracing::debug!(level, "{id} says: {line}"),
            execute::Event::Warning(text) => tracing::warn!("{id}: {text}"),
            execute::Event::Finished(finished) => {
                let end = self.end(id, finished.outcome);
                self.names.remove(run);
                self.tell(Event::Finished { run, end, cpu: finished.cpu });
            }
        }
    }

    fn tell(&self, event: Event) {
        // The driver has gone when this fails, and with it the interest.
        let _ = self.sender.blocking_send(Input::Event(event));
    }

    fn end(&self, id: UnitId, outcome: execute::Outcome) -> End {
        match outcome {
            execute::Outcome::Done { output, fuel } => match self.kept(id, output) {
                Some(output) => End::Result { outcome: proto::report::Outcome::Done(output), fuel },
                None => End::Interrupted,
            },
            execute::Outcome::Failed { reason, fuel } => End::Result {
                outcome: proto::report::Outcome::Failed(convert::failure(reason)),
                fuel,
            },
            execute::Outcome::Interrupted { .. } => End::Interrupted,
            execute::Outcome::Infrastructure { reason } => {
                let remedy = match &reason {
                    execute::Trouble::Refused(_) | execute::Trouble::Compile(_) => {
                        Remedy::ElsewhereWholeJob
                    }
                    execute::Trouble::StackOverflow | execute::Trouble::Time(_) => {
                        Remedy::Elsewhere
                    }
                    execute::Trouble::OutOfMemory(_)
                    | execute::Trouble::Died(_)
                    | execute::Trouble::Host(_) => Remedy::Again,
                };
                End::Trouble { reason: reason.to_string(), remedy }
            }
        }
    }

    /// The output on disk, if it is not to travel inside its report. A full disk is waited for, with the slot; none when
    /// the program ends before there is room.
    fn kept(&self, id: UnitId, output: Vec<u8>) -> Option<proto::report::Output> {
        if output.len() <= proto::bounds::INLINE_OUTPUT_BYTES_MAX {
            return Some(proto::report::Output::Inline(output));
        }
        let mut told = false;
        while let Err(error) = file::write(&self.folder.output(id), &output) {
            if self.sender.is_closed() {
                return None;
            }
            if !std::mem::replace(&mut told, true) {
                let why = if file::is_no_room(&error) { "disk full" } else { "disk trouble" };
                tracing::error!(
                    "{why}: the output of {id} cannot be written ({error}); the slot waits for room"
                );
            }
            std::thread::sleep(OUTPUT_AGAIN);
        }
        Some(proto::report::Output::Blob {
            digest: proto::Digest::of(&output),
            len: output.len() as u64,
        })
    }
}

impl Driver {
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
                self.keep_copy(&batch, signed, crate::core::HANDED_OUTPUT_BYTES_MAX);
            }
            Action::Settled(sequence) => self.holding.tell(Told::Settled(sequence)),
            Action::Fetch { digest, len } => {
                let job =
                    fetch::fetch(Arc::clone(&self.blobs), self.session.subscribe(), digest, len);
                let sender = self.sender.clone();
                self.tasks.spawn(async move {
                    let result = job.await;
                    let _ = sender.send(Input::Event(Event::Fetched { digest, result })).await;
                });
            }
            Action::Release(digest) => self.blobs.unpin(&digest),
            Action::Put { digest, unit } => {
                let job = put::put(self.session.subscribe(), digest, self.folder.output(unit));
                let sender = self.sender.clone();
                self.tasks.spawn(async move {
                    let event = match job.await {
                        Ok(()) => Event::Put { digest, result: Ok(()) },
                        Err(put::Trouble::Refused(reason)) => {
                            Event::Put { digest, result: Err(reason) }
                        }
                        Err(put::Trouble::Lost(reason)) => Event::OutputLost { digest, reason },
                    };
                    let _ = sender.send(Input::Event(event)).await;
                });
            }
            Action::ForgetOutput(id) => self.forget(&self.folder.output(id)),
            Action::Run { run, id, unit } => self.run_unit(run, id, &unit),
            Action::Cancel { run } => {
                self.run_names.remove(run);
                let pool = Arc::clone(&self.pool);
                self.tasks.spawn_blocking(move || pool.cancel(run));
            }
            Action::ForgetSnapshot(id) => {
                self.forget(&self.folder.snapshot(id));
                self.forget(&self.folder.inline_inputs(id));
            }
            Action::Pause => self.pool.pause(),
            Action::Resume => self.pool.resume(),
            Action::Say(text) => self.say(&text),
            Action::Exit => {
                let stopped = self.stop_deadline.is_some();
                self.ended = Some(if stopped { Ended::Stopped } else { Ended::Left });
            }
        }
    }

    /// A file that stays costs room until the next start, no more.
    fn forget(&self, path: &std::path::Path) {
        if let Err(error) = file::remove(path) {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    }

    fn run_unit(&mut self, run: u64, id: UnitId, unit: &Unit) {
        self.run_names.insert(run, id);
        let unit =
            convert::unit(&self.folder, &self.blobs, self.config.snapshot_interval, id, unit);
        let submitted = unit
            .map_err(|error| error.to_string())
            .and_then(|unit| self.pool.submit(run, unit).map_err(|error| error.to_string()));
        let Err(reason) = submitted else { return };
        self.run_names.remove(run);
        // Through the channel's own order it would wait for room that only this task makes.
        let event = Event::Finished {
            run,
            end: End::Trouble { reason, remedy: Remedy::Elsewhere },
            cpu: Duration::ZERO,
        };
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            let _ = sender.send(Input::Event(event)).await;
        });
    }

    /// What the stream says, as events; the stream's own end among them.
    pub(super) fn news(&mut self, news: stream::News) -> Vec<Event> {
        match news {
            stream::News::Attached(session, welcome) => {
                self.certify(&session.certificate);
                self.session.send_replace(Some(session));
                tracing::info!("connected to {}", self.project.join.address);
                let _ = self.notices.send(Notice::Connected);
                vec![Event::Attached(welcome)]
            }
            stream::News::Said(event) => {
                if let Event::Job { spec, .. } = &event {
                    self.holding.tell(Told::Spec(spec.clone()));
                }
                vec![event]
            }
            stream::News::Rebuilding(session) => {
                self.say("the coordinator has lost its records: it is given what is kept here");
                let leases = match self.agent.heartbeat() {
                    crate::core::Message::Heartbeat { leases, .. } => leases.into_iter().collect(),
                    _ => std::collections::BTreeSet::new(),
                };
                self.holding.tell(Told::Rebuild { session, leases });
                Vec::new()
            }
            stream::News::Tickets(tickets) => {
                self.holding.tell(Told::Tickets(tickets));
                Vec::new()
            }
            stream::News::Ended { reason, retry_after } => {
                self.drop_stream();
                tracing::warn!("not connected to {}: {reason}", self.project.join.address);
                let _ = self.notices.send(Notice::Parted(reason.clone()));
                vec![Event::Detached { reason, retry_after, random: rand::random() }]
            }
            stream::News::Refused(reason) => {
                self.drop_stream();
                vec![Event::Refused(reason)]
            }
        }
    }

    fn connect(&mut self) {
        self.drop_stream();
        let hello = stream::Introduction {
            project: self.project.clone(),
            identity: self.identity.clone(),
            slots: self.config.slots,
            memory_bytes: self.config.memory_bytes,
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
                .send(Input::Stream(stream, stream::News::Ended { reason, retry_after: None }))
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

    pub(super) fn send(&mut self, message: crate::core::Message) {
        let batch = match &message {
            crate::core::Message::Reports(batch) => Some(batch.clone()),
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
        self.holding.tell(Told::Reported(Reported {
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
                let _ = answer.send(self.report());
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
    pub(super) fn report(&self) -> Report {
        let mut status = self.agent.status(self.now());
        if let Some(trouble) = &self.trouble {
            status.why.insert(0, trouble.clone());
        }
        Report {
            coordinator: self.project.join.address.clone(),
            project: self.project.join.project,
            name: self.project.name.clone(),
            worker: proto::WorkerKey::from(&self.identity.worker),
            account: proto::AccountKey::from(&self.identity.account),
            process: std::process::id(),
            uptime_seconds: self.now().as_secs(),
            cache_bytes: self.blobs.bytes(),
            held: self.holding.numbers(),
            peers: self.peers.as_ref().map(|peers| peers.net().report()),
            status,
        }
    }
}
