//! Why a unit cannot be computed, as text for the researcher.

use std::fmt;

/// A unit's failure. It is the same on every machine, so it is a result like any other: nobody tries the unit again.
///
/// Made from any error by `?`, or from text by [`Error::new`]. Like `anyhow::Error` it is not itself an
/// `std::error::Error`, which is what makes the first possible.
pub struct Error(String);

impl Error {
    /// A failure with this text.
    pub fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string())
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self(text)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
