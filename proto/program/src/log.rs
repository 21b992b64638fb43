//! What the programs log.

use std::io::{IsTerminal, stderr};
use tracing_subscriber::EnvFilter;

/// The variable that says what is logged, in the words of `tracing_subscriber`'s filters: `info`, `debug`, `worker=debug`.
pub const VARIABLE: &str = "STARLING_LOG";

/// Logs to standard error, `default` unless [`VARIABLE`] says otherwise. A second call changes nothing.
pub fn start(default: &str) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .try_init();
}
