//! A small and deterministic `wasi_snapshot_preview1`: the clock is a function of fuel, random bytes come from the unit's
//! seed, the only files are the inputs, and the answer to everything else is that it is not there.

mod files;

use crate::child::host::{Host, Stop, charge, exports, memory, range};
use crate::unit::Unit;
use files::File;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use wasmtime::{Caller, FuncType, Linker, Val, ValType};

const MODULE: &str = "wasi_snapshot_preview1";
/// Nanoseconds from 1970 to 2000, where the clock starts.
const EPOCH_NS: u64 = 946_684_800_000_000_000;
/// Bytes of error text that wait for the end of their line.
const LINE_BYTES_MAX: usize = 4096;

/// Error numbers of preview 1.
mod errno {
    pub(crate) const SUCCESS: i32 = 0;
    pub(crate) const BADF: i32 = 8;
    pub(crate) const INVAL: i32 = 28;
    pub(crate) const MFILE: i32 = 33;
    pub(crate) const NOENT: i32 = 44;
    pub(crate) const NOSYS: i32 = 52;
    pub(crate) const NOTDIR: i32 = 54;
    pub(crate) const ROFS: i32 = 69;
    pub(crate) const SPIPE: i32 = 70;
}

/// What a command sees of the world.
pub(crate) struct World {
    /// Each with its terminating zero.
    arguments: Vec<Vec<u8>>,
    budget: u64,
    random: blake3::OutputReader,
    /// By file descriptor; closed ones are empty.
    files: Vec<Option<File>>,
    /// Error text without its line end yet.
    line: Vec<u8>,
}

impl Default for World {
    fn default() -> Self {
        let random = blake3::Hasher::new().finalize_xof();
        Self { arguments: Vec::new(), budget: 0, random, files: Vec::new(), line: Vec::new() }
    }
}

impl World {
    /// The world of a unit; fails if its parameters are not one JSON object.
    pub(crate) fn new(unit: &Unit) -> serde_json::Result<Self> {
        // The text of each value is kept as it is, since numbers have more than one.
        let params: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&unit.params)?;
        let mut arguments = vec![b"kernel\0".to_vec()];
        for (name, value) in params {
            let bare = serde_json::from_str::<String>(value.get())
                .unwrap_or_else(|_| value.get().to_owned());
            arguments.push(format!("{name}={bare}\0").into_bytes());
        }
        let random = blake3::Hasher::new_keyed(&unit.seed).update(b"random_get").finalize_xof();
        let files = [File::Input { input: 0, at: 0 }, File::Output, File::Log, File::Directory];
        let files = files.into_iter().map(Some).collect();
        Ok(Self { arguments, budget: unit.limits.fuel, random, files, line: Vec::new() })
    }
}

impl Host {
    /// Error text of a command, cut into lines.
    fn log_text(&mut self, mut text: &[u8]) {
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let mut line = std::mem::take(&mut self.world.line);
            line.extend_from_slice(&text[..end]);
            self.log(2, &line);
            text = &text[end + 1..];
        }
        let room = LINE_BYTES_MAX.saturating_sub(self.world.line.len());
        self.world.line.extend_from_slice(&text[..text.len().min(room)]);
    }

    /// Hands on a last line without an end.
    pub(crate) fn log_rest(&mut self) {
        let line = std::mem::take(&mut self.world.line);
        if !line.is_empty() {
            self.log(2, &line);
        }
    }
}

/// Defines the module.
pub(crate) fn define(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "args_sizes_get", args_sizes_get)?;
    linker.func_wrap(MODULE, "args_get", args_get)?;
    linker.func_wrap(
        MODULE,
        "environ_sizes_get",
        |mut caller: Caller<'_, Host>, count: i32, bytes: i32| {
            put(&mut caller, count, &0_u32.to_le_bytes())?;
            put(&mut caller, bytes, &0_u32.to_le_bytes())
        },
    )?;
    linker.func_wrap(MODULE, "environ_get", |_: i32, _: i32| errno::SUCCESS)?;
    linker.func_wrap(
        MODULE,
        "clock_res_get",
        |mut caller: Caller<'_, Host>, clock: i32, to: i32| {
            if clock_start(clock).is_none() {
                return Ok(errno::INVAL);
            }
            put(&mut caller, to, &1_u64.to_le_bytes())
        },
    )?;
    linker.func_wrap(MODULE, "clock_time_get", clock_time_get)?;
    linker.func_wrap(MODULE, "random_get", random_get)?;
    linker.func_wrap(MODULE, "proc_exit", |code: i32| -> wasmtime::Result<()> {
        Err(Stop::Exit(code).into())
    })?;
    linker.func_wrap(MODULE, "sched_yield", || errno::SUCCESS)?;
    linker.func_wrap(MODULE, "poll_oneoff", poll_oneoff)?;
    files::define(linker)?;
    for (name, params) in ABSENT {
        let params =
            params.chars().map(|letter| if letter == 'I' { ValType::I64 } else { ValType::I32 });
        let ty = FuncType::new(linker.engine(), params, [ValType::I32]);
        linker.func_new(MODULE, name, ty, |_, _, results| {
            results[0] = Val::I32(errno::NOSYS);
            Ok(())
        })?;
    }
    Ok(())
}

