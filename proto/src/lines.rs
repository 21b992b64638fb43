//! Files with one JSON object in each line: what is a line of them, and what a line may hold.
//!
//! A byte order mark at the beginning, a carriage return before a line's end, and empty lines at the end of the file are
//! allowed and are no part of any line.

use crate::bounds::LINE_BYTES_MAX;
use crate::job::{Invalid, JobSpec, Numbers, field};
use crate::json::{self, Object, Text};
use std::collections::BTreeMap;

/// What some programs write at the beginning of text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes of a line as it stands in the file, beyond which nothing need be read to know that it is too long.
pub const RAW_BYTES_MAX: usize = LINE_BYTES_MAX + BYTE_ORDER_MARK.len() + 3;
/// Most names that a file's lines have in all, of which each is known with the first line that has it: far more than any
/// kernel has parameters, in a few megabytes.
const NAMES_MAX: usize = 1 << 16;

/// Line `index`, counted from 0, as it is read, with its end or without: without mark and end.
#[must_use]
pub fn bare(index: u64, raw: &[u8]) -> &[u8] {
    let raw = if index == 0 { raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(raw) } else { raw };
    let raw = raw.strip_suffix(b"\n").unwrap_or(raw);
    raw.strip_suffix(b"\r").unwrap_or(raw)
}

/// Whether a line has nothing in it.
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// A line that is not allowed.
#[derive(Debug, thiserror::Error)]
#[error("line {number}: {why}")]
pub struct Wrong {
    /// Counted from 1.
    pub number: u64,
    /// What is wrong with it.
    pub why: String,
}

/// A file of lines while it is read once from its beginning.
#[derive(Debug, Default)]
pub struct Lines {
    read: u64,
    /// Lines up to the last that is not empty.
    count: u64,
    names: BTreeMap<String, u64>,
    lossy: Option<(u64, String)>,
}

impl Lines {
    /// Takes the next line, with its end or without; what it holds without mark and end, unless it is empty.
    ///
    /// # Errors
    /// [`Wrong`] for an empty line in the middle, and for a line that is too long or not in UTF-8.
    pub fn next<'a>(&mut self, raw: &'a [u8]) -> Result<Option<&'a str>, Wrong> {
        let line = bare(self.read, raw);
        self.read += 1;
        let number = self.read;
        if is_blank(line) {
            return Ok(None);
        }
        if self.count + 1 < number {
            let number = self.count + 1;
            return Err(Wrong { number, why: "it is empty: take it out".to_owned() });
        }
        if LINE_BYTES_MAX < line.len() {
            let why = format!("{} bytes or more: at most {LINE_BYTES_MAX} are allowed", line.len());
            return Err(Wrong { number, why });
        }
        self.count = number;
        let text = std::str::from_utf8(line)
            .map_err(|_| Wrong { number, why: "it is not text in UTF-8".to_owned() })?;
        Ok(Some(text))
    }

    /// Takes the next line, which must be a JSON object, strictly.
    ///
    /// # Errors
    /// [`Wrong`], as for [`Self::next`], and when two of its keys are equal.
    pub fn next_object(&mut self, raw: &[u8]) -> Result<(), Wrong> {
        let Some(line) = self.next(raw)? else { return Ok(()) };
        let number = self.count;
        let wrong = |why: String| Wrong { number, why };
        let object: Object = serde_json::from_str(line)
            .map_err(|error| wrong(format!("it is no JSON object: {error}")))?;
        let lossy = json::look(line).map_err(|ambiguous| wrong(ambiguous.to_string()))?;
        if self.lossy.is_none() {
            self.lossy = lossy.map(|lossy| (number, lossy));
        }
        for name in object.into_keys() {
            if self.names.len() < NAMES_MAX {
                self.names.entry(name).or_insert(number);
            }
        }
        Ok(())
    }

    /// Lines up to the last that is not empty.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first number that is another one as 64-bit integer or double.
    #[must_use]
    pub fn lossy(&self) -> Option<&str> {
        self.lossy.as_ref().map(|(_, number)| number.as_str())
    }

    /// Checks that the lines fit a job: each parameter is set in one place, and no number changes when it is read.
    ///
    /// # Errors
    /// [`Wrong`], with the first line that does not.
    pub fn check(&self, spec: &JobSpec) -> Result<(), Wrong> {
        let taken = spec.cut.iter().filter_map(|axis| axis.name()).map(|name| (name, "an axis"));
        let taken = taken.chain(spec.params.keys().map(|name| (name.as_str(), "params")));
        let merge = spec.merge.is_some().then_some(("merge", "the merge stage"));
        for (name, place) in taken.chain(merge) {
            if let Some(number) = self.names.get(name) {
                let why = format!("\"{name}\" is set by {place} of the job too: keep one of them");
                return Err(Wrong { number: *number, why });
            }
        }
        match (&self.lossy, spec.numbers) {
            (Some((number, lossy)), Numbers::Binary) => {
                let why = format!(
                    "{lossy} is neither a 64-bit integer nor exactly a double: the specification needs \"numbers\": \"written\""
                );
                Err(Wrong { number: *number, why })
            }
            _ => Ok(()),
        }
    }
}

