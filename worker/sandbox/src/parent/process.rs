//! A child as its parent starts it, what the system tells of it, and how it ended.

use crate::proc_file::read_whole;
use crate::protocol::{CHILD_VERB, SETUP_FAILED};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// What the system holds open of the program that runs. In a child it is the parent's until the child has become another
/// program, so it starts the very file that runs, also when that was replaced or removed meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// How long a child may leave its orders unread: then it is no child of ours any more.
const UNHEARD: Duration = Duration::from_secs(60);
/// The program that runs, for [`crate::Config::program`]: by what the system holds open of it where it does, so that an
/// upgrade neither breaks the children nor mixes two versions; by its path elsewhere.
///
/// # Errors
/// When the system tells neither.
pub fn own_program() -> io::Result<PathBuf> {
    let own = PathBuf::from(OWN_PROGRAM);
    if own.symlink_metadata().is_ok() { Ok(own) } else { std::env::current_exe() }
}

/// Starts a child, with nothing of the parent's environment: a socket for its orders, a pipe for its answers.
pub(crate) fn start(program: &Path) -> io::Result<(Child, UnixStream)> {
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

/// Where the system counts the CPU time of another process, to be opened before its walls hide it even from its parent; none
/// where it does not say.
pub(crate) fn times(pid: u32) -> Option<File> {
    File::open(format!("/proc/{pid}/stat")).ok()
}

/// CPU time that a process has used by its [`times`], in ticks of 10 ms; none when it is gone.
pub(crate) fn cpu_of(times: &File) -> Option<Duration> {
    let stat = read_whole(times)?;
    // The second field is the name in brackets and may contain anything; utime and stime are the 14th and 15th.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_millis(ticks.saturating_mul(1000) / per_second))
}

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Death {
    /// For people.
    pub(crate) text: String,
    pub(crate) by: By,
}

/// By whom a child was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The system: out of memory, or a limit that the child was started with.
    System,
    /// Itself, before it could begin.
    Setup,
    /// Itself, in the middle of its work.
    Itself,
}

impl Death {
    pub(crate) fn of(status: ExitStatus) -> Self {
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
pub(crate) fn ending(status: ExitStatus) -> String {
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
