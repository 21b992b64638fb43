//! What the integration tests and benches share: real programs over loopback, a volunteer that says what a test wants it
//! to say, a wire that can be cut, and a simulated grid. `tests/README.md` says what is where and how it is run.
//!
//! # Real programs
//! - [`grid`]: coordinators, workers and the researcher's command as processes in folders of their own: started, killed,
//!   restarted, asked, waited for.
//! - [`researcher`]: somebody with the program `starling` and a home; [`search`]: a job whose right results are known.
//! - [`volunteer`]: speaks the protocol without a sandbox, honestly or not; [`load`]: many of them, as fast as can be.
//! - [`members`]: peers that a test makes itself, with the project's key.
//! - [`wire`]: a relay between worker and coordinator that can be cut and stalled; [`netns`]: machines, routers and slow
//!   lines made of network namespaces.
//! - [`swarm`] and [`storms`]: one input to many workers, a network that is cut in two, peers that come and go; for tests in
//!   short and for benches at length.
//!
//! # The simulation
//! - [`simulation`]: the real cores of coordinator and workers on a clock that jumps, in one thread, from one seed.
//!
//! # What holds
//! - Ports are chosen by the system and folders are temporary, so that tests run beside each other.
//! - Nothing leaves the machine: loopback, or namespaces that go with the test.
//! - A seed gives the same run each time.
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
mod watchdog;
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
