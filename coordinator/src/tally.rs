//! The tally beside the store: its file, the store that keeps it, the heads that workers show, and what a start finds. A store
//! that has lost or changed records without noticing does not agree with it.

mod file;
mod guarded;
mod heads;
mod open;

pub use coordinator_core::tally::{Tally, Unreadable};
pub use file::{SYNC_COMMITS, SYNC_EVERY, TallyFile};
pub use guarded::Guarded;
pub use heads::{Heads, Newer};
pub use open::{Finding, Opened, Refused, check, count_anew, last, open};

#[cfg(test)]
mod tests;
