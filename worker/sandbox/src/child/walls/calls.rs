//! The system calls that computing needs: no other is made by a child whose walls stand, and one that tries is ended.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};
use std::collections::BTreeMap;
use std::ffi::c_long;
use std::io;

/// What works on memory, time, descriptors that are there already, and this process alone.
const ALLOWED: &[c_long] = &[
    // Descriptors that were handed over: the parent's, and files of the units.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_recvmsg,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_close,
    // Memory. The engine makes its own code executable, and puts the first content of a kernel's memory into a file without
    // a name.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_membarrier,
    // Threads that are there already.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // Traps of kernels are signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Time, and randomness of the standard library's tables.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
];

/// What the C library tries of itself now and then, to learn of the machine, and does without: refused, but no crime.
const REFUSED: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_ioctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// Filters the calls of all threads of this process from now on.
pub(crate) fn filter() -> io::Result<()> {
    // The first to be installed is the one that lets the second be installed.
    let refusing = refusing().map_err(io::Error::other)?;
    let ending = ending().map_err(io::Error::other)?;
    apply_filter_all_threads(&refusing).map_err(io::Error::other)?;
    apply_filter_all_threads(&ending).map_err(io::Error::other)
}

/// Refuses what is tried without harm.
fn refusing() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules: BTreeMap<_, _> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EACCES.cast_unsigned());
    program(rules, SeccompAction::Allow, refuse)
}

/// Ends the process at all that is neither allowed nor refused.
fn ending() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<_, _> =
        ALLOWED.iter().chain(REFUSED).map(|call| (*call, Vec::new())).collect();
    let is = |index, value: u64| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    };
    // Aborting is a signal to oneself.
    let own = u64::from(std::process::id());
    let abort = u64::from(libc::SIGABRT.cast_unsigned());
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![is(0, own)?, is(2, abort)?])?]);
    let asked = |what: i32| SeccompRule::new(vec![is(1, u64::from(what.cast_unsigned()))?]);
    // A file without a name is sealed before it is mapped.
    let fcntl = [libc::F_GETFD, libc::F_GETFL, libc::F_ADD_SEALS, libc::F_GET_SEALS].map(asked);
    rules.insert(libc::SYS_fcntl, fcntl.into_iter().collect::<Result<_, _>>()?);
    program(rules, SeccompAction::KillProcess, SeccompAction::Allow)
}

fn program(
    rules: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let target = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, otherwise, listed, target)?.try_into()
}
