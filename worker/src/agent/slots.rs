//! The slots: what is given to them, and what they say of it, as events.

use super::logs::Logs;
use super::{AgentTask, Config, Input, convert};
use crate::disk;
use crate::folder::Folder;
use crate::traces::Traces;
use program::file;
use proto::id::UnitId;
use proto::job::Unit;
use proto::trace::{Point, Trace};
use proto::unit_log::Line;
use proto::{Digest, LeaseId};
use sandbox::{
    self, ArchivePlan, Begin, CompileLimits, Pool, SnapshotPlan, TracePlan, Until, WallPlan,
};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use worker_core::agent::{End, Event, Remedy, RunScope, StateFile};

/// Memory of a slot's process beside what a unit may use, bytes.
const SLOT_SPARE_BYTES: u64 = 512 << 20;
/// How often a slot tries again to write an output to a full disk.
const OUTPUT_AGAIN: Duration = Duration::from_secs(1);

/// Runs by their number, for the slots' threads.
#[derive(Debug, Default)]
pub(super) struct RunNames(Mutex<HashMap<u64, Name>>);

/// What a run is.
#[derive(Clone, Copy, Debug)]
struct Name {
    unit: UnitId,
    /// Under which it is run; none for what is no report.
    lease: Option<LeaseId>,
    purpose: Purpose,
}

/// What is to become of a run's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A report.
    Report,
    /// A statement about a segment.
    Segment,
    /// A state that is shown.
    State,
    /// Nothing: an errand that was cancelled. Its files go when its child writes them no more.
    Nothing,
}

impl RunNames {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Name>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, run: u64) -> Option<Name> {
        self.lock().get(&run).copied()
    }

    fn remove(&self, run: u64) {
        self.lock().remove(&run);
    }

    /// Nobody wants to know how a run ends.
    pub(super) fn cancel(&self, run: u64) {
        let mut names = self.lock();
        match names.get_mut(&run) {
            Some(Name { purpose: Purpose::Report, .. }) => drop(names.remove(&run)),
            Some(name) => name.purpose = Purpose::Nothing,
            None => {}
        }
    }
}

/// Starts the slots, which leave so many bytes free on the disk; what they say comes back as events.
pub(super) fn start(
    (config, reserve): (&Config, u64),
    folder: &Arc<Folder>,
    traces: &Arc<Traces>,
    logs: &Arc<Mutex<Logs>>,
    sender: mpsc::Sender<Input>,
) -> Result<(Pool, Arc<RunNames>), sandbox::Error> {
    let names = Arc::new(RunNames::default());
    let settings = settings(config, folder);
    let (folder, traces, logs) = (Arc::clone(folder), Arc::clone(traces), Arc::clone(logs));
    let sink = Sink { folder, reserve, traces, logs, names: Arc::clone(&names), sender };
    let pool = Pool::start(settings, move |run, event| sink.heard(run, event))?;
    Ok((pool, names))
}

fn settings(config: &Config, folder: &Folder) -> sandbox::Config {
    sandbox::Config {
        slot_memory: config.memory_bytes.saturating_add(SLOT_SPARE_BYTES),
        compile: CompileLimits::lent(config.memory_bytes),
        priority: config.priority,
        walls: WallPlan { required: config.require_walls, ..WallPlan::default() },
        ..sandbox::Config::new(config.program.clone(), folder.compiled(), config.slots as usize)
    }
}

/// What the slots' threads need to turn what they hear into events.
struct Sink {
    folder: Arc<Folder>,
    /// What is left free on the disk, bytes.
    reserve: u64,
    traces: Arc<Traces>,
    logs: Arc<Mutex<Logs>>,
    names: Arc<RunNames>,
    sender: mpsc::Sender<Input>,
}

impl Sink {
    /// On a slot's thread: may wait.
    fn heard(&self, run: u64, event: sandbox::Event) {
        let Some(Name { unit: id, lease, purpose }) = self.names.get(run) else { return };
        match event {
            sandbox::Event::Started { resumed: true } => {
                tracing::info!("{id} resumed from its snapshot")
            }
            sandbox::Event::Started { resumed: false } => tracing::debug!("{id} started"),
            // Of a kernel that does not tell.
            sandbox::Event::Progress { total: 0, .. } => {}
            sandbox::Event::Progress { done, total, .. } => {
                self.tell(Event::Progress { run, done, total })
            }
            sandbox::Event::Log(line) => self.logged(id, lease, line),
            sandbox::Event::Warning(text) => tracing::warn!("{id}: {text}"),
            sandbox::Event::Finished(finished) => {
                if purpose == Purpose::Nothing {
                    self.names.remove(run);
                    return self.clear(run);
                }
                let outcome = finished.outcome;
                #[cfg(feature = "fault-hook")]
                let outcome = match purpose {
                    Purpose::Report => crate::fault::outcome(outcome),
                    Purpose::Segment | Purpose::State | Purpose::Nothing => outcome,
                };
                let end = self.end(run, id, purpose, outcome);
                self.names.remove(run);
                self.tell(Event::Finished { run, end, cpu: finished.cpu });
            }
        }
    }

