//! The whole grid, as real programs over loopback.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what is printed is for the reader of a test or bench, and a failed expectation is its result"
)]

mod arrows;
mod damage;
mod eclipse;
mod faults;
mod hold;
mod hostile;
mod machine;
mod peers;
mod protocol;
mod pulsar;
mod results;
mod rude;
mod seti;
mod starve;
mod storms;
mod strangers;
mod surroundings;
mod swarm;
mod tidy;
mod trust;
mod worker;
