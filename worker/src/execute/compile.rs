//! Compiles a kernel in a child with limits: an adversarial module of a few kilobytes can take minutes and gigabytes.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Resource;

use super::cache::Directory;
use super::child::CHILD_VERB;
use super::engine::engine;
use super::frame::{self, CompileOrder, Order, Verdict};
use super::pool::Config;
use super::process;
use super::unit::{Kernel, Trouble};
use crate::file::is_no_room;

/// Bytes of a module: the kernel contract allows less, and says so better.
const MODULE_BYTES_MAX: u64 = 64 << 20;
/// How often the parent looks whether it is to give up.
const TICK: Duration = Duration::from_millis(20);

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

impl Default for CompileLimits {
    /// Real kernels take about a second per megabyte and stay below 256 MB; the slowest machines take ten times that.
    fn default() -> Self {
        Self { cpu: Duration::from_secs(60), wall: Duration::from_secs(1200), memory: 2 << 30 }
    }
}

/// Why a kernel cannot be run.
#[derive(Debug)]
pub(super) enum Stop {
    Trouble(Trouble),
    /// The pool stops.
    Stopped,
}

/// Has a child compile a kernel into the cache.
pub(super) fn in_child(
    kernel: &Kernel,
    config: &Config,
    stopped: impl Fn() -> bool,
) -> Result<Verdict, Stop> {
    let order = CompileOrder {
        module: kernel.path.clone(),
        digest: kernel.digest,
        nan: kernel.nan,
        cache: config.cache.clone(),
        priority: config.priority,
        cpu_s: config.compile.cpu.as_secs().max(1),
        memory: config.compile.memory,
    };
    let failed =
        |error: io::Error| Verdict::Failed(format!("its process could not be driven: {error}"));
    let mut child = match start(config, &order) {
        Ok(child) => child,
        Err(error) => return Ok(failed(error)),
    };
    let status = match wait(&mut child, config.compile.wall, stopped) {
        Ok(status) => status,
        Err(error) => return Ok(failed(error)),
    };
    match status {
        Waited::Stopped => Err(Stop::Stopped),
        Waited::TooLong => {
            Ok(Verdict::Failed(format!("it took longer than {} s", config.compile.wall.as_secs())))
        }
        Waited::Ended(status) => Ok(verdict(&mut child, status, &order)),
    }
}

fn start(config: &Config, order: &CompileOrder) -> io::Result<Child> {
    let mut child = Command::new(&config.program)
        .arg(CHILD_VERB)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut bytes = Vec::new();
    frame::write(
        &mut bytes,
        &Order::Compile(CompileOrder {
            module: order.module.clone(),
            cache: order.cache.clone(),
            ..*order
        }),
        &[],
    )?;
    if let Some(stdin) = &mut child.stdin {
        stdin.write_all(&bytes)?;
    }
    Ok(child)
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
            child.kill()?;
            child.wait()?;
            return Ok(if stopped { Waited::Stopped } else { Waited::TooLong });
        }
        std::thread::sleep(TICK);
    }
}

fn verdict(child: &mut Child, status: ExitStatus, order: &CompileOrder) -> Verdict {
    use std::os::unix::process::ExitStatusExt;
    let answer =
        child.stdout.as_mut().and_then(|stdout| frame::read::<Verdict>(stdout).ok().flatten());
    if let Some(verdict) = answer {
        return verdict;
    }
    Verdict::Failed(match status.signal() {
        // SIGXCPU
        Some(24) => format!("it took more than {} s of CPU time", order.cpu_s),
        Some(6 | 11) => format!("it took more than {} MB of memory", order.memory >> 20),
        _ => format!("its process ended: {}", process::ending(status)),
    })
}

/// What the child does.
pub(super) fn child(order: &CompileOrder) -> io::Result<Verdict> {
    process::settle(order.priority)?;
    process::limit(Resource::Cpu, order.cpu_s)?;
    process::limit(Resource::As, order.memory)?;
    Ok(match compile(order) {
        Ok(()) => Verdict::Compiled,
        Err(verdict) => verdict,
    })
}

fn compile(order: &CompileOrder) -> Result<(), Verdict> {
    let failed =
        |doing: &str, error: &dyn std::fmt::Display| Verdict::Failed(format!("{doing}: {error}"));
    let mut module = Vec::new();
    std::fs::File::open(&order.module)
        .and_then(|file| file.take(MODULE_BYTES_MAX).read_to_end(&mut module))
        .map_err(|error| failed("its file could not be read", &error))?;
    if *blake3::hash(&module).as_bytes() != order.digest {
        return Err(Verdict::Failed(
            "its file does not have the digest it should have: fetch it again".to_owned(),
        ));
    }
    let prepared = kernel::prepare(&module, order.nan)
        .map_err(|refusal| Verdict::Refused(refusal.to_string()))?;
    drop(module);
    let engine =
        engine().map_err(|error| failed("the engine does not run on this machine", &error))?;
    let compiled = engine
        .precompile_module(&prepared.wasm)
        .map_err(|error| failed("the engine refuses it", &format_args!("{error:#}")))?;
    let kernel = Kernel { path: order.module.clone(), digest: order.digest, nan: order.nan };
    let directory = Directory::open(&order.cache)
        .map_err(|error| failed("the cache could not be opened", &error))?;
    let key = directory.key(&engine, &kernel);
    directory.store(key, &prepared.layout, &compiled).map_err(|error| {
        let text = format!("the compiled kernel could not be written into the cache: {error}");
        if is_no_room(&error) { Verdict::NoRoom(text) } else { Verdict::Failed(text) }
    })
}