    /// Keeps a line for the researcher; none of an errand's, which is no unit of its own.
    fn logged(&self, id: UnitId, lease: Option<LeaseId>, line: Line) {
        tracing::debug!(level = line.level, "{id} says: {}", line.text);
        let Some(lease) = lease else { return };
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let wakes = logs.line(id, lease, line);
        drop(logs);
        if wakes {
            // The task has gone when this fails, and with it the interest.
            let _ = self.sender.blocking_send(Input::Logged);
        }
    }

    /// Files of an errand's run that stay cost room until the next start, no more.
    fn clear(&self, run: u64) {
        for path in [self.folder.errand_state(run), self.folder.errand_inputs(run)] {
            if let Err(error) = file::remove(&path) {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
        }
    }

    fn tell(&self, event: Event) {
        // The task has gone when this fails, and with it the interest.
        let _ = self.sender.blocking_send(Input::Event(event));
    }

    fn end(&self, run: u64, id: UnitId, purpose: Purpose, outcome: sandbox::Outcome) -> End {
        match outcome {
            sandbox::Outcome::Done { output, fuel, trace } => {
                let output = match purpose {
                    Purpose::Report => self.kept(id, output),
                    // A statement names the output by digest, and nobody asks for more.
                    Purpose::Segment | Purpose::State | Purpose::Nothing => Some(named(&output)),
                };
                let Some(output) = output else { return End::Interrupted };
                let trace_root = self.traced(id, purpose, trace.as_ref());
                End::Result { outcome: proto::report::Outcome::Done(output), fuel, trace_root }
            }
            sandbox::Outcome::Failed { reason, fuel, trace } => {
                let trace_root = self.traced(id, purpose, trace.as_ref());
                End::Result { outcome: proto::report::Outcome::Failed(reason), fuel, trace_root }
            }
            sandbox::Outcome::Reached(point) if purpose == Purpose::State => self.state(run, point),
            sandbox::Outcome::Reached(point) => End::Reached { point, state: None },
            sandbox::Outcome::Interrupted { .. } => End::Interrupted,
            sandbox::Outcome::Infrastructure { reason } => trouble(&reason),
        }
    }

    /// Keeps the trace of a unit that will be reported; what the report commits to.
    fn traced(&self, id: UnitId, purpose: Purpose, trace: Option<&Trace>) -> Option<Digest> {
        if purpose != Purpose::Report {
            return None;
        }
        let (root, kept) = self.traces.end(id, trace);
        if let Err(error) = kept {
            tracing::warn!("the trace of {id} cannot be kept, and so not be shown: {error}");
        }
        root
    }

    /// The state that a run was to reach, as the file that is shown.
    fn state(&self, run: u64, point: Point) -> End {
        #[cfg(feature = "fault-hook")]
        if let Err(error) = crate::fault::shown(&self.folder.errand_state(run)) {
            tracing::error!("the state cannot be forged: {error}");
        }
        match crate::blobs::hash_file(&self.folder.errand_state(run)) {
            Ok((digest, len)) => End::Reached { point, state: Some(StateFile { digest, len }) },
            Err(error) => End::Trouble {
                reason: format!("the state cannot be read again: {error}"),
                remedy: Remedy::Again,
            },
        }
    }

    /// The output on disk, if it is not to travel inside its report. A full disk is waited for, with the slot; none when
    /// the program ends before there is room.
    fn kept(&self, id: UnitId, output: Vec<u8>) -> Option<proto::report::Output> {
        if output.len() <= proto::bounds::INLINE_OUTPUT_BYTES_MAX {
            return Some(proto::report::Output::Inline(output));
        }
        let path = self.folder.output(id);
        let write = || match disk::lacks_room(self.folder.path(), self.reserve, output.len() as u64)
        {
            Some(why) => Err(why),
            None => file::write(&path, &output).map_err(|error| error.to_string()),
        };
        let mut told = false;
        while let Err(why) = write() {
            if self.sender.is_closed() {
                return None;
            }
            if !std::mem::replace(&mut told, true) {
                tracing::error!(
                    "the output of {id} cannot be written ({why}); the slot waits for room"
                );
            }
            std::thread::sleep(OUTPUT_AGAIN);
        }
        Some(proto::report::Output::Blob { digest: Digest::of(&output), len: output.len() as u64 })
    }
}

/// A unit's inputs could not be put on disk.
fn unwritten(error: io::Error) -> End {
    let reason = format!("its inputs cannot be written: {error}");
    if file::is_no_room(&error) {
        return End::NoRoom { reason };
    }
    End::Trouble { reason, remedy: Remedy::Mend }
}

/// The slots do not take a unit.
fn unfit(error: sandbox::Error) -> End {
    let remedy = match &error {
        sandbox::Error::Bound { .. } => Remedy::Elsewhere,
        _ => Remedy::Mend,
    };
    End::Trouble { reason: error.to_string(), remedy }
}

/// What is to be done about a trouble.
fn trouble(reason: &sandbox::Trouble) -> End {
    use sandbox::{Fault, Trouble};
    let remedy = match (reason, reason.fault()) {
        (Trouble::NoRoom(_), _) => return End::NoRoom { reason: reason.to_string() },
        (Trouble::Refused(_) | Trouble::Compile(_), _) => Remedy::ElsewhereWholeJob,
        (Trouble::CompileLimit(_), _) => Remedy::MendWholeJob,
        (_, Fault::Unit) => Remedy::Elsewhere,
        (_, Fault::Machine) => Remedy::Mend,
        (_, Fault::Unclear) => Remedy::Again,
    };
    End::Trouble { reason: reason.to_string(), remedy }
}

/// An output by its digest alone.
fn named(output: &[u8]) -> proto::report::Output {
    proto::report::Output::Blob { digest: Digest::of(output), len: output.len() as u64 }
}

impl AgentTask {
    /// Runs the trial unit beside the slots, as they would run it.
    pub(super) fn run_trial(&mut self) {
        let (settings, folder) = (settings(&self.config, &self.folder), self.folder.trial());
        let (sender, stood) = (self.sender.clone(), Arc::clone(&self.walls));
        self.tasks.spawn(async move {
            let tried =
                tokio::task::spawn_blocking(move || sandbox::trial(&settings, &folder)).await;
            let result = match tried {
                Ok(tried) => tried.map_err(|trouble| trouble.to_string()).map(|walls| {
                    // The same each time.
                    let _ = walls.map(|walls| stood.set(walls));
                }),
                Err(panicked) => Err(panicked.to_string()),
            };
            let _ = sender.send(Input::Event(Event::Tried(result))).await;
        });
    }

