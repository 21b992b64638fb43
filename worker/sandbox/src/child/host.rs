//! What a step kernel may ask its host, and what the host holds for a unit while it runs.

use crate::child::Replies;
use crate::child::files::Files;
use crate::child::inputs::Inputs;
use crate::child::limits;
use crate::child::wasi::World;
use crate::protocol::ChildMessage;
use crate::unit::{Failure, Limits, Trouble, Unit};
use proto::bounds::LOG_LINE_BYTES_MAX;
use proto::text::printable;
use proto::unit_log::Line;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};
use wasmtime::{Caller, Global, Linker, Memory, ResourceLimiter, Val};

/// Bytes of one log line. What is said of a cut fits behind it.
const LINE_BYTES_MAX: usize = LOG_LINE_BYTES_MAX - CUT.len();
/// Ends a line that was cut.
const CUT: &str = " [cut]";
/// Shortest time between two words of progress: nobody reads faster.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes that one unit of fuel moves between kernel and host.
const BYTES_PER_FUEL: u64 = 16;
/// Elements of a table. The module's own limits are far below.
const TABLE_ELEMENTS_MAX: usize = 1 << 20;

/// Why the host ends a kernel.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("{0}")]
    Failure(Failure),
    /// The command ended itself.
    #[error("exit code {0}")]
    Exit(i32),
    #[error("{0}")]
    Trouble(Trouble),
}

/// What the host holds for a unit.
pub(crate) struct Host {
    pub(crate) params: Vec<u8>,
    pub(crate) inputs: Inputs,
    pub(crate) output: Vec<u8>,
    output_max: u64,
    log_max: u64,
    /// Bytes of log that may still be written.
    pub(crate) log_left: u64,
    pub(crate) replies: Rc<RefCell<Replies>>,
    /// What the kernel said last of how far it is.
    progress: (u64, u64),
    /// When that was handed on last.
    progressed: Option<Instant>,
    began: Instant,
    budget: u64,
    /// CPU time of earlier runs of the unit, and that of this process when this run began.
    pub(crate) cpu_before: (Duration, Duration),
    pub(crate) limiter: Limiter,
    pub(crate) world: World,
    /// Known from instantiation on.
    pub(crate) exports: Option<Exports>,
}

/// What the host uses of an instance.
#[derive(Clone, Copy)]
pub(crate) struct Exports {
    pub(crate) memory: Memory,
    pub(crate) fuel: Global,
}

impl Host {
    pub(crate) fn new(
        unit: &Unit,
        world: World,
        replies: Rc<RefCell<Replies>>,
        files: &Files,
    ) -> Self {
        Self {
            params: unit.params.clone(),
            inputs: Inputs::new(&unit.inputs, files.clone()),
            output: Vec::new(),
            output_max: unit.limits.output,
            log_max: unit.limits.log,
            log_left: unit.limits.log,
            replies,
            progress: (0, 0),
            progressed: None,
            began: Instant::now(),
            budget: unit.limits.fuel,
            cpu_before: (Duration::ZERO, limits::cpu()),
            limiter: Limiter::new(&unit.limits),
            world,
            exports: None,
        }
    }

    /// Appends to the output.
    pub(crate) fn write_output(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if self.output_max < self.output.len() as u64 + bytes.len() as u64 {
            return Err(Stop::Failure(Failure::OutputTooLarge));
        }
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    /// Hands on a line, or the mark that here the log was cut.
    pub(crate) fn log(&mut self, level: i32, text: &[u8]) {
        if self.log_left == 0 {
            return;
        }
        let level = u8::try_from(level).unwrap_or(4).clamp(1, 4);
        let at = self.log_max.saturating_sub(self.log_left);
        let cost = text.len() as u64 + 1;
        let text = if self.log_left < cost {
            "[the log is cut here: it reached its limit]".to_owned()
        } else {
            plain(text)
        };
        let len = cost.min(self.log_left);
        self.log_left -= len;
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.replies.borrow_mut().say(ChildMessage::Log(Line { at, len, level, text }));
    }

    /// Whether progress may be handed on that the kernel tells.
    fn may_progress(&self) -> bool {
        self.progressed.is_none_or(|at| PROGRESS_INTERVAL <= at.elapsed())
    }

    /// Whether progress is handed on that only the fuel tells: not of units that are over in a moment.
    pub(crate) fn is_progress_due(&self) -> bool {
        PROGRESS_INTERVAL <= self.progressed.unwrap_or(self.began).elapsed()
    }

    /// Hands on how far the unit is; `left` is what remains of its fuel.
    pub(crate) fn tell_progress(&mut self, left: i64) {
        self.progressed = Some(Instant::now());
        let (done, total) = self.progress;
        let fuel = self.budget.saturating_sub(u64::try_from(left).unwrap_or(0));
        let (earlier, before) = self.cpu_before;
        let cpu = earlier + limits::cpu().saturating_sub(before);
        self.replies.borrow_mut().say(ChildMessage::Progress { done, total, fuel, cpu });
    }
}

/// Text that does no harm in a terminal, within the bound of a line.
fn plain(text: &[u8]) -> String {
    let mut line = printable(&String::from_utf8_lossy(&text[..text.len().min(LINE_BYTES_MAX)]));
    if line.len() <= LINE_BYTES_MAX && text.len() <= LINE_BYTES_MAX {
        return line;
    }
    // Bytes that are no text have become longer.
    line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
    line + CUT
}

/// Denies memory beyond the unit's limit in the same way everywhere, and tells that apart from a machine without
/// memory.
pub(crate) struct Limiter {
    memory_max: u64,
}

impl Limiter {
    fn new(limits: &Limits) -> Self {
        Self { memory_max: limits.memory }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired as u64 <= self.memory_max && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Growth beyond what 32 bits address comes here as well, unasked; it fails everywhere. Anything else was
        // granted above and is this machine's failure. The engine tells them apart by its text alone: a flag that is set
        // where growth is granted would stay set when that has succeeded.
        if error.to_string().contains("exceeds memory type's limits") {
            return Ok(());
        }
        Err(Stop::Trouble(Trouble::OutOfMemory(format!("{error:#}"))).into())
    }

