//! The file of lines of a job that is cut by lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use proto::json::Object;
use proto::{bounds, cut};

use crate::error::Error;

/// Every so many lines the place of one is kept: 8 bytes for about 30 KB of file.
const APART: u64 = 256;

/// A file whose lines are found without reading it each time. Neighbours are read one after the other.
#[derive(Debug)]
pub struct LinesFile {
    path: PathBuf,
    reader: BufReader<File>,
    /// Where lines 0, [`APART`], 2 [`APART`]... begin.
    begins: Vec<u64>,
    /// The line that the reader is at.
    next: u64,
}

impl LinesFile {
    /// Opens a file, and reads it once.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::file("read", path))?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let (mut begins, mut at, mut line) = (Vec::new(), 0, 0_u64);
        loop {
            if line.is_multiple_of(APART) {
                begins.push(at);
            }
            let read = reader.skip_until(b'\n').map_err(Error::file("read", path))?;
            if read == 0 {
                break;
            }
            (at, line) = (at + read as u64, line + 1);
        }
        // The end of the file is no line that is next.
        Ok(Self { path: path.to_owned(), reader, begins, next: u64::MAX })
    }

    /// What line `index`, counted from 0, says.
    ///
    /// # Errors
    /// When it cannot be read, or is no object.
    pub fn members(&mut self, index: u64) -> Result<Object, Error> {
        let wrong = |path: &Path, why: &dyn std::fmt::Display| {
            Error::Unverified(format!("{}: line {}: {why}", path.display(), index + 1))
        };
        let text = self.read(index)?;
        let text = std::str::from_utf8(&text).map_err(|error| wrong(&self.path, &error))?;
        cut::parse_line(text.trim_end_matches(['\r', '\n']))
            .map_err(|error| wrong(&self.path, &error))
    }

    fn read(&mut self, index: u64) -> Result<Vec<u8>, Error> {
        if index < self.next || APART < index - self.next {
            let kept = usize::try_from(index / APART).ok().and_then(|kept| self.begins.get(kept));
            let begin = kept.copied().unwrap_or(u64::MAX);
            let sought = self.reader.seek(SeekFrom::Start(begin));
            sought.map_err(Error::file("read", &self.path))?;
            self.next = index - index % APART;
        }
        while self.next < index {
            self.reader.skip_until(b'\n').map_err(Error::file("read", &self.path))?;
            self.next += 1;
        }
        let mut text = Vec::new();
        let longest = bounds::LINE_BYTES_MAX as u64 + 2;
        let read = self.reader.by_ref().take(longest).read_until(b'\n', &mut text);
        read.map_err(Error::file("read", &self.path))?;
        self.next += 1;
        if !text.ends_with(b"\n") {
            // What follows is the rest of a line that is too long, or the end.
            self.next = u64::MAX;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn lines_are_found_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let mut text = String::new();
        for line in 0..2_000_usize {
            let end = if line % 3 == 0 { "\r\n" } else { "\n" };
            write!(text, "{{\"n\":{line},\"pad\":\"{}\"}}{end}", "x".repeat(line % 50)).unwrap();
        }
        text.push_str("{\"n\":2000}");
        std::fs::write(&path, text).unwrap();
        let mut lines = LinesFile::open(&path).unwrap();
        let mut check = |index: u64| assert_eq!(lines.members(index).unwrap()["n"], index);
        (0..2_001).for_each(&mut check);
        for index in [2_000, 0, 1, 257, 255, 256, 1_999, 2_000, 5, 700, 701, 2_000] {
            check(index);
        }
        (0..4_000).for_each(|step| check(step * 769 % 2_001));
        assert!(lines.members(2_001).is_err());
        assert!(lines.members(1 << 40).is_err());
    }
}
