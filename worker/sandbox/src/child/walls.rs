//! Raises the walls around this process.

#[cfg(target_os = "linux")]
mod calls;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod others;

use super::limits;
use crate::walls::{WallPlan, Walls};
use rustix::process::Resource;
use std::io;

#[cfg(target_os = "linux")]
use self::linux as system;
#[cfg(not(target_os = "linux"))]
use self::others as system;

/// Files that a child may have open: those that a kernel walks over at once, and a few of its own and the engine's.
const FILES_MAX: u64 = 128;

/// Raises the walls around this process, which must have no second thread yet: `prepare` starts those that it needs, and
/// whatever else is to be done that computing does not need. From then on no file is opened and no process started.
///
/// # Errors
/// When a limit cannot be set, or `prepare` fails. What the system lacks is no error: the answer says what stands.
pub fn raise<T>(
    plan: &WallPlan,
    prepare: impl FnOnce() -> io::Result<T>,
) -> io::Result<(Walls, T)> {
    limits::limit(Resource::Core, 0)?;
    limits::limit(Resource::Nofile, FILES_MAX)?;
    let mut walls = system::alone(plan);
    let prepared = prepare()?;
    // Asked for once, so that what the system's clock needs is there: it is looked up the first time.
    let _ = limits::cpu();
    limits::limit(Resource::Nproc, 0)?;
    walls.calls = plan.calls && system::filter_calls();
    Ok((walls, prepared))
}

/// Closes what this process was started with beside input, output and error text. Nothing may have been opened yet.
pub(crate) fn close_inherited() {
    system::close_inherited();
}
