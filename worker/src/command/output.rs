//! The one place that prints.

use super::Failure;
use program::output::{Format, unwritten};
use program::stdout::{self, Trouble};
use serde::Serialize;

/// Prints text for people, or the same as JSON. A reader that has gone is no failure; what nobody could read is told with
/// the failure.
pub(super) fn print(format: Format, text: &str, json: &impl Serialize) -> Result<(), Failure> {
    match format.answer(json, || text.to_owned()) {
        Ok(()) | Err(Trouble::Closed) => Ok(()),
        Err(trouble) => Err(Failure::Failed(unwritten(&trouble, text))),
    }
}

/// Prints what belongs nowhere else, and is still where it was when that fails.
pub(super) fn secret(text: &str) -> Result<(), Failure> {
    stdout::line(text).map_err(|trouble| Failure::Failed(trouble.to_string()))
}

/// Logs go to standard error.
pub(super) fn log() {
    // A machine without a network would be told so by the search of the local network twice a second.
    program::log::start("info,swarm_discovery=error,iroh=warn");
    warn();
}

/// What the owner should know of this machine before anything runs on it.
fn warn() {
    if let Some(warning) = program::clock::warning() {
        tracing::warn!("{warning}");
    }
    if rustix::process::geteuid().is_root() {
        tracing::warn!(
            "this worker runs as root, which it has no need of: strangers' programs run in a sandbox, and a user of its own is a second wall behind it (docs/volunteering.md)"
        );
    }
}
