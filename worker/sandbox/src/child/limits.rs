//! What a child process denies itself before it touches anything of a stranger, and what it reads of itself.

use crate::proc_file::read_whole;
use crate::protocol::Priority;
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// The lowest priority there is.
const NICE_MAX: i32 = 19;

/// Makes this process one that leaves nothing behind, lets others go first, ends with its parent, and leaves it to its
/// parent what the user's Ctrl-C and the system's stop mean.
pub(crate) fn settle(priority: Priority) -> io::Result<()> {
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
pub(crate) fn limit(resource: Resource, to: u64) -> io::Result<()> {
    let most = |to: u64| {
        Some(rustix::process::getrlimit(resource).maximum.map_or(to, |most| most.min(to)))
    };
    // One more for the hard limit: at that of CPU time the system says less clearly why it ends a process.
    Ok(setrlimit(resource, Rlimit { current: most(to), maximum: most(to.saturating_add(1)) })?)
}

/// CPU time that this process has used.
pub(crate) fn cpu() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// What the system says of this process, to be opened while it may open files; none where the system says nothing.
pub(crate) fn status() -> Option<File> {
    File::open("/proc/self/status").ok()
}

/// Most memory and most address space that this process has had, bytes; 0 where the system does not tell.
pub(crate) fn peak(status: Option<&File>) -> (u64, u64) {
    let status = status.and_then(read_whole).unwrap_or_default();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    (value("VmHWM:").unwrap_or(0), value("VmPeak:").unwrap_or(0))
}