    fn table_growing(
        &mut self,
        _: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}

/// Charges the kernel's own counter for bytes moved.
pub(crate) fn charge(caller: &mut Caller<'_, Host>, bytes: usize) -> wasmtime::Result<()> {
    let cost = (bytes as u64 / BYTES_PER_FUEL).cast_signed();
    if cost == 0 {
        return Ok(());
    }
    let fuel = exports(caller)?.fuel;
    let left = fuel.get(&mut *caller).i64().unwrap_or(0).saturating_sub(cost);
    fuel.set(&mut *caller, Val::I64(left))?;
    if left < 0 { Err(Stop::Failure(Failure::FuelSpent).into()) } else { Ok(()) }
}

pub(crate) fn exports(caller: &Caller<'_, Host>) -> wasmtime::Result<Exports> {
    let unready =
        || Stop::Trouble(Trouble::Unit("the kernel ran before it was ready".to_owned())).into();
    caller.data().exports.ok_or_else(unready)
}

/// The kernel's memory, whole, beside the host.
pub(crate) fn memory<'a>(
    caller: &'a mut Caller<'_, Host>,
) -> wasmtime::Result<(&'a mut [u8], &'a mut Host)> {
    let memory = exports(caller)?.memory;
    Ok(memory.data_and_store_mut(caller))
}

/// A range of the kernel's memory; outside it is a trap.
pub(crate) fn range(bytes: &[u8], ptr: i32, len: usize) -> Result<Range<usize>, Stop> {
    let start = ptr.cast_unsigned() as usize;
    match start.checked_add(len) {
        Some(end) if end <= bytes.len() => Ok(start..end),
        _ => Err(Stop::Failure(Failure::OutOfBounds)),
    }
}

fn length(len: i32) -> usize {
    len.cast_unsigned() as usize
}

/// Defines the module `starling`.
pub(crate) fn define(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let module = "starling";
    linker.func_wrap(module, "params_len", |caller: Caller<'_, Host>| {
        as_i32(caller.data().params.len())
    })?;
    linker.func_wrap(module, "params_read", params_read)?;
    linker.func_wrap(module, "input_count", |caller: Caller<'_, Host>| {
        as_i32(caller.data().inputs.count())
    })?;
    linker.func_wrap(module, "input_len", |caller: Caller<'_, Host>, input: i32| {
        caller.data().inputs.len(length(input)).map_or(-1, u64::cast_signed)
    })?;
    linker.func_wrap(module, "input_read", input_read)?;
    linker.func_wrap(module, "output_write", output_write)?;
    linker.func_wrap(module, "progress", progress)?;
    linker.func_wrap(module, "log", log)?;
    Ok(())
}

fn params_read(
    mut caller: Caller<'_, Host>,
    offset: i32,
    ptr: i32,
    len: i32,
) -> wasmtime::Result<i32> {
    let (bytes, host) = memory(&mut caller)?;
    let range = range(bytes, ptr, length(len))?;
    let rest = host.params.get(length(offset)..).unwrap_or_default();
    let n = rest.len().min(range.len());
    bytes[range][..n].copy_from_slice(&rest[..n]);
    charge(&mut caller, n)?;
    Ok(as_i32(n))
}

fn input_read(
    mut caller: Caller<'_, Host>,
    input: i32,
    offset: i64,
    ptr: i32,
    len: i32,
) -> wasmtime::Result<i32> {
    let (bytes, host) = memory(&mut caller)?;
    if host.inputs.count() <= length(input) {
        return Ok(-1);
    }
    let range = range(bytes, ptr, length(len))?;
    let n = host
        .inputs
        .read(length(input), offset.cast_unsigned(), &mut bytes[range])
        .map_err(|error| unreadable(length(input), &error))?;
    charge(&mut caller, n)?;
    Ok(as_i32(n))
}

/// An input that cannot be read is this machine's fault.
pub(crate) fn unreadable(input: usize, error: &std::io::Error) -> Stop {
    Stop::Trouble(Trouble::Machine(format!("input {input} could not be read: {error}")))
}

fn progress(mut caller: Caller<'_, Host>, done: i64, total: i64) -> wasmtime::Result<()> {
    let fuel = exports(&caller)?.fuel;
    caller.data_mut().progress = (done.cast_unsigned(), total.cast_unsigned());
    if caller.data().may_progress() {
        let left = fuel.get(&mut caller).i64().unwrap_or(0);
        caller.data_mut().tell_progress(left);
    }
    Ok(())
}

fn output_write(mut caller: Caller<'_, Host>, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let (bytes, host) = memory(&mut caller)?;
    let range = range(bytes, ptr, length(len))?;
    host.write_output(&bytes[range])?;
    charge(&mut caller, length(len))
}

fn log(mut caller: Caller<'_, Host>, level: i32, ptr: i32, len: i32) -> wasmtime::Result<()> {
    let (bytes, host) = memory(&mut caller)?;
    let range = range(bytes, ptr, length(len))?;
    host.log(level, &bytes[range]);
    charge(&mut caller, length(len))
}

/// A length as the kernel sees it: 32 bits without a sign.
pub(crate) fn as_i32(n: usize) -> i32 {
    u32::try_from(n).unwrap_or(u32::MAX).cast_signed()
}
