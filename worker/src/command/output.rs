//! The one place that prints.

use super::{Failure, Format};
use program::stdout::{self, Trouble};
use proto::text::printable_lines;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// Prints text for people, or the same as JSON. A reader that has gone is no failure; what nobody could read is told with
/// the failure.
pub(super) fn print(format: Format, text: &str, json: &impl Serialize) -> Result<(), Failure> {
    let line = match format {
        Format::Text => printable_lines(text),
        Format::Json => serde_json::to_string(json).expect("plain data"),
    };
    match stdout::line(&line) {
        Ok(()) | Err(Trouble::Closed) => Ok(()),
        Err(trouble) => {
            Err(Failure::Failed(format!("{trouble}; this is what it did not take:\n{text}")))
        }
    }
}

/// Prints what belongs nowhere else, and is still where it was when that fails.
pub(super) fn secret(text: &str) -> Result<(), Failure> {
    stdout::line(text).map_err(|trouble| Failure::Failed(trouble.to_string()))
}

/// Help and the version go to standard output, a slip to standard error.
pub(super) fn told_by_clap(told: &clap::Error) -> ExitCode {
    match stdout::written(told.print()) {
        Ok(()) => ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2)),
        Err(Trouble::Closed) => ExitCode::SUCCESS,
        Err(trouble) => {
            complain(&Failure::Failed(trouble.to_string()), Format::Text);
            ExitCode::FAILURE
        }
    }
}

/// Prints why a command failed.
pub(super) fn complain(failure: &Failure, format: Format) {
    let line = match format {
        Format::Text => printable_lines(&format!("error: {failure}")),
        Format::Json => {
            serde_json::json!({ "error": failure.to_string(), "code": failure.code() }).to_string()
        }
    };
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Logs go to standard error.
pub(super) fn log() {
    use tracing_subscriber::EnvFilter;
    // A machine without a network would be told so by the search of the local network twice a second.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,swarm_discovery=error,iroh=warn"));
    let colours = std::io::stderr().is_terminal();
    // A second call changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .try_init();
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
