//! The one place that prints.

use super::Failure;
use program::output::{Format, unwritten};
use program::stdout::Trouble;
use serde_json::Value;

/// Prints results, for people or for programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output(Format);

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self(format)
    }

    /// Prints a result: `text` for people, `value` for programs. A reader that has gone is no failure; what nobody
    /// could read is told with the failure.
    pub(crate) fn result(self, text: &str, value: &Value) -> Result<(), Failure> {
        match self.secret(text, value) {
            Ok(()) | Err(Trouble::Closed) => Ok(()),
            Err(trouble) => Err(Failure::Failed(unwritten(&trouble, text))),
        }
    }

    /// Prints a result that belongs nowhere else.
    pub(crate) fn secret(self, text: &str, value: &Value) -> Result<(), Trouble> {
        self.0.answer(value, || text.to_owned())
    }

    /// Prints why a command failed.
    pub(crate) fn failure(self, failure: &Failure) {
        if let Some(text) = failure.text() {
            self.0.error(text, failure.code());
        }
    }
}
