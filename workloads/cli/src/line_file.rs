//! A file of lines on this machine, of which any line is found without reading those before it.

use crate::error::Error;
use proto::lines::{RAW_BYTES_MAX, bare};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Every so many lines the place of one is kept: 8 bytes for about 30 KB of file.
const APART: u64 = 256;

/// A file whose lines are found without reading it each time. Neighbours are read one after the other.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    reader: BufReader<File>,
    /// Where lines 0, [`APART`], 2 [`APART`]... begin.
    begins: Vec<u64>,
    /// The line that the reader is at.
    next: u64,
}

impl LineFile {
    /// Opens a file, and reads it once.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
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

    /// Line `index`, counted from 0, without its end.
    ///
    /// # Errors
    /// When it cannot be read, or is not there.
    pub(crate) fn line(&mut self, index: u64) -> Result<String, Error> {
        let raw = self.read(index)?;
        if raw.is_empty() {
            let why = format!("{} has no line {}", self.path.display(), index + 1);
            return Err(Error::Failed(why));
        }
        Ok(String::from_utf8_lossy(bare(index, &raw)).into_owned())
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
        let read = self.reader.by_ref().take(RAW_BYTES_MAX as u64).read_until(b'\n', &mut text);
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
        let mut text = String::from("\u{feff}");
        for line in 0..2_000_usize {
            let end = if line % 3 == 0 { "\r\n" } else { "\n" };
            write!(text, "{{\"n\":{line},\"pad\":\"{}\"}}{end}", "x".repeat(line % 50)).unwrap();
        }
        text.push_str("{\"n\":2000}");
        std::fs::write(&path, text).unwrap();
        let mut lines = LineFile::open(&path).unwrap();
        let mut check = |index: u64| {
            let line = lines.line(index).unwrap();
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["n"], index);
        };
        (0..2_001).for_each(&mut check);
        for index in [2_000, 0, 1, 257, 255, 256, 1_999, 2_000, 5, 700, 701, 2_000] {
            check(index);
        }
        (0..4_000).for_each(|step| check(step * 769 % 2_001));
        assert!(lines.line(2_001).is_err());
        assert!(lines.line(1 << 40).is_err());
    }
}
