//! What a child process denies itself before it touches anything of a stranger, and what its parent reads of it.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use super::pool::Priority;

/// The lowest priority there is.
const NICE_MAX: i32 = 19;

/// Makes this process one that leaves nothing behind, lets others go first, ends with its parent, and leaves it to its
/// parent what the user's Ctrl-C and the system's stop mean.
pub(super) fn settle(priority: Priority) -> io::Result<()> {
    limit(Resource::Core, 0)?;
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

/// CPU time that another process has used, in ticks of 10 ms; none where the system does not say.
pub(super) fn cpu_of(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets and may contain anything; utime and stime are the 14th and 15th.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_millis(ticks.saturating_mul(1000) / per_second))
}

/// How a process ended, for people.
pub(super) fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(6), _) => {
            "aborted, most likely because memory could not be had (signal 6)".to_owned()
        }
        (Some(9), _) => "killed by signal 9, often because the system was out of memory".to_owned(),
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}
