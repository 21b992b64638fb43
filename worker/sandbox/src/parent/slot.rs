//! One slot: a thread that feeds a child process with units and watches over it.

use crate::parent::child_handle::{Child, Heard};
use crate::parent::compile;
use crate::parent::files;
use crate::parent::pool::{Entry, Mode, PoolState};
use crate::parent::process::{By, Death};
use crate::protocol::Key;
use crate::protocol::Need;
use crate::protocol::{ChildMessage, End, Reply};
use crate::unit::{Event, Outcome, Trouble};
use proto::trace::Trace;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::time::{Duration, Instant};

/// Units of one batch at most.
const BATCH_MAX: usize = 64;
/// A batch is as long as this takes, as far as the last units tell: short enough that others get their share.
const BATCH_TIME: Duration = Duration::from_millis(5);
/// Longest wait without a look around.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// The system counts the CPU time of others in ticks of this length.
const TICK: Duration = Duration::from_millis(10);

/// Runs units until the pool stops.
pub(crate) fn drive(shared: &PoolState, index: usize) {
    let mut slot = Slot { shared, index, child: None, typical: BATCH_TIME };
    while let Some(entries) = shared.next(index, slot.batch_len()) {
        slot.run(entries);
        shared.idle(index);
    }
    drop(slot);
    shared.leave();
}

struct Slot<'a> {
    shared: &'a PoolState,
    index: usize,
    child: Option<Child>,
    /// What one unit took lately.
    typical: Duration,
}

impl Slot<'_> {
    fn batch_len(&self) -> usize {
        let fits = BATCH_TIME.as_nanos() / self.typical.as_nanos().max(1);
        usize::try_from(fits).unwrap_or(BATCH_MAX).clamp(1, BATCH_MAX)
    }

    /// Runs a batch of units; what does not come to its end goes back into the queue.
    fn run(&mut self, entries: Vec<Entry>) {
        let (keys, batch) = self.compiled(entries);
        let Ok(n_units @ 1..) = u32::try_from(batch.len()) else { return };
        let start = Instant::now();
        // One that was killed while it waited is nobody's fault.
        let idle = self.child.take().and_then(Child::alive);
        let child = match idle.map_or_else(|| Child::start(&self.shared.config), Ok) {
            Ok(child) => child,
            Err(error) => return self.no_child(batch, &error),
        };
        let mut talk = BatchRun::new(self.shared, self.index, child, batch, keys);
        match talk.run() {
            Ok(()) => {
                self.shared.give_back(talk.back);
                self.child = Some(talk.child);
            }
            Err(ending) => talk.end(ending, 1 < n_units),
        }
        self.typical = start.elapsed() / n_units;
    }

    /// The units whose kernels are compiled, with the keys of those.
    fn compiled(&self, entries: Vec<Entry>) -> (Vec<Key>, VecDeque<Entry>) {
        let mut keys = Vec::new();
        let mut batch = VecDeque::new();
        for entry in entries {
            let stopped = || self.shared.mode() == Mode::Stop;
            match self.shared.cache.ensure(&entry.unit.kernel, &self.shared.config, stopped) {
                Ok(key) => {
                    keys.push(key);
                    batch.push_back(entry);
                }
                Err(compile::Stop::Trouble(reason)) => {
                    let outcome = Outcome::Infrastructure { reason };
                    self.shared.finish(self.index, entry.id, outcome, Duration::ZERO);
                }
                Err(compile::Stop::Stopped) => self.shared.give_back(vec![entry]),
            }
        }
        (keys, batch)
    }

    fn no_child(&self, batch: VecDeque<Entry>, error: &io::Error) {
        for entry in batch {
            let reason =
                Trouble::Machine(format!("the process for the unit could not be started: {error}"));
            self.shared.finish(
                self.index,
                entry.id,
                Outcome::Infrastructure { reason },
                Duration::ZERO,
            );
        }
    }
}

/// Why a child has to go, or has gone.
enum Ending {
    /// By itself.
    Died,
    /// The unit in front used up its CPU time.
    Time,
    /// It said what makes no sense.
    Confused(String),
    Cancelled(HashSet<u64>),
    Stopped,
}

