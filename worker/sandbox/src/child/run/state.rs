//! The state of an instance between two steps: read for snapshots and the trace, put there from files.

use super::{Kernel, Run};
use crate::child::host::{Host, Stop};
use crate::child::snapshot::{self, Meta, Snapshots};
use crate::child::state_archive;
use crate::child::trace::{Due, SoFar, State};
use crate::protocol::Need;
use crate::protocol::{ChildMessage, End};
use crate::unit::{Begin, Trouble, Unit};
use proto::state::{self, PAGE_BYTES, Shown, is_zero};
use proto::trace::Point;
use std::fs::File;
use std::io;
use std::path::Path;
use wasmtime::{Store, Val};

impl Run<'_> {
    fn warn(&self, text: String) {
        self.replies.borrow_mut().say(ChildMessage::Warning(text));
    }
}

impl Kernel<'_> {
    /// Takes up the unit's snapshot if there is one that is its own and whole.
    pub(crate) fn resume(
        &self,
        run: &mut Run<'_>,
        store: &mut Store<Host>,
        snapshots: &mut Snapshots,
    ) -> wasmtime::Result<bool> {
        let limits = &run.unit.limits;
        let taken = match snapshots.load(limits.memory, limits.output) {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(false),
            Err(error) => {
                run.warn(format!("the snapshot is of no use and the unit starts anew: {error}"));
                return Ok(false);
            }
        };
        if !self.fits(store, &taken.meta) || run.tracer.is_some() != taken.meta.trace.is_some() {
            run.warn("the snapshot does not fit the kernel and the unit starts anew".to_owned());
            return Ok(false);
        }
        self.put(store, &taken.meta, |memory| {
            snapshots.restore(&taken, memory).map_err(|error| unreadable(&error))
        })?;
        store.data_mut().log_left = taken.meta.log_left;
        run.earlier = taken.meta.cpu;
        if let (Some(tracer), Some(so_far)) = (&mut run.tracer, taken.meta.trace) {
            tracer.resume(so_far);
        }
        Ok(true)
    }

    /// Begins at the state that the unit's plan names; false if that is its start.
    pub(crate) fn begin(
        &self,
        run: &mut Run<'_>,
        store: &mut Store<Host>,
    ) -> wasmtime::Result<bool> {
        let Some(tracer) = &mut run.tracer else { return Ok(false) };
        match tracer.begin() {
            Begin::Start => return Ok(false),
            Begin::State { path, point } => {
                let file = run.files.open(Need::Begin);
                self.begin_shown(run.unit, store, (path, file), point)?;
            }
            Begin::Archived(_) => {
                let (chain, taken) =
                    match state_archive::latest(&run.files, run.unit, tracer.fuel_max()) {
                        Ok(Some(found)) if self.fits(store, &found.1.meta) => found,
                        Ok(_) => return Ok(false),
                        Err(error) => {
                            run.warn(format!("no kept state is of use, the start is: {error}"));
                            return Ok(false);
                        }
                    };
                self.put(store, &taken.meta, |memory| {
                    snapshot::restore(&chain, &taken, memory).map_err(|error| unreadable(&error))
                })?;
            }
        }
        tracer.begins_at(self.burned(store, run.unit.limits.fuel));
        Ok(true)
    }

    /// Puts a state that somebody showed into the instance, if it is the one that was named.
    fn begin_shown(
        &self,
        unit: &Unit,
        store: &mut Store<Host>,
        (path, file): (&Path, io::Result<File>),
        point: &Point,
    ) -> wasmtime::Result<()> {
        let refused = |how: &str| {
            let path = path.display();
            let text = format!("the shown state {path} is not the one that it should be: {how}");
            Stop::Trouble(Trouble::Unit(text))
        };
        let wrong = |error: state::Error| match error {
            state::Error::Malformed(how) => refused(how),
            state::Error::Read(error) => refused(&error.to_string()),
        };
        let file = file.map_err(|error| refused(&error.to_string()))?;
        let shown = Shown::open(file, unit.limits.memory, unit.limits.output).map_err(wrong)?;
        let head = shown.head();
        let Some(left) = unit.limits.fuel.checked_sub(head.fuel) else {
            return Err(refused("more fuel was burnt than the unit may burn").into());
        };
        let meta = Meta {
            fuel: left.cast_signed(),
            cpu: std::time::Duration::ZERO,
            log_left: unit.limits.log,
            globals: head.globals.clone(),
            memory_pages: head.memory_pages,
            trace: None,
        };
        if !self.fits(store, &meta) {
            return Err(refused("it does not fit the kernel").into());
        }
        self.put(store, &meta, |memory| {
            let (output, found) = fill(shown, memory).map_err(wrong)?;
            if found == *point { Ok(output) } else { Err(refused("it has another digest")) }
        })
    }

    /// Whether the instance can take this state.
    fn fits(&self, store: &Store<Host>, meta: &Meta) -> bool {
        let same = meta.globals.len() == self.globals.len();
        same && self.exports.memory.size(store) <= meta.memory_pages
    }

    /// Gives the instance a state that fits: `fill` writes its memory and returns its output.
    fn put(
        &self,
        store: &mut Store<Host>,
        meta: &Meta,
        fill: impl FnOnce(&mut [u8]) -> Result<Vec<u8>, Stop>,
    ) -> wasmtime::Result<()> {
        let memory = self.exports.memory;
        let more = meta.memory_pages.saturating_sub(memory.size(&*store));
        memory.grow(&mut *store, more)?;
        store.data_mut().output = fill(memory.data_mut(&mut *store))?;
        for (global, bits) in self.globals.iter().zip(&meta.globals) {
            let value = value(&global.get(&mut *store), *bits);
            global.set(&mut *store, value)?;
        }
        self.exports.fuel.set(&mut *store, Val::I64(meta.fuel))
    }

    /// Writes a snapshot; when it cannot be written the unit goes on without.
    pub(crate) fn save(
        &self,
        run: &Run<'_>,
        store: &mut Store<Host>,
        snapshots: &mut Snapshots,
    ) -> bool {
        let so_far = run.tracer.as_ref().map(|tracer| tracer.so_far().clone());
        let meta = self.meta(run, store, so_far);
        let saved = snapshots.save(&meta, self.exports.memory.data(&*store), &store.data().output);
        if let Err(error) = &saved {
            run.warn(format!("no snapshot could be written, the unit goes on without: {error}"));
        }
        saved.is_ok()
    }

    /// Does with the state what the unit's plan says; some end where the run is to end.
    pub(crate) fn trace(&self, run: &mut Run<'_>, store: &mut Store<Host>) -> Option<End> {
        let burnt = self.burned(store, run.unit.limits.fuel);
        let due = run.tracer.as_ref().map_or(Due::Nothing, |tracer| tracer.due(burnt));
        if due == Due::Nothing {
            return None;
        }
        let meta = self.meta(run, store, None);
        let memory = self.exports.memory.data(&*store);
        let state = State { burnt, meta: &meta, memory, output: &store.data().output };
        let tracer = run.tracer.as_mut()?;
        let (end, warning) = match due {
            Due::Nothing => (None, None),
            Due::Point => tracer.point(state),
            Due::Show => (Some(tracer.show(state)), None),
            Due::Missed(fuel) => {
                let text = format!("the unit has no state with {fuel} fuel burnt, only {burnt}");
                (Some(End::Trouble(Trouble::Unit(text))), None)
            }
        };
        if let Some(text) = warning {
            run.warn(text);
        }
        end
    }

    fn meta(&self, run: &Run<'_>, store: &mut Store<Host>, trace: Option<SoFar>) -> Meta {
        Meta {
            fuel: self.fuel(store),
            cpu: run.cpu(),
            log_left: store.data().log_left,
            globals: self.globals.iter().map(|global| bits(&global.get(&mut *store))).collect(),
            memory_pages: self.exports.memory.size(&*store),
            trace,
        }
    }
}

