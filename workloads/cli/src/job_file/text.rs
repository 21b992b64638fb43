//! Where in a job file, or in which `--set`, something is wrong.

use std::fmt;
use std::ops::Range;

/// A position in [`Text`], bytes.
pub(super) type Span = Range<usize>;

/// Something in a job file is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistake {
    /// The file, or `--set`.
    pub place: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// The line itself.
    pub excerpt: String,
    /// Path of the field: `cut[0].per_unit`; empty for the file as a whole.
    pub field: String,
    /// What is wrong, and what is allowed.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, line, column, excerpt, field, message } = self;
        let colon = if field.is_empty() { "" } else { ": " };
        write!(f, "{place}:{line}:{column}: {field}{colon}{message}")?;
        if !excerpt.trim().is_empty() {
            write!(f, "\n{line:>5} | {excerpt}\n      | {:>column$}", "^")?;
        }
        Ok(())
    }
}

/// The text of a job file and of the settings after it, in one row of positions.
#[derive(Debug)]
pub(super) struct Text {
    parts: Vec<(String, String)>,
}

impl Text {
    pub(super) fn new(name: &str, content: &str) -> Self {
        Self { parts: vec![(name.to_owned(), content.to_owned())] }
    }

    /// Adds a part and returns where it begins.
    pub(super) fn push(&mut self, name: &str, content: &str) -> usize {
        let start = self.parts.iter().map(|(_, content)| content.len() + 1).sum();
        self.parts.push((name.to_owned(), content.to_owned()));
        start
    }

    pub(super) fn mistake(
        &self,
        span: &Span,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Mistake {
        let (field, message) = (field.into(), message.into());
        let mut start = span.start;
        for (place, content) in &self.parts {
            if content.len() < start {
                start -= content.len() + 1;
                continue;
            }
            let before = content.get(..start).unwrap_or(content);
            let line = before.matches('\n').count() + 1;
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            let column = before[line_start..].chars().count() + 1;
            let excerpt = content[line_start..].lines().next().unwrap_or_default().to_owned();
            return Mistake { place: place.clone(), line, column, excerpt, field, message };
        }
        Mistake { place: String::new(), line: 1, column: 1, excerpt: String::new(), field, message }
    }
}
