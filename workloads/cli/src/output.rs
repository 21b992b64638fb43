//! The one place that writes to standard output and standard error.

use crate::error::Error;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
pub use program::output::Format;
use program::output::note;
use program::stdout::{self, Trouble};
use proto::text::{printable, printable_lines};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

/// Of an answer that could not be written, what is told with the error, bytes.
const UNWRITTEN_BYTES_MAX: usize = 2048;

/// Where answers go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
}

impl Output {
    /// Answers in this format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether programs read it.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// Whether bars can be drawn.
    #[must_use]
    pub fn is_live(self) -> bool {
        !self.is_json() && stderr().is_terminal()
    }

    /// One answer: `value` for programs, `text` for people.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub fn answer(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        match self.format {
            Format::Json => line(&serde_json::to_string(value).unwrap_or_default()),
            Format::Text => line(&printable_lines(&text())),
        }
    }

    /// A line for people only, where they look for answers.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub fn say(self, text: &str) -> Result<(), Error> {
        if self.is_json() { Ok(()) } else { line(&printable_lines(text)) }
    }

    /// A line for people only, beside the answers.
    pub fn note(self, text: &str) {
        if !self.is_json() {
            note(&printable_lines(text));
        }
    }

    /// What somebody should know of that is no error: for programs `{"warning":{"message"}}` on standard error.
    pub fn warning(self, text: &str) {
        self.format.warning(text);
    }

    /// An error: for programs `{"error":{"message","exit_code"}}` on standard error.
    pub fn error(self, error: &Error) {
        if matches!(error, Error::Closed) {
            return;
        }
        self.format.error(&error.chain(), error.exit_code());
    }

    /// A bar of `len`, drawn where somebody looks at it.
    #[must_use]
    pub fn bar(self, len: u64, template: &str) -> ProgressBar {
        let target = if self.is_live() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(len), target)
            .with_style(style.progress_chars("=> "));
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }
}

/// Writes a line of an answer.
fn line(text: &str) -> Result<(), Error> {
    stdout::line(text).map_err(|trouble| match trouble {
        Trouble::Closed => Error::Closed,
        Trouble::Failed(_) => Error::Unwritten {
            why: trouble.to_string(),
            text: excerpt(text.as_bytes(), UNWRITTEN_BYTES_MAX),
        },
    })
}

/// Writes bytes as they are.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Error> {
    stdout::write(bytes).map_err(|trouble| match trouble {
        Trouble::Closed => Error::Closed,
        Trouble::Failed(_) => Error::Failed(trouble.to_string()),
    })
}

/// `bytes` as text for a terminal, cut to `bytes_max`, without harmful characters.
#[must_use]
pub fn excerpt(bytes: &[u8], bytes_max: usize) -> String {
    let shown = &bytes[..bytes.len().min(bytes_max)];
    let text: Cow<'_, str> = String::from_utf8_lossy(shown);
    let mut text = printable_lines(&text);
    if shown.len() < bytes.len() {
        text.push_str("...");
    }
    text
}

/// Rows with aligned columns.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let row = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_excerpts_are_harmless() {
        let rows = [vec!["a".into(), "bcd".into()], vec!["long".into(), "e".into()]];
        assert_eq!(table(&rows), "a     bcd\nlong  e");
        assert_eq!(excerpt(b"a\x1b[31mb\nc", 100), "a\u{fffd}[31mb\nc");
        assert_eq!(excerpt(b"abcdef", 3), "abc...");
    }
}