    /// Gives a unit, or a part of it, to the slots.
    pub(super) fn run_unit(&mut self, run: u64, id: UnitId, unit: &Unit, course: RunScope) {
        let purpose = match course {
            RunScope::Whole { .. } => Purpose::Report,
            RunScope::ToState { .. } => Purpose::State,
            RunScope::Segment { .. } => Purpose::Segment,
        };
        if let Some(reason) = disk::lacks_room(self.folder.path(), self.reserve, 0) {
            return self.ended_at_once(run, End::NoRoom { reason });
        }
        let lease = self.agent.lease_of(id).filter(|_| purpose == Purpose::Report);
        self.run_names.lock().insert(run, Name { unit: id, lease, purpose });
        let (snapshot, inline) = match purpose {
            Purpose::Report => {
                let interval = self.config.snapshot_interval;
                let snapshot = SnapshotPlan { path: self.folder.snapshot(id), interval };
                (Some(snapshot), self.folder.inline_inputs(id))
            }
            Purpose::State | Purpose::Segment | Purpose::Nothing => {
                (None, self.folder.errand_inputs(run))
            }
        };
        let trace = Some(self.trace_plan(run, id, course));
        let unit = convert::unit(&self.blobs, unit, inline);
        let submitted = unit.map_err(unwritten).and_then(|unit| {
            let unit = sandbox::Unit { snapshot, trace, ..unit };
            self.pool.submit(run, unit).map_err(unfit)
        });
        let Err(end) = submitted else { return };
        self.run_names.remove(run);
        self.ended_at_once(run, end);
    }

    /// A run ends before it has begun.
    fn ended_at_once(&mut self, run: u64, end: End) {
        // Through the channel's own order it would wait for room that only this task makes.
        let event = Event::Finished { run, end, cpu: Duration::ZERO };
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            let _ = sender.send(Input::Event(event)).await;
        });
    }

    fn trace_plan(&self, run: u64, id: UnitId, course: RunScope) -> TracePlan {
        match course {
            RunScope::Whole { spacing } => {
                let archive = self.traces.begin(id);
                let archive = archive
                    .map(|bytes_max| ArchivePlan { path: self.traces.states(id), bytes_max });
                TracePlan { spacing, begin: Begin::Start, until: Until::End, archive }
            }
            RunScope::ToState { spacing, fuel } => TracePlan {
                spacing,
                begin: Begin::Archived(self.traces.states(id)),
                until: Until::State { fuel, to: self.folder.errand_state(run) },
                archive: None,
            },
            RunScope::Segment { spacing, from } => {
                let begin = from.map_or(Begin::Start, |(point, blob)| Begin::State {
                    path: self.blobs.path(&blob),
                    point,
                });
                let (spacing, until) = match spacing {
                    0 => (u64::MAX, Until::End),
                    spacing => (spacing, Until::NextPoint),
                };
                TracePlan { spacing, begin, until, archive: None }
            }
        }
    }
}
