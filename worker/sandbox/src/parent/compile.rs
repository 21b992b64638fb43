//! Compiles a kernel in a child with limits: an adversarial module of a few kilobytes can take minutes and gigabytes.

use crate::engine::Engines;
use crate::parent::cache::Directory;
use crate::parent::process;
use crate::protocol::frame::{self, Frames};
use crate::protocol::{CompileCost, CompileOrder, Compiled, Order, Priority, Verdict, socket};
use crate::unit::{Kernel, Trouble};
use crate::walls::{WallPlan, Walls};
use program::file::is_no_room;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Child, ChildStdout, ExitStatus};
use std::time::{Duration, Instant};

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
    /// The program whose child compiles: [`crate::own_program`] in all but tests.
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
    /// The walls around the child.
    pub walls: WallPlan,
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
    /// Has a child compile the kernel; `stopped` is asked now and then whether to give up. What it took, and the walls that
    /// stood around it.
    ///
    /// # Errors
    /// [`Stop`]. The trouble tells whether it is the kernel's or this machine's.
    pub fn run(&self, stopped: impl Fn() -> bool) -> Result<(CompileCost, Walls), Stop> {
        let module = File::open(&self.kernel.path).map_err(|error| {
            let text = format!("the kernel's file could not be read: {error}");
            Stop::Trouble(Trouble::Machine(text))
        })?;
        self.run_of(module.as_fd(), stopped)
    }

    /// As [`Self::run`], of a kernel that is read from what is open.
    pub(crate) fn run_of(
        &self,
        module: BorrowedFd<'_>,
        stopped: impl Fn() -> bool,
    ) -> Result<(CompileCost, Walls), Stop> {
        let failed = |error: io::Error| {
            let text = format!("the process that compiles could not be driven: {error}");
            Stop::Trouble(Trouble::Machine(text))
        };
        let mut child = self.start(module).map_err(failed)?;
        let mut frames = Frames::default();
        match wait(&mut child, &mut frames, self.limits.wall, stopped).map_err(failed)? {
            Waited::Stopped => Err(Stop::Stopped),
            Waited::TooLong => Err(Stop::Trouble(Trouble::CompileLimit(format!(
                "it took longer than {} s",
                self.limits.wall.as_secs()
            )))),
            Waited::Ended(status) => self.verdict(&mut frames, status).map_err(Stop::Trouble),
        }
    }

    fn start(&self, module: BorrowedFd<'_>) -> io::Result<Child> {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        let Self { kernel, priority, limits, inlining, walls, .. } = *self;
        let order = CompileOrder {
            digest: kernel.digest,
            nan: kernel.nan,
            contract: kernel.contract,
            priority,
            cpu_s: limits.cpu.as_secs().max(1),
            memory: limits.memory,
            inlining,
            walls,
        };
        let mut bytes = Vec::new();
        frame::write(&mut bytes, &Order::Compile(order), &[])?;
        let (mut child, orders) = process::start(self.program)?;
        let told = socket::send(&orders, &bytes, Some(module));
        // A child that has ended before it heard tells by its end why.
        match told {
            Err(error) if !matches!(error.kind(), BrokenPipe | ConnectionReset) => {
                end(&mut child)?;
                Err(error)
            }
            _ => Ok(child),
        }
    }

    fn verdict(
        &self,
        frames: &mut Frames,
        status: ExitStatus,
    ) -> Result<(CompileCost, Walls), Trouble> {
        use std::os::unix::process::ExitStatusExt;
        if let Ok(Some((verdict, code))) = frames.take::<Verdict>() {
            let (compiled, walls) = verdict?;
            return self.store(&compiled, &code).map(|()| (compiled.cost, walls));
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

impl Compilation<'_> {
    /// Puts a compilation into the cache, if there is one, with what vouches for it.
    fn store(&self, compiled: &Compiled, code: &[u8]) -> Result<(), Trouble> {
        let Some(cache) = self.cache else { return Ok(()) };
        let machine = |doing: &str, error: &dyn std::fmt::Display| {
            Trouble::Machine(format!("{doing}: {error}"))
        };
        let engines = Engines::new()
            .map_err(|error| machine("the engine does not run on this machine", &error))?;
        let directory = Directory::open(cache)
            .map_err(|error| machine("the cache could not be opened", &error))?;
        let key = directory.key(&engines, self.kernel);
        directory.store(key, compiled, code).map_err(|error| {
            let text = format!("the compiled kernel could not be written into the cache: {error}");
            if is_no_room(&error) { Trouble::NoRoom(text) } else { Trouble::Machine(text) }
        })
    }
}

enum Waited {
    Ended(ExitStatus),
    TooLong,
    Stopped,
}

/// Takes in what a child answers until its end, and ends it when it takes too long.
fn wait(
    child: &mut Child,
    frames: &mut Frames,
    wall: Duration,
    stopped: impl Fn() -> bool,
) -> io::Result<Waited> {
    let start = Instant::now();
    let mut answers = child.stdout.take();
    loop {
        match &mut answers {
            Some(from) => {
                if !listen(from, frames)? {
                    answers = None;
                }
            }
            None => match child.try_wait()? {
                Some(status) => return Ok(Waited::Ended(status)),
                None => std::thread::sleep(TICK),
            },
        }
        let stopped = stopped();
        if stopped || wall < start.elapsed() {
            end(child)?;
            return Ok(if stopped { Waited::Stopped } else { Waited::TooLong });
        }
    }
}

/// Takes in what comes within a moment; false when nothing will come any more.
fn listen(from: &mut ChildStdout, frames: &mut Frames) -> io::Result<bool> {
    let tick = Timespec::try_from(TICK).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&tick)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(true),
        Ok(_) => Ok(frames.fill(from)? && frames.within_bounds()),
        Err(error) => Err(error.into()),
    }
}

fn end(child: &mut Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(|_| ())
}