/// A batch in a child.
struct BatchRun<'a> {
    shared: &'a PoolState,
    slot: usize,
    child: Child,
    /// Units without an end, the one that runs in front.
    batch: VecDeque<Entry>,
    /// The compiled kernels of the batch as it was sent.
    keys: Vec<Key>,
    /// Place of the one in front in the batch as it was sent.
    front: u32,
    /// Units that go back into the queue.
    back: Vec<Entry>,
    /// When the child was asked to interrupt the batch.
    asked: Option<Instant>,
    frozen: bool,
    /// CPU time that the unit in front had used in earlier runs.
    earlier: Duration,
    /// When its CPU time is looked at next.
    look: Instant,
}

impl<'a> BatchRun<'a> {
    fn new(
        shared: &'a PoolState,
        slot: usize,
        child: Child,
        batch: VecDeque<Entry>,
        keys: Vec<Key>,
    ) -> Self {
        let look =
            Instant::now() + batch.front().map_or(WAIT_MAX, |entry| entry.unit.time.min(WAIT_MAX));
        Self {
            shared,
            slot,
            child,
            batch,
            keys,
            front: 0,
            back: Vec::new(),
            asked: None,
            frozen: false,
            earlier: Duration::ZERO,
            look,
        }
    }

    fn run(&mut self) -> Result<(), Ending> {
        let units =
            self.keys.iter().copied().zip(self.batch.iter().map(|entry| &entry.unit)).collect();
        self.child.send(units).map_err(|_| Ending::Died)?;
        loop {
            while let Some((reply, payload)) =
                self.child.reply().map_err(|error| Ending::Confused(error.to_string()))?
            {
                self.hear(reply, payload)?;
            }
            if self.batch.is_empty() {
                return Ok(());
            }
            let bell = &self.shared.bells[self.slot];
            bell.quiet();
            let wait = self.heed()?;
            if self.child.wait(bell.reader(), wait).map_err(|_| Ending::Died)? == Heard::End {
                return Err(Ending::Died);
            }
        }
    }

    /// Does what the pool's owner wishes and says how long nothing else has to be done.
    fn heed(&mut self) -> Result<Duration, Ending> {
        let cancelled = self.shared.take_cancelled(self.batch.iter());
        if !cancelled.is_empty() {
            return Err(Ending::Cancelled(cancelled));
        }
        let mode = self.shared.mode();
        if mode == Mode::Run && self.frozen {
            self.child.thaw();
            self.frozen = false;
        }
        if mode != Mode::Run && self.asked.is_none() {
            self.child.interrupt().map_err(|_| Ending::Died)?;
            self.asked = Some(Instant::now());
        }
        let patience =
            self.asked.map(|asked| self.shared.config.grace.saturating_sub(asked.elapsed()));
        match (mode, patience) {
            (Mode::Stop, Some(Duration::ZERO)) => return Err(Ending::Stopped),
            (Mode::Pause, Some(Duration::ZERO)) if !self.frozen => {
                self.child.freeze();
                self.frozen = true;
            }
            _ => {}
        }
        if self.frozen {
            return Ok(WAIT_MAX);
        }
        let until_look = self.watch()?;
        Ok(match (mode, patience) {
            (Mode::Run, _) | (_, None) => until_look,
            (_, Some(patience)) => until_look.min(patience),
        })
    }

    /// Ends a unit whose CPU time is spent; says when to look again.
    fn watch(&mut self) -> Result<Duration, Ending> {
        let left = self.look.saturating_duration_since(Instant::now());
        let Some(entry) = self.batch.front() else { return Ok(WAIT_MAX) };
        if !left.is_zero() {
            return Ok(left);
        }
        let used = self.earlier + self.child.cpu_since_last_end();
        if entry.unit.time <= used {
            return Err(Ending::Time);
        }
        let left = (entry.unit.time - used).clamp(TICK, WAIT_MAX);
        self.look = Instant::now() + left;
        Ok(left)
    }

