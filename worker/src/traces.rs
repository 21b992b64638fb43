//! Traces of units that were run here, and states on them, kept to be shown: files by unit, within a limit of bytes.
//!
//! `traces/j7-u12.trace` is a whole trace, there before the unit is reported; `traces/j7-u12.states` has states on it,
//! written while the unit runs. A worker is not told when a unit is settled, so both stay after the report is
//! acknowledged, until room is needed: the oldest go first. Room is shared out, so that neither the many small traces nor
//! the few large states push the others out: a quarter of the limit is for states of units that run, a half for states
//! of those that have ended, a quarter for traces. Without its trace a state is of no use, and goes with it.

use crate::folder::{unit_name, unit_of};
use program::file;
use proto::Digest;
use proto::id::UnitId;
use proto::trace::{POINTS_MAX, Trace};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Most files of each kind: they are known by name in memory, and each takes a block of the disk however small it is.
const FILES_MAX: usize = 65_536;
/// Longest trace as bytes: two numbers and a digest for each point, and some.
const TRACE_BYTES_MAX: u64 = POINTS_MAX as u64 * 48 + 64;
/// Room below which keeping states of a unit is not begun, bytes: a state that is worth it does not fit.
const SHARE_MIN: u64 = 64 << 10;

const TRACE: &str = "trace";
const STATES: &str = "states";

/// The folder of traces.
#[derive(Debug)]
pub struct Traces {
    root: PathBuf,
    /// For the states of one running unit, bytes.
    share: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Units that have begun and not ended.
    open: BTreeSet<UnitId>,
    states: Shelf,
    traces: Shelf,
}

/// Files of one kind, the oldest first.
#[derive(Debug)]
struct Shelf {
    limit: u64,
    bytes: u64,
    files: BTreeMap<UnitId, (u64, u64)>,
    by_age: BTreeMap<u64, UnitId>,
    last: u64,
}

impl Shelf {
    fn new(limit: u64) -> Self {
        let (files, by_age) = (BTreeMap::new(), BTreeMap::new());
        Self { limit, bytes: 0, files, by_age, last: 0 }
    }

    /// Takes note of a file as the youngest; which others have to go.
    fn add(&mut self, id: UnitId, len: u64) -> Vec<UnitId> {
        self.forget(id);
        self.last += 1;
        self.files.insert(id, (self.last, len));
        self.by_age.insert(self.last, id);
        self.bytes += len;
        let mut gone = Vec::new();
        while self.limit < self.bytes || FILES_MAX < self.files.len() {
            let Some((_, oldest)) = self.by_age.first_key_value() else { break };
            let oldest = *oldest;
            self.forget(oldest);
            gone.push(oldest);
        }
        gone
    }

    fn forget(&mut self, id: UnitId) {
        if let Some((age, len)) = self.files.remove(&id) {
            self.by_age.remove(&age);
            self.bytes -= len;
        }
    }
}

