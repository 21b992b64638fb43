//! The project's log: an append-only Merkle tree (RFC 6962, RFC 9162, with BLAKE3) over everything that was concluded, so
//! that a verdict can be shown to be in it, and a log that was rewritten or cut short does not go unseen.

mod entry;
mod head;
mod heads;
mod logged;
mod tree;

pub use entry::{End, Entry, Event, Malformed, Place, Source, Span};
pub use head::{Head, Invalid};
pub use heads::{Contradiction, Heads};
pub use logged::{Logged, NotLogged};
pub use tree::{Frontier, consistency, consistent, inclusion, root_at};

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "a test's trees are small")]
mod tests;