    fn hear(&mut self, reply: Reply, payload: Vec<u8>) -> Result<(), Ending> {
        if let ChildMessage::Walls(walls) = reply.message {
            self.shared.note_walls(walls);
            return Ok(());
        }
        let Some(entry) = self.batch.front().filter(|_| reply.index == self.front) else {
            return Err(Ending::Confused("it spoke of another unit".to_owned()));
        };
        let id = entry.id;
        match reply.message {
            ChildMessage::Started { resumed, cpu } => {
                self.earlier = cpu;
                self.shared.event(id, Event::Started { resumed });
            }
            ChildMessage::Progress { done, total, fuel, cpu } => {
                self.shared.event(id, Event::Progress { done, total, fuel, cpu })
            }
            ChildMessage::Log(line) => self.shared.event(id, Event::Log(line)),
            ChildMessage::Warning(text) => self.shared.event(id, Event::Warning(text)),
            ChildMessage::Need(need) => {
                let met = match (need, self.keys.get(self.front as usize)) {
                    (Need::Compiled, Some(key)) => self.shared.cache.compiled(*key).map(Some),
                    _ => files::meet(&entry.unit, need),
                };
                self.child.meet(met).map_err(|_| Ending::Died)?;
            }
            ChildMessage::Walls(_) => {}
            ChildMessage::Finished { end, cpu, process_cpu, trace } => {
                self.child.note_end(process_cpu);
                self.ended(end, payload, trace, cpu);
            }
        }
        Ok(())
    }

    /// The child came to an end with the unit in front.
    fn ended(&mut self, end: End, output: Vec<u8>, trace: Option<Trace>, cpu: Duration) {
        let Some(mut entry) = self.batch.pop_front() else { return };
        self.front += 1;
        let ended = matches!(end, End::Done { .. } | End::Failed { .. } | End::Reached(_));
        if let (true, Some(plan)) = (ended, &entry.unit.snapshot) {
            files::tidy(plan);
        }
        self.earlier = Duration::ZERO;
        self.look = Instant::now()
            + self.batch.front().map_or(WAIT_MAX, |entry| entry.unit.time.min(WAIT_MAX));
        let outcome = match end {
            End::Done { fuel } => Outcome::Done { output, fuel, trace },
            End::Failed { reason, fuel } => Outcome::Failed { reason, fuel, trace },
            End::Reached(point) => Outcome::Reached(point),
            End::Trouble(reason) => Outcome::Infrastructure { reason },
            End::Interrupted { saved } if self.shared.mode() == Mode::Stop => {
                Outcome::Interrupted { saved }
            }
            End::Interrupted { .. } => return self.back.push(entry),
            End::Recompile if entry.recompiled => {
                let reason = Trouble::Machine(
                    "the compiled kernel was damaged twice: check the disk".to_owned(),
                );
                Outcome::Infrastructure { reason }
            }
            End::Recompile => {
                self.shared.cache.forget(&entry.unit.kernel);
                entry.recompiled = true;
                return self.back.push(entry);
            }
        };
        self.shared.finish(self.slot, entry.id, outcome, cpu);
    }

    /// Ends the child and settles what it still had. In a batch of several nobody knows whose fault it was: each is run
    /// again, alone.
    fn end(mut self, ending: Ending, shared_fault: bool) {
        let death = self.child.end();
        let fault = match ending {
            Ending::Cancelled(ids) => {
                let (cancelled, rest): (Vec<_>, Vec<_>) =
                    self.batch.into_iter().partition(|entry| ids.contains(&entry.id));
                for entry in cancelled {
                    let outcome = Outcome::Interrupted { saved: false };
                    self.shared.finish(self.slot, entry.id, outcome, Duration::ZERO);
                }
                self.back.extend(rest);
                return self.shared.give_back(self.back);
            }
            Ending::Stopped => {
                for entry in self.batch {
                    let outcome = Outcome::Interrupted { saved: false };
                    self.shared.finish(self.slot, entry.id, outcome, Duration::ZERO);
                }
                return self.shared.give_back(self.back);
            }
            Ending::Died => died(death),
            Ending::Confused(what) => Trouble::Died(format!("its messages made no sense: {what}")),
            Ending::Time => {
                Trouble::Time(self.batch.front().map_or(Duration::ZERO, |entry| entry.unit.time))
            }
        };
        if !shared_fault && let Some(entry) = self.batch.pop_front() {
            let cpu = self.earlier + self.child.cpu_since_last_end();
            let outcome = Outcome::Infrastructure { reason: fault };
            self.shared.finish(self.slot, entry.id, outcome, cpu);
        }
        for mut entry in self.batch {
            entry.alone = true;
            self.back.push(entry);
        }
        self.shared.give_back(self.back);
    }
}

/// The trouble of a child that ended by itself.
fn died(death: Death) -> Trouble {
    let Death { text, by } = death;
    match by {
        By::System => Trouble::Killed(text),
        By::Setup => {
            Trouble::Machine(format!("the process for the unit could not be set up: {text}"))
        }
        By::Itself => Trouble::Died(text),
    }
}
