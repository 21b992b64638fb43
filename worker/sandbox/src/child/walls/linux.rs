//! The walls that Linux has.

use super::calls;
use crate::walls::{WallPlan, Walls};
use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, capabilities, set_capabilities, set_no_new_privs,
};
use std::ffi::{c_long, c_uint};

/// The newest Landlock whose every right is denied; systems with an older one deny what they know.
const LANDLOCK: ABI = ABI::V7;
/// From this version on Landlock denies ports too, and the network needs no namespace for a second wall beside the filter of
/// calls: one takes a millisecond to make, and many on a busy machine.
const PORTS: u32 = 4;
/// Descriptors above those of input, output and error text.
const FIRST_OTHER: c_uint = 3;

/// The walls of a process that has one thread, which those that it starts later inherit.
pub(crate) fn alone(plan: &WallPlan) -> Walls {
    let landlock = if plan.landlock { no_files().ok().flatten() } else { None };
    let namespaces = plan.namespaces && landlock < Some(PORTS) && own_namespaces();
    // Also what a namespace of its own has given it there.
    let no_privileges = drop_capabilities().is_ok() && set_no_new_privs(true).is_ok();
    // After a change of its rights, which would undo both.
    let untraceable = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok();
    // It was set before once and is only made sure of.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    Walls { no_privileges, untraceable, landlock, calls: false, namespaces }
}

/// Drops all capabilities. Nothing is called where there are none, since some services forbid it.
fn drop_capabilities() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    if capabilities(None)? == none { Ok(()) } else { set_capabilities(None, none) }
}

/// Whether system calls are filtered from now on, in all threads.
pub(crate) fn filter_calls() -> bool {
    calls::filter().is_ok()
}

/// Denies all files, ports, abstract sockets, and signals to others; the version by which.
fn no_files() -> Result<Option<u32>, RulesetError> {
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => None,
        (_, LandlockStatus::Available { effective_abi, .. }) => Some(effective_abi as u32),
        _ => None,
    })
}

/// Whether this process has a user, a network and an exchange of messages of its own from now on.
#[expect(unsafe_code, reason = "unshare can give threads different tables of open files")]
fn own_namespaces() -> bool {
    let own = UnshareFlags::NEWUSER | UnshareFlags::NEWNET | UnshareFlags::NEWIPC;
    // SAFETY: the table of open files is not among what is unshared, and there is one thread.
    unsafe { rustix::thread::unshare_unsafe(own) }.is_ok()
}

/// Closes what the parent left open by mistake, or its own parent before it.
#[expect(unsafe_code, reason = "closing a descriptor takes it from whoever owns it")]
pub(crate) fn close_inherited() {
    let (first, last, flags) = (FIRST_OTHER, c_uint::MAX, 0 as c_uint);
    // SAFETY: nothing of this process has opened a file yet. Where the call is unknown, they stay open.
    let _: c_long = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
}