/// Functions that are there so that programs link, and do nothing. `i` is a 32-bit, `I` a 64-bit integer.
const ABSENT: [(&str, &str); 20] = [
    ("fd_advise", "iIIi"),
    ("fd_allocate", "iII"),
    ("fd_datasync", "i"),
    ("fd_fdstat_set_flags", "ii"),
    ("fd_fdstat_set_rights", "iII"),
    ("fd_filestat_set_size", "iI"),
    ("fd_filestat_set_times", "iIIi"),
    ("fd_pwrite", "iiiIi"),
    ("fd_readdir", "iiiIi"),
    ("fd_renumber", "ii"),
    ("fd_sync", "i"),
    ("path_create_directory", "iii"),
    ("path_filestat_set_times", "iiiiIIi"),
    ("path_link", "iiiiiii"),
    ("path_readlink", "iiiiii"),
    ("path_remove_directory", "iii"),
    ("path_rename", "iiiiii"),
    ("path_symlink", "iiiii"),
    ("path_unlink_file", "iii"),
    ("proc_raise", "i"),
];

/// Writes into the kernel's memory.
fn put(caller: &mut Caller<'_, Host>, ptr: i32, content: &[u8]) -> wasmtime::Result<i32> {
    let (bytes, _) = memory(caller)?;
    let range = range(bytes, ptr, content.len())?;
    bytes[range].copy_from_slice(content);
    Ok(errno::SUCCESS)
}

fn get<const N: usize>(bytes: &[u8], ptr: i32) -> Result<[u8; N], Stop> {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[range(bytes, ptr, N)?]);
    Ok(value)
}

/// A pointer further on, which wraps as the kernel's own arithmetic does.
fn after(ptr: i32, bytes: usize) -> i32 {
    ptr.wrapping_add(crate::child::host::as_i32(bytes))
}

fn args_sizes_get(mut caller: Caller<'_, Host>, count: i32, size: i32) -> wasmtime::Result<i32> {
    let arguments = &caller.data().world.arguments;
    let n = crate::child::host::as_i32(arguments.len());
    let n_bytes = crate::child::host::as_i32(arguments.iter().map(Vec::len).sum());
    put(&mut caller, count, &n.to_le_bytes())?;
    put(&mut caller, size, &n_bytes.to_le_bytes())
}

fn args_get(
    mut caller: Caller<'_, Host>,
    mut pointers: i32,
    mut texts: i32,
) -> wasmtime::Result<i32> {
    let (bytes, host) = memory(&mut caller)?;
    for argument in &host.world.arguments {
        let pointer = range(bytes, pointers, 4)?;
        bytes[pointer].copy_from_slice(&texts.to_le_bytes());
        let text = range(bytes, texts, argument.len())?;
        bytes[text].copy_from_slice(argument);
        pointers = after(pointers, 4);
        texts = after(texts, argument.len());
    }
    Ok(errno::SUCCESS)
}

/// Where a clock starts: the real one and the monotonic one in the year 2000, those of CPU time at 0.
fn clock_start(clock: i32) -> Option<u64> {
    match clock {
        0 | 1 => Some(EPOCH_NS),
        2 | 3 => Some(0),
        _ => None,
    }
}

fn clock_time_get(
    mut caller: Caller<'_, Host>,
    clock: i32,
    _precision: i64,
    to: i32,
) -> wasmtime::Result<i32> {
    let Some(start) = clock_start(clock) else { return Ok(errno::INVAL) };
    let fuel = exports(&caller)?.fuel;
    let left = u64::try_from(fuel.get(&mut caller).i64().unwrap_or(0)).unwrap_or(0);
    let now = start.saturating_add(caller.data().world.budget.saturating_sub(left));
    put(&mut caller, to, &now.to_le_bytes())
}

fn random_get(mut caller: Caller<'_, Host>, ptr: i32, len: i32) -> wasmtime::Result<i32> {
    let (bytes, host) = memory(&mut caller)?;
    let range = range(bytes, ptr, len.cast_unsigned() as usize)?;
    let n = range.len();
    host.world.random.fill(&mut bytes[range]);
    charge(&mut caller, n)?;
    Ok(errno::SUCCESS)
}

/// Answers at once that all has come that was waited for: sleeping changes nothing in a world whose clock is fuel.
fn poll_oneoff(
    mut caller: Caller<'_, Host>,
    from: i32,
    to: i32,
    count: i32,
    n_events: i32,
) -> wasmtime::Result<i32> {
    if count == 0 {
        return Ok(errno::INVAL);
    }
    let (bytes, _) = memory(&mut caller)?;
    let n = count.cast_unsigned() as usize;
    range(bytes, from, n.saturating_mul(48))?;
    range(bytes, to, n.saturating_mul(32))?;
    for index in 0..n {
        let subscription: [u8; 9] = get(bytes, after(from, index * 48))?;
        let mut event = [0; 32];
        event[..8].copy_from_slice(&subscription[..8]);
        event[10] = subscription[8];
        let event_range = range(bytes, after(to, index * 32), 32)?;
        bytes[event_range].copy_from_slice(&event);
    }
    put(&mut caller, n_events, &count.to_le_bytes())?;
    charge(&mut caller, n.saturating_mul(80))?;
    Ok(errno::SUCCESS)
}
