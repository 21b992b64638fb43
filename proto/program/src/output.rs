//! Answers and errors of the programs: for people as text, for programs as one JSON object in each line.

use crate::stdout::{self, Trouble};
use clap::ValueEnum;
use proto::text::printable_lines;
use serde::Serialize;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

/// How answers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    #[value(alias = "human")]
    Text,
    /// For programs: one JSON object in each line of standard output
    Json,
}

impl Format {
    /// One answer on standard output: `text` for people, `value` for programs.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub fn answer(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Trouble> {
        match self {
            Self::Json => stdout::line(&serde_json::to_string(value).unwrap_or_default()),
            Self::Text => stdout::line(&printable_lines(text().trim_end())),
        }
    }

    /// What somebody should know of that is no error, on standard error: for programs `{"warning":{"message"}}`.
    pub fn warning(self, text: &str) {
        note(&match self {
            Self::Json => json!({ "warning": { "message": text } }).to_string(),
            Self::Text => printable_lines(&format!("warning: {text}")),
        });
    }

    /// Why a program fails, on standard error: for programs `{"error":{"message","exit_code"}}`.
    pub fn error(self, message: &str, exit_code: u8) {
        note(&match self {
            Self::Json => {
                json!({ "error": { "message": message, "exit_code": exit_code } }).to_string()
            }
            Self::Text => printable_lines(&format!("error: {message}")),
        });
    }
}

/// What is told when standard output did not take an answer: the reason, and the answer.
#[must_use]
pub fn unwritten(trouble: &Trouble, text: &str) -> String {
    format!("{trouble}; this is what it did not take:\n{text}")
}

/// A line on standard error, beside the answers.
pub fn note(line: &str) {
    // Where standard error is closed nobody wants to know.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// What clap says of arguments: help and the version go to standard output, a slip to standard error.
#[must_use]
pub fn arguments(said: &clap::Error) -> ExitCode {
    match stdout::written(said.print()) {
        Ok(()) => ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2)),
        Err(Trouble::Closed) => ExitCode::SUCCESS,
        Err(trouble) => {
            Format::Text.error(&trouble.to_string(), 1);
            ExitCode::FAILURE
        }
    }
}
