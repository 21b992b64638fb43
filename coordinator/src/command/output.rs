//! The one place that prints.

use super::{Failure, Form};
use program::stdout::{self, Trouble};
use proto::text::printable_lines;
use serde_json::{Value, json};
use std::io::Write;

/// Prints results, for people or for programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output(Form);

impl Output {
    pub(crate) fn new(form: Form) -> Self {
        Self(form)
    }

    /// Prints a result: `text` for people, `value` for programs. A reader that has gone is no failure; what nobody
    /// could read is told with the failure.
    pub(crate) fn result(self, text: &str, value: &Value) -> Result<(), Failure> {
        match self.secret(text, value) {
            Ok(()) | Err(Trouble::Closed) => Ok(()),
            Err(trouble) => {
                Err(Failure::Failed(format!("{trouble}; this is what it did not take:\n{text}")))
            }
        }
    }

    /// Prints a result that belongs nowhere else.
    pub(crate) fn secret(self, text: &str, value: &Value) -> Result<(), Trouble> {
        match self.0 {
            Form::Text => stdout::line(&printable_lines(text.trim_end())),
            Form::Json => stdout::line(&value.to_string()),
        }
    }

    /// Prints why a command failed.
    pub(crate) fn failure(self, failure: &Failure) {
        let (kind, text) = match failure {
            Failure::Failed(text) => ("failed", text),
            Failure::Unreachable(text) => ("unreachable", text),
            Failure::Refused(text) => ("refused", text),
            Failure::Wrong => return,
        };
        let mut err = std::io::stderr().lock();
        let _ = match self.0 {
            Form::Text => writeln!(err, "error: {}", printable_lines(text)),
            Form::Json => writeln!(err, "{}", json!({ "error": kind, "message": text })),
        };
    }
}
