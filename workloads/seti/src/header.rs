//! The header of a work unit: what the search needs of it, checked, and the whole of it as the original prints it.

mod print;
mod setup;

pub(crate) use print::body;
pub use setup::{Encoding, Entry, Pointing, Setup};

use crate::markup::{self, Element};

/// Largest header; the reference's has 7,500 bytes.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// What is wrong with a header.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// Not the expected document.
    #[error("the work unit has no <workunit_header> that ends within the first {BYTES_MAX} bytes")]
    Absent,
    /// Not a document at all.
    #[error("the work unit's header is malformed: {0}")]
    Markup(#[from] markup::Error),
    /// A field that the search needs.
    #[error("the work unit's header has no {0}")]
    Missing(String),
    /// A field that is no number.
    #[error("{field} of the work unit's header is not a number: {text:?}")]
    Number {
        /// The path of the field.
        field: String,
        /// What stands there.
        text: String,
    },
    /// A field beyond what the search can do.
    #[error("{field} of the work unit's header is {value}: {allowed}")]
    Range {
        /// The path of the field.
        field: String,
        /// What stands there.
        value: String,
        /// What could.
        allowed: String,
    },
}

/// A header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    root: Element,
    /// What the search needs of it.
    pub setup: Setup,
}

impl Header {
    /// Reads the header at the beginning of a work unit or inside a result.
    ///
    /// # Errors
    /// What the first bad field is.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let head = &bytes[..bytes.len().min(BYTES_MAX)];
        let (start, end) = (find(head, b"<workunit_header>"), find(head, b"</workunit_header>"));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(Error::Absent);
        };
        let text = head.get(start..end).ok_or(Error::Absent)?;
        let document = markup::parse(&String::from_utf8_lossy(text))?;
        let root = document.children.into_iter().next().ok_or(Error::Absent)?;
        let setup = Setup::read(&root)?;
        Ok(Self { root, setup })
    }

    /// As it stands in a result, and in a work unit that [`crate::generate`] writes.
    pub fn print(&self) -> String {
        print::print(&self.root)
    }

    /// The same header with other limits of the chirp table, in Hz/s: one for each entry that it has.
    ///
    /// # Errors
    /// A limit that is not admissible.
    pub fn with_chirp_limits(&self, limits: &[f64]) -> Result<Self, Error> {
        let mut text = String::new();
        let mut limits = limits.iter();
        for line in self.print().lines() {
            match limits.as_slice().first() {
                Some(limit) if line.trim_start().starts_with("<chirp_limit>") => {
                    text += &format!("<chirp_limit>{limit}</chirp_limit>\n");
                    limits.next();
                }
                _ => text += &format!("{line}\n"),
            }
        }
        Self::read(text.as_bytes())
    }
}

/// Where a pattern begins.
pub(crate) fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

#[cfg(test)]
mod tests;
