//! What the integration tests and benches share: real programs over loopback, a volunteer that says what a test wants it
//! to say, a wire that can be cut, and a simulated grid.
#![forbid(unsafe_code)]

use std::io::Write;

pub mod grid;
pub mod load;
pub mod members;
pub mod netns;
pub mod researcher;
pub mod search;
pub mod simulation;
pub mod storms;
pub mod swarm;
pub mod volunteer;
pub mod wire;

/// The variable under which a test whose means are not on this machine fails: `.ci/run` sets it, and installs them.
pub const ALL: &str = "STARLING_TEST_ALL";

/// Says loudly, past the harness, which shows only what failing tests print, that something was not tested.
///
/// # Panics
/// Where [`ALL`] is set.
pub fn not_tested(what: &str) {
    assert!(std::env::var_os(ALL).is_none(), "not tested, though {ALL} is set: {what}");
    // Where standard error is closed nobody reads it.
    let _ = writeln!(std::io::stderr(), "\n*** NOT TESTED: {what} ***\n");
}
