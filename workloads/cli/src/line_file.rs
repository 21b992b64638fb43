//! A file of lines on this machine, of which any line is found without reading those before it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use proto::lines::{RAW_BYTES_MAX, bare};

use crate::error::Error;

/// Lines from one mark to the next: 10^9 lines need 8 MB of marks.
const STRIDE: u64 = 1024;

/// Where the lines of a file begin.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    /// Where every 1024th line begins.
    marks: Vec<u64>,
}

impl LineFile {
    /// Reads a file once, and notes where its lines begin.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let mut reader = reader(path)?;
        let (mut marks, mut line, mut number, mut offset) = (Vec::new(), Vec::new(), 0_u64, 0_u64);
        loop {
            line.clear();
            let read = reader.by_ref().take(RAW_BYTES_MAX as u64).read_until(b'\n', &mut line);
            if read.map_err(Error::file("read", path))? == 0 {
                return Ok(Self { path: path.to_owned(), marks });
            }
            if number.is_multiple_of(STRIDE) {
                marks.push(offset);
            }
            (number, offset) = (number + 1, offset + line.len() as u64);
        }
    }

    /// Line `index`, counted from 0.
    pub(crate) fn line(&self, index: u64) -> Result<String, Error> {
        let missing = || Error::Failed(format!("{} has no line {index}", self.path.display()));
        let mark = usize::try_from(index / STRIDE).ok().and_then(|at| self.marks.get(at));
        let mut reader = reader(&self.path)?;
        let start = SeekFrom::Start(*mark.ok_or_else(missing)?);
        reader.seek(start).map_err(Error::file("read", &self.path))?;
        let mut line = Vec::new();
        for _ in 0..=index % STRIDE {
            line.clear();
            let read = reader.by_ref().take(RAW_BYTES_MAX as u64).read_until(b'\n', &mut line);
            if read.map_err(Error::file("read", &self.path))? == 0 {
                return Err(missing());
            }
        }
        Ok(String::from_utf8_lossy(bare(index, &line)).into_owned())
    }
}

fn reader(path: &Path) -> Result<BufReader<File>, Error> {
    File::open(path).map(BufReader::new).map_err(Error::file("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_line_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        let text: String = (0..5000).map(|line| format!("{{\"n\":{line}}}\r\n")).collect();
        std::fs::write(&path, format!("\u{feff}{text}\n")).unwrap();
        let file = LineFile::open(&path).unwrap();
        for line in [0, 1, 1023, 1024, 4999] {
            assert_eq!(file.line(line).unwrap(), format!("{{\"n\":{line}}}"));
        }
        assert!(file.line(6000).is_err() && file.line(u64::MAX).is_err());
    }
}
