//! Systems that have other walls than Linux: none of them is raised, which is said.

use crate::walls::{WallPlan, Walls};

/// The walls of a process with one thread: none here.
pub(crate) fn alone(_: &WallPlan) -> Walls {
    Walls::default()
}

/// Whether system calls are filtered: not here.
pub(crate) fn filter_calls() -> bool {
    false
}

/// Closes what the parent left open by mistake: what this program opened itself is closed by the system when a child starts.
pub(crate) fn close_inherited() {}