/// The members of a line, as a unit gets them.
///
/// # Errors
/// [`Invalid`] when it is too long or no JSON object.
pub fn members(line: &str, numbers: Numbers) -> Result<Object, Invalid> {
    if LINE_BYTES_MAX < line.len() {
        return Err(field(
            "line",
            format!("{} bytes: at most {LINE_BYTES_MAX} are allowed", line.len()),
        ));
    }
    let wrong =
        |error: &dyn std::error::Error| field("line", format!("not a JSON object: {error}"));
    let object: Object = serde_json::from_str(line).map_err(|error| wrong(&error))?;
    if numbers == Numbers::Written {
        json::look(line).map_err(|ambiguous| wrong(&ambiguous))?;
        return Ok(object);
    }
    let canonical = |(name, value): (String, Text)| Ok((name, value.canonical()?));
    object
        .into_iter()
        .map(canonical)
        .collect::<serde_json::Result<_>>()
        .map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Lines, String> {
        let mut lines = Lines::default();
        for raw in text.split_inclusive('\n') {
            lines.next_object(raw.as_bytes()).map_err(|wrong| wrong.to_string())?;
        }
        Ok(lines)
    }

    #[test]
    fn marks_line_ends_and_empty_lines_at_the_end_are_no_part_of_a_line() {
        let objects = "{\"n\":1}|{\"n\":2}";
        for end in ["\n", "\r\n"] {
            for mark in ["", "\u{feff}"] {
                for tail in ["", "\n", "\r\n", "\n\n\n", "\n  \t\n", "\n \r\n\r\n"] {
                    let text = format!("{mark}{}{tail}", objects.replace('|', end));
                    assert_eq!(read(&text).unwrap().count(), 2, "{text:?}");
                }
            }
        }
        for empty in ["", "\n", "\u{feff}\r\n\n"] {
            assert_eq!(read(empty).unwrap().count(), 0);
        }
        assert_eq!(bare(0, "\u{feff}{}\r\n".as_bytes()), b"{}");
        assert_eq!(bare(1, "\u{feff}{}".as_bytes()), "\u{feff}{}".as_bytes());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let told = |text: &str| read(text).unwrap_err();
        assert_eq!(told("{}\n\n{}\n"), "line 2: it is empty: take it out");
        assert_eq!(told("{}\n{}\n \n\n{}"), "line 3: it is empty: take it out");
        assert_eq!(told("{}\n{\"a\":1,\"a\":2}"), "line 2: \"a\" is there twice: keep one of them");
        assert!(told("{}\n[]").starts_with("line 2: it is no JSON object"));
        assert!(told("{}{}").starts_with("line 1: it is no JSON object"));
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(LINE_BYTES_MAX));
        assert!(told(&long).starts_with("line 1: 16392 bytes or more"));
        assert_eq!(
            Lines::default().next(b"\xff").unwrap_err().to_string(),
            "line 1: it is not text in UTF-8"
        );
    }

    #[test]
    fn a_line_reaches_its_unit_as_it_was_written() {
        let line = r#"{"b": 18446744073709551616, "a": [1.50, "x"]}"#;
        let written = members(line, Numbers::Written).unwrap();
        assert_eq!(json::write(&written), r#"{"a":[1.50, "x"],"b":18446744073709551616}"#);
        let binary = members(line, Numbers::Binary).unwrap();
        assert_eq!(json::write(&binary), r#"{"a":[1.5,"x"],"b":1.8446744073709552e+19}"#);
        assert!(members(r#"{"a":1,"a":2}"#, Numbers::Written).is_err());
    }
}
