//! Compiles a kernel in a child with limits: an adversarial module of a few kilobytes can take minutes and gigabytes.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Resource;
use serde::{Deserialize, Serialize};

use super::cache::Directory;
use super::engine::{Engines, inlines};
use super::frame::{self, CompileOrder, Verdict};
use super::pool::Priority;
use super::process;
use super::unit::{Kernel, Trouble};
use crate::file::is_no_room;

/// Bytes of a module: the kernel contract allows less, and says so better.
const MODULE_BYTES_MAX: u64 = 64 << 20;
/// How often the parent looks whether it is to give up.
const TICK: Duration = Duration::from_millis(20);
/// CPU time that compiling may take. Real kernels take about a second per megabyte; the slowest machines ten times that.
const CPU: Duration = Duration::from_secs(60);
/// Time on the wall that compiling may take beside units that have the machine's cores.
const WALL: Duration = Duration::from_secs(1200);
/// Address space that compiling may take, however much is lent.
const MEMORY_MAX: u64 = 2 << 30;
/// Address space that it may take on every machine, so that whoever submits can rely on it.
pub const COMPILE_MEMORY_MIN: u64 = 512 << 20;
/// How many times as long as at submission compiling may take on a worker: the slowest machines that take part are not
/// slower than the coordinator by more.
const SLOWER: u32 = 4;
/// Time on the wall that compiling may take while a researcher waits for it.
const WALL_AT_SUBMISSION: Duration = Duration::from_secs(90);

/// What compiling one kernel may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// CPU time, counted in whole seconds.
    pub cpu: Duration,
    /// Time on the wall, for what waits without computing.
    pub wall: Duration,
    /// Bytes of address space.
    pub memory: u64,
}

impl CompileLimits {
    /// On a machine that lends so much memory, bytes.
    #[must_use]
    pub fn lent(memory: u64) -> Self {
        Self { cpu: CPU, wall: WALL, memory: memory.clamp(COMPILE_MEMORY_MIN, MEMORY_MAX) }
    }

    /// At the submission of a job whose units may use so much memory, bytes: what passes is compiled on every machine that
    /// is lent units of the job, since it lends as much.
    #[must_use]
    pub fn at_submission(memory: u64) -> Self {
        Self { cpu: CPU / SLOWER, wall: WALL_AT_SUBMISSION, ..Self::lent(memory) }
    }
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self::lent(MEMORY_MAX)
    }
}

/// A kernel to be compiled.
#[derive(Clone, Copy, Debug)]
pub struct Compilation<'a> {
    /// The program whose child compiles: [`super::own_program`] in all but tests.
    pub program: &'a Path,
    /// The kernel.
    pub kernel: &'a Kernel,
    /// Directory of compiled kernels that it is put into; it is only tried where there is none.
    pub cache: Option<&'a Path>,
    /// Whom it lets go first.
    pub priority: Priority,
    /// What it may take.
    pub limits: CompileLimits,
    /// Whether functions are inlined, for measuring; by the module's own measure when absent.
    pub inlining: Option<bool>,
}

/// What compiling took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileCost {
    /// CPU time.
    pub cpu: Duration,
    /// Most memory that was in use, bytes; 0 where the system does not tell.
    pub memory: u64,
    /// Most address space, which is what the limit counts, bytes; 0 where the system does not tell.
    pub space: u64,
    /// Of the code, bytes.
    pub bytes: u64,
    /// Whether functions were inlined.
    pub inlined: bool,
}

/// Why a kernel was not compiled.
#[derive(Debug)]
pub enum Stop {
    /// It could not be.
    Trouble(Trouble),
    /// The caller wanted it no more.
    Stopped,
}