impl Traces {
    /// Opens the folder at `root`, made when it is not there, with a limit of `limit` bytes for a worker with so many
    /// `slots`. Of units that have not ended only those in `held` are of use.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(root: &Path, limit: u64, slots: u32, held: &BTreeSet<UnitId>) -> io::Result<Self> {
        file::make_folder(root)?;
        let state = State {
            open: BTreeSet::new(),
            states: Shelf::new(limit / 2),
            traces: Shelf::new(limit / 4),
        };
        let share = limit / 4 / u64::from(slots.max(1));
        let traces = Self { root: root.to_path_buf(), share, state: Mutex::new(state) };
        traces.take_stock(held)?;
        Ok(traces)
    }

    fn take_stock(&self, held: &BTreeSet<UnitId>) -> io::Result<()> {
        let mut found: Vec<(SystemTime, UnitId, u64, bool)> = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            let id = path.file_name().and_then(|name| name.to_str()).and_then(unit_of);
            let kind = path.extension().and_then(|kind| kind.to_str());
            let is_trace = kind == Some(TRACE);
            match id.filter(|_| is_trace || kind == Some(STATES)) {
                Some(id) => found.push((metadata.modified()?, id, metadata.len(), is_trace)),
                None => file::remove(&path)?,
            }
        }
        // Traces first: by them states are known to be of use.
        found.sort_unstable_by_key(|(age, id, _, is_trace)| (!is_trace, *age, *id));
        let mut state = self.lock();
        for (_, id, len, is_trace) in found {
            if is_trace {
                self.add_trace(&mut state, id, len)?;
            } else if state.traces.files.contains_key(&id) {
                self.add_states(&mut state, id, len)?;
            } else if held.contains(&id) {
                state.open.insert(id);
            } else {
                file::remove(&self.states(id))?;
            }
        }
        Ok(())
    }

    fn add_trace(&self, state: &mut State, id: UnitId, len: u64) -> io::Result<()> {
        for gone in state.traces.add(id, len) {
            state.states.forget(gone);
            file::remove(&self.states(gone))?;
            file::remove(&self.path(gone, TRACE))?;
        }
        Ok(())
    }

    fn add_states(&self, state: &mut State, id: UnitId, len: u64) -> io::Result<()> {
        for gone in state.states.add(id, len) {
            file::remove(&self.states(gone))?;
        }
        Ok(())
    }

    /// A unit is about to run: how many bytes of states it may keep in [`Self::states`]; none when there is no room.
    #[must_use]
    pub fn begin(&self, id: UnitId) -> Option<u64> {
        let mut state = self.lock();
        state.open.insert(id);
        state.states.forget(id);
        (SHARE_MIN <= self.share).then_some(self.share)
    }

    /// A unit has ended; its trace is kept, durably, if it has points. What a report commits to, and whether it can be
    /// shown.
    pub fn end(&self, id: UnitId, trace: Option<&Trace>) -> (Option<Digest>, io::Result<()>) {
        let root = trace.and_then(Trace::root);
        let kept = match trace.filter(|_| root.is_some()) {
            Some(trace) => self.keep(id, &checked(trace.encode())),
            None => self.forget(id),
        };
        if kept.is_err() {
            // What failed first is told; this would only repeat it.
            let _ = self.forget(id);
        }
        (root, kept)
    }

    fn keep(&self, id: UnitId, trace: &[u8]) -> io::Result<()> {
        let states = fs::metadata(self.states(id)).map_or(0, |metadata| metadata.len());
        file::write(&self.path(id, TRACE), trace)?;
        let mut state = self.lock();
        state.open.remove(&id);
        self.add_trace(&mut state, id, trace.len() as u64)?;
        if 0 < states { self.add_states(&mut state, id, states) } else { Ok(()) }
    }

    /// Nobody will ask for what is here of a unit.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn forget(&self, id: UnitId) -> io::Result<()> {
        let mut state = self.lock();
        state.open.remove(&id);
        state.states.forget(id);
        state.traces.forget(id);
        drop(state);
        file::remove(&self.states(id))?;
        file::remove(&self.path(id, TRACE))
    }

    /// The trace of a unit whose job has this spacing.
    ///
    /// # Errors
    /// Why it cannot be shown, for people.
    pub fn read(&self, id: UnitId, spacing: u64) -> Result<Trace, String> {
        let mut bytes = Vec::new();
        let read = File::open(self.path(id, TRACE))
            .and_then(|file| file.take(TRACE_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => Trace::decode(unchecked(&bytes), spacing)
                .map_err(|_| format!("the trace of {id} is damaged on this disk")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("the trace of {id} is not here, or not any more"))
            }
            Err(error) => Err(format!("the trace of {id} cannot be read: {error}")),
        }
    }

    /// Where states of a unit are.
    #[must_use]
    pub fn states(&self, id: UnitId) -> PathBuf {
        self.path(id, STATES)
    }

    /// Bytes on disk, those of running units too.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let state = self.lock();
        let len = |id: &UnitId| fs::metadata(self.states(*id)).map_or(0, |metadata| metadata.len());
        state.states.bytes + state.traces.bytes + state.open.iter().map(len).sum::<u64>()
    }

    fn path(&self, id: UnitId, suffix: &str) -> PathBuf {
        self.root.join(format!("{}.{suffix}", unit_name(id)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A trace with a digest behind it: one that was damaged on the disk must not be shown, for whoever shows another trace
/// than the report commits to has lied.
fn checked(mut trace: Vec<u8>) -> Vec<u8> {
    let check = Digest::of(&trace);
    trace.extend_from_slice(&check.0);
    trace
}

/// The trace in a file, if the digest behind it holds; else all of it, which is a trace only if an older release wrote it.
fn unchecked(bytes: &[u8]) -> &[u8] {
    match bytes.split_last_chunk::<32>() {
        Some((trace, check)) if Digest::of(trace).0 == *check => trace,
        _ => bytes,
    }
}

#[cfg(test)]
mod tests;
