//! Systems that have other walls than Linux: none of them is raised, which is said.

use super::{WallPlan, Walls};

/// The walls of a process with one thread: none here.
pub(super) fn alone(_: &WallPlan) -> Walls {
    Walls::default()
}

/// Whether system calls are filtered: not here.
pub(super) fn filter_calls() -> bool {
    false
}

/// Closes what the parent left open by mistake: what this program opened itself is closed by the system when a child starts.
pub(super) fn close_inherited() {}
