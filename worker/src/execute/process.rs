//! What a child process denies itself before it touches anything of a stranger, and what its parent reads of it.

use super::child::CHILD_VERB;
use super::pool::Priority;
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Exit code of a child that could not begin: EX_OSERR of sysexits.
pub(super) const SETUP_FAILED: u8 = 71;
/// The lowest priority there is.
const NICE_MAX: i32 = 19;
/// What the system holds open of the program that runs. In a child it is the parent's until the child has become another
/// program, so it starts the very file that runs, also when that was replaced or removed meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// How long a child may leave its orders unread: then it is no child of ours any more.
const UNHEARD: Duration = Duration::from_secs(60);
/// Bytes of what the system says of a process.
const STATUS_BYTES: usize = 16 << 10;

/// The program that runs, for [`super::Config::program`]: by what the system holds open of it where it does, so that an
/// upgrade neither breaks the children nor mixes two versions; by its path elsewhere.
///
/// # Errors
/// When the system tells neither.
pub fn own_program() -> io::Result<PathBuf> {
    let own = PathBuf::from(OWN_PROGRAM);
    if own.symlink_metadata().is_ok() { Ok(own) } else { std::env::current_exe() }
}

/// Starts a child, with nothing of the parent's environment: a socket for its orders, a pipe for its answers.
pub(super) fn start(program: &Path) -> io::Result<(Child, UnixStream)> {
    let (orders, theirs) = UnixStream::pair()?;
    orders.set_write_timeout(Some(UNHEARD))?;
    let mut command = Command::new(program);
    if program == Path::new(OWN_PROGRAM)
        && let Some(name) = std::env::args_os().next()
    {
        // For people who list processes.
        command.arg0(name);
    }
    command.arg(CHILD_VERB).env_clear();
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::null());
    Ok((command.spawn()?, orders))
}

/// Makes this process one that leaves nothing behind, lets others go first, ends with its parent, and leaves it to its
/// parent what the user's Ctrl-C and the system's stop mean.
pub(super) fn settle(priority: Priority) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        signal_hook::flag::register(signal.as_raw(), Arc::new(AtomicBool::new(false)))?;
    }
    if priority == Priority::Background {
        // The class first, since choosing it resets the niceness. Both are courtesy: where the system denies one, the
        // unit runs all the same.
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
        let _ = rustix::process::setpriority_process(None, NICE_MAX);
    }
    Ok(())
}

/// Sets a limit of this process for good.
pub(super) fn limit(resource: Resource, to: u64) -> io::Result<()> {
    let most = |to: u64| {
        Some(rustix::process::getrlimit(resource).maximum.map_or(to, |most| most.min(to)))
    };
    // One more for the hard limit: at that of CPU time the system says less clearly why it ends a process.
    Ok(setrlimit(resource, Rlimit { current: most(to), maximum: most(to.saturating_add(1)) })?)
}

/// CPU time that this process has used.
pub(super) fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// Where the system counts the CPU time of another process, to be opened before its walls hide it even from its parent; none
/// where it does not say.
pub(super) fn times(pid: u32) -> Option<File> {
    File::open(format!("/proc/{pid}/stat")).ok()
}

/// CPU time that a process has used by its [`times`], in ticks of 10 ms; none when it is gone.
pub(super) fn cpu_of(times: &File) -> Option<Duration> {
    let stat = read_whole(times)?;
    // The second field is the name in brackets and may contain anything; utime and stime are the 14th and 15th.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_millis(ticks.saturating_mul(1000) / per_second))
}

/// What the system says of this process, to be opened while it may open files; none where the system says nothing.
pub(super) fn status() -> Option<File> {
    File::open("/proc/self/status").ok()
}

/// Most memory and most address space that this process has had, bytes; 0 where the system does not tell.
pub(super) fn peak(status: Option<&File>) -> (u64, u64) {
    let status = status.and_then(read_whole).unwrap_or_default();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    (value("VmHWM:").unwrap_or(0), value("VmPeak:").unwrap_or(0))
}

/// What the system says in a file of its own at this moment.
fn read_whole(file: &File) -> Option<String> {
    let mut text = vec![0; STATUS_BYTES];
    let n = file.read_at(&mut text, 0).ok().filter(|n| 0 < *n)?;
    text.truncate(n);
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Death {
    /// For people.
    pub(super) text: String,
    pub(super) by: By,
}

/// By whom a child was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The system: out of memory, or a limit that the child was started with.
    System,
    /// Itself, before it could begin.
    Setup,
    /// Itself, in the middle of its work.
    Itself,
}

impl Death {
    pub(super) fn of(status: ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let by = match (status.signal(), status.code()) {
            // SIGKILL, SIGXCPU, SIGXFSZ
            (Some(9 | 24 | 25), _) => By::System,
            (_, Some(code)) if code == i32::from(SETUP_FAILED) => By::Setup,
            _ => By::Itself,
        };
        Self { text: ending(status), by }
    }
}

/// How a process ended, for people.
pub(super) fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(6), _) => {
            "aborted, most likely because memory could not be had (signal 6)".to_owned()
        }
        (Some(31), _) => {
            "ended at a system call that computing does not need (signal 31)".to_owned()
        }
        (Some(9), _) => "killed by signal 9, often because the system was out of memory".to_owned(),
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) if code == i32::from(SETUP_FAILED) => {
            "it lacked memory, threads, files or a folder that it may use".to_owned()
        }
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}
