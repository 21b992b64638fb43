//! What a pool's owner and its slots share: the queue, the wishes, and who runs what.

use super::{Config, Error, QUEUE_MAX, Running, Status};
use crate::parent::cache::Cache;
use crate::unit::{Event, Finished, Outcome, Unit};
use crate::walls::Walls;
use std::collections::{HashSet, VecDeque};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A unit in the queue or in a slot.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) unit: Unit,
    /// It was in a batch whose child died: it runs alone, so that the blame falls on the right one.
    pub(crate) alone: bool,
    /// Its compiled kernel was found damaged once and made anew.
    pub(crate) recompiled: bool,
}

/// What the owner of the pool wants of the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Run,
    Pause,
    Stop,
}

/// Takes every event, with the number of its unit.
pub(crate) type Sink = Box<dyn Fn(u64, Event) + Send + Sync>;

/// What the slots and the pool's owner share.
pub(crate) struct PoolState {
    pub(crate) config: Config,
    pub(crate) cache: Cache,
    pub(crate) bells: Vec<Bell>,
    sink: Sink,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: VecDeque<Entry>,
    running: Vec<Vec<Running>>,
    cancelled: HashSet<u64>,
    mode: Mode,
    live: usize,
    walls: Option<Walls>,
}

impl PoolState {
    pub(crate) fn new(config: Config, cache: Cache, sink: Sink) -> io::Result<Self> {
        let slots = config.slots;
        let bells = (0..slots).map(|_| Bell::new()).collect::<io::Result<_>>()?;
        let state = State {
            queue: VecDeque::new(),
            running: vec![Vec::new(); slots],
            cancelled: HashSet::new(),
            mode: Mode::Run,
            live: slots,
            walls: None,
        };
        Ok(Self { config, cache, bells, sink, state: Mutex::new(state), changed: Condvar::new() })
    }

    pub(crate) fn submit(&self, entry: Entry) -> Result<(), Error> {
        let mut state = self.lock();
        if state.mode == Mode::Stop {
            return Err(Error::Stopped);
        }
        if QUEUE_MAX <= state.queue.len() {
            return Err(Error::Full);
        }
        state.queue.push_back(entry);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    pub(crate) fn cancel(&self, id: u64) {
        let mut state = self.lock();
        if let Some(index) = state.queue.iter().position(|entry| entry.id == id) {
            state.queue.remove(index);
            drop(state);
            self.interrupted(id);
            return;
        }
        let Some(slot) =
            state.running.iter().position(|units| units.iter().any(|unit| unit.id == id))
        else {
            return;
        };
        state.cancelled.insert(id);
        drop(state);
        self.bells[slot].ring();
    }

    /// Notes what stands around a child: the same around all.
    pub(crate) fn note_walls(&self, walls: Walls) {
        self.lock().walls = Some(walls);
    }

    pub(crate) fn status(&self) -> Status {
        let state = self.lock();
        Status {
            paused: state.mode == Mode::Pause,
            queued: state.queue.len(),
            slots: state.running.clone(),
            walls: state.walls,
        }
    }

    /// Ends what waits and waits for the slots' threads to end; the wish to stop was said before.
    pub(crate) fn wait_for_the_end(&self) {
        let left: Vec<u64> = self.lock().queue.drain(..).map(|entry| entry.id).collect();
        for id in left {
            self.interrupted(id);
        }
        let mut state = self.lock();
        while 0 < state.live {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        let mut state = self.lock();
        if state.mode != Mode::Stop {
            state.mode = mode;
        }
        drop(state);
        self.changed.notify_all();
        for bell in &self.bells {
            bell.ring();
        }
    }

    /// Waits for work and takes at most `n_wanted` units; none means: stop.
    pub(crate) fn next(&self, slot: usize, n_wanted: usize) -> Option<Vec<Entry>> {
        let mut state = self.lock();
        loop {
            match state.mode {
                Mode::Stop => return None,
                Mode::Run if !state.queue.is_empty() => break,
                Mode::Run | Mode::Pause => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        let share = state.queue.len().div_ceil(self.config.slots);
        let mut batch = Vec::new();
        while batch.len() < n_wanted.min(share).max(1) {
            match state.queue.front() {
                Some(entry) if batch.is_empty() || !entry.alone => {
                    batch.extend(state.queue.pop_front())
                }
                Some(_) | None => break,
            }
            if batch.last().is_some_and(|entry| entry.alone) {
                break;
            }
        }
        let since = Instant::now();
        state.running[slot] = batch.iter().map(|entry| Running { id: entry.id, since }).collect();
        Some(batch)
    }

    /// Takes units back to the front of the queue; when the pool stops they end instead.
    pub(crate) fn give_back(&self, entries: Vec<Entry>) {
        let mut state = self.lock();
        if state.mode == Mode::Stop {
            drop(state);
            for entry in entries {
                self.interrupted(entry.id);
            }
            return;
        }
        for entry in entries.into_iter().rev() {
            state.queue.push_front(entry);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Notes that a slot holds no unit.
    pub(crate) fn idle(&self, slot: usize) {
        self.lock().running[slot].clear();
    }

    /// Notes that a slot's thread ends.
    pub(crate) fn leave(&self) {
        self.lock().live -= 1;
        self.changed.notify_all();
    }

    pub(crate) fn mode(&self) -> Mode {
        self.lock().mode
    }

    /// Which of these units were cancelled; asked once for each.
    pub(crate) fn take_cancelled<'a>(
        &self,
        entries: impl Iterator<Item = &'a Entry>,
    ) -> HashSet<u64> {
        let mut state = self.lock();
        if state.cancelled.is_empty() {
            return HashSet::new();
        }
        entries.map(|entry| entry.id).filter(|id| state.cancelled.remove(id)).collect()
    }

    pub(crate) fn event(&self, id: u64, event: Event) {
        (self.sink)(id, event);
    }

    pub(crate) fn finish(&self, slot: usize, id: u64, outcome: Outcome, cpu: Duration) {
        let mut state = self.lock();
        state.running[slot].retain(|unit| unit.id != id);
        state.cancelled.remove(&id);
        drop(state);
        self.event(id, Event::Finished(Finished { outcome, cpu }));
    }

    fn interrupted(&self, id: u64) {
        let outcome = Outcome::Interrupted { saved: false };
        self.event(id, Event::Finished(Finished { outcome, cpu: Duration::ZERO }));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes a slot's thread that waits for its child.
pub(crate) struct Bell {
    reader: PipeReader,
    writer: PipeWriter,
    rung: AtomicBool,
}

impl Bell {
    fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader, writer, rung: AtomicBool::new(false) })
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // The pipe holds one byte at most, so this neither waits nor fails while the reader lives beside it.
            let _ = (&self.writer).write_all(&[1]);
        }
    }

    /// Takes the ring back before the wishes are looked at, so that none is missed.
    pub(crate) fn quiet(&self) {
        if self.rung.load(Ordering::Acquire) {
            let _ = (&self.reader).read_exact(&mut [0]);
            self.rung.store(false, Ordering::Release);
        }
    }

    pub(crate) fn reader(&self) -> &PipeReader {
        &self.reader
    }
}
