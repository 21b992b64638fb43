//! Errors as people read them.

use std::error::Error;

/// An error and its causes in one line, none said twice.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        if !text.contains(&why) {
            text = format!("{text}: {why}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        source: io::Error,
    }

    #[test]
    fn each_cause_is_told_once() {
        let full = || io::Error::other("the disk is full");
        let told = Told { text: "cannot write the file", source: full() };
        assert_eq!(chain(&told), "cannot write the file: the disk is full");
        let told = Told { text: "cannot write: the disk is full", source: full() };
        assert_eq!(chain(&told), "cannot write: the disk is full");
    }
}