impl Compilation<'_> {
    /// Has a child compile the kernel; `stopped` is asked now and then whether to give up.
    ///
    /// # Errors
    /// [`Stop`]. The trouble tells whether it is the kernel's or this machine's.
    pub fn run(&self, stopped: impl Fn() -> bool) -> Result<CompileCost, Stop> {
        let failed = |error: io::Error| {
            let text = format!("the process that compiles could not be driven: {error}");
            Stop::Trouble(Trouble::Machine(text))
        };
        let mut child = self.start().map_err(failed)?;
        match wait(&mut child, self.limits.wall, stopped).map_err(failed)? {
            Waited::Stopped => Err(Stop::Stopped),
            Waited::TooLong => Err(Stop::Trouble(Trouble::CompileLimit(format!(
                "it took longer than {} s",
                self.limits.wall.as_secs()
            )))),
            Waited::Ended(status) => self.verdict(&mut child, status).map_err(Stop::Trouble),
        }
    }

    fn start(&self) -> io::Result<Child> {
        let Self { kernel, cache, priority, limits, inlining, .. } = *self;
        let order = CompileOrder {
            module: kernel.path.clone(),
            digest: kernel.digest,
            nan: kernel.nan,
            cache: cache.map(Path::to_owned),
            priority,
            cpu_s: limits.cpu.as_secs().max(1),
            memory: limits.memory,
            inlining,
        };
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &frame::Order::Compile(order), &[])?;
        let mut child = process::command(self.program).spawn()?;
        let told = child.stdin.as_mut().map_or(Ok(()), |stdin| stdin.write_all(&bytes));
        // A child that has ended before it heard tells by its end why.
        match told {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                end(&mut child)?;
                Err(error)
            }
            _ => Ok(child),
        }
    }

    fn verdict(&self, child: &mut Child, status: ExitStatus) -> Result<CompileCost, Trouble> {
        use std::os::unix::process::ExitStatusExt;
        let answer =
            child.stdout.as_mut().and_then(|stdout| frame::read::<Verdict>(stdout).ok().flatten());
        if let Some(verdict) = answer {
            return verdict;
        }
        let limits = &self.limits;
        Err(match status.signal() {
            // SIGXCPU
            Some(24) => Trouble::CompileLimit(format!(
                "it took more than {} s of CPU time",
                limits.cpu.as_secs().max(1)
            )),
            Some(6 | 11) => Trouble::CompileLimit(format!(
                "it took more than {} MB of memory",
                limits.memory >> 20
            )),
            _ => Trouble::Machine(format!(
                "the process that compiles ended: {}",
                process::ending(status)
            )),
        })
    }
}

enum Waited {
    Ended(ExitStatus),
    TooLong,
    Stopped,
}

/// Waits for a child's end, and ends it when it takes too long. Its answer is short enough to lie in the pipe.
fn wait(child: &mut Child, wall: Duration, stopped: impl Fn() -> bool) -> io::Result<Waited> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Waited::Ended(status));
        }
        let stopped = stopped();
        if stopped || wall < start.elapsed() {
            end(child)?;
            return Ok(if stopped { Waited::Stopped } else { Waited::TooLong });
        }
        std::thread::sleep(TICK);
    }
}

fn end(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(|_| ())
}

/// What the child does.
pub(super) fn child(order: &CompileOrder) -> io::Result<Verdict> {
    process::settle(order.priority)?;
    process::limit(Resource::Cpu, order.cpu_s)?;
    process::limit(Resource::As, order.memory)?;
    Ok(compile(order))
}

fn compile(order: &CompileOrder) -> Verdict {
    let machine =
        |doing: &str, error: &dyn std::fmt::Display| Trouble::Machine(format!("{doing}: {error}"));
    let mut module = Vec::new();
    std::fs::File::open(&order.module)
        .and_then(|file| file.take(MODULE_BYTES_MAX).read_to_end(&mut module))
        .map_err(|error| machine("the kernel's file could not be read", &error))?;
    if *blake3::hash(&module).as_bytes() != order.digest {
        return Err(Trouble::Machine(
            "the kernel's file does not have the digest it should have: fetch it again".to_owned(),
        ));
    }
    let prepared = kernel::prepare(&module, order.nan)
        .map_err(|refusal| Trouble::Refused(refusal.to_string()))?;
    drop(module);
    let engines = Engines::new()
        .map_err(|error| machine("the engine does not run on this machine", &error))?;
    let inlined = order.inlining.unwrap_or_else(|| inlines(&prepared.wasm));
    let compiled = engines
        .of(inlined)
        .precompile_module(&prepared.wasm)
        .map_err(|error| Trouble::Compile(format!("the engine refuses it: {error:#}")))?;
    if let Some(cache) = &order.cache {
        let kernel = Kernel { path: order.module.clone(), digest: order.digest, nan: order.nan };
        let directory = Directory::open(cache)
            .map_err(|error| machine("the cache could not be opened", &error))?;
        let key = directory.key(&engines, &kernel);
        directory.store(key, inlined, &prepared.layout, &compiled).map_err(|error| {
            let text = format!("the compiled kernel could not be written into the cache: {error}");
            if is_no_room(&error) { Trouble::NoRoom(text) } else { Trouble::Machine(text) }
        })?;
    }
    let (memory, space) = process::peak();
    let bytes = compiled.len() as u64;
    Ok(CompileCost { cpu: process::cpu(), memory, space, bytes, inlined })
}
