//! The one place that prints.

use super::{Failure, Format};
use proto::text::printable_lines;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// Prints text for people, or the same as JSON.
pub(super) fn print(format: Format, text: &str, json: &impl Serialize) {
    let line = match format {
        Format::Text => printable_lines(text),
        Format::Json => serde_json::to_string(json).expect("plain data"),
    };
    // A reader that has gone does without.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
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
}