fn unreadable(error: &io::Error) -> Stop {
    Stop::Trouble(Trouble::Machine(format!("a snapshot or kept state could not be read: {error}")))
}

/// Writes a shown state to memory of its size; returns its output and what it is.
fn fill(mut shown: Shown<File>, memory: &mut [u8]) -> Result<(Vec<u8>, Point), state::Error> {
    let mut at = 0;
    while let Some((index, page)) = shown.page()? {
        let start = index * PAGE_BYTES;
        clear(&mut memory[at..start]);
        at = start + PAGE_BYTES;
        memory[start..at].copy_from_slice(page);
    }
    clear(&mut memory[at..]);
    let mut output = Vec::new();
    let point = shown.finish(|part| output.extend_from_slice(part))?;
    Ok((output, point))
}

/// Zeros memory that data segments have written to; pages that are zero already are left alone and cost nothing.
fn clear(memory: &mut [u8]) {
    memory.chunks_mut(PAGE_BYTES).filter(|page| !is_zero(page)).for_each(|page| page.fill(0));
}

/// The bits of a global, whatever its type.
fn bits(value: &Val) -> u128 {
    match value {
        Val::I32(value) => u128::from(value.cast_unsigned()),
        Val::I64(value) => u128::from(value.cast_unsigned()),
        Val::F32(bits) => u128::from(*bits),
        Val::F64(bits) => u128::from(*bits),
        Val::V128(value) => value.as_u128(),
        // Mutable globals of reference type are not admissible.
        _ => 0,
    }
}

/// The value of the type of `like` that has these bits.
#[expect(clippy::cast_possible_truncation, reason = "the bits were widened from the same type")]
fn value(like: &Val, bits: u128) -> Val {
    match like {
        Val::I32(_) => Val::I32((bits as u32).cast_signed()),
        Val::I64(_) => Val::I64((bits as u64).cast_signed()),
        Val::F32(_) => Val::F32(bits as u32),
        Val::F64(_) => Val::F64(bits as u64),
        Val::V128(_) => Val::V128(bits.into()),
        other => *other,
    }
}
