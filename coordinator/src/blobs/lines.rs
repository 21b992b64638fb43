//! Lines of a blob by number: a sparse index on disk says where every 1024th line begins, and the block that was read
//! last stays in memory, because units are handed out in order.

use super::{BlobStore, Error, LINES};
use crate::project::file;
use proto::Digest;
use proto::bounds::LINE_BYTES_MAX;
use proto::job::JobSpec;
use proto::lines::{Lines, RAW_BYTES_MAX, Wrong, bare};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Lines from one mark of the index to the next: a block of short lines is one read, and 10^9 lines need 16 MB of marks.
const STRIDE: u64 = 1024;

/// Bytes of a mark: where a block begins, and a digest by which one that was damaged on the disk is known.
const MARK_BYTES: usize = 16;

fn mark(of: &Digest, number: u64, offset: u64) -> [u8; MARK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&of.0).update(&number.to_le_bytes()).update(&offset.to_le_bytes());
    let mut mark = [0; MARK_BYTES];
    mark[..8].copy_from_slice(&offset.to_le_bytes());
    mark[8..].copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    mark
}

/// Why a blob cannot be the lines of a job.
#[derive(Debug, thiserror::Error)]
pub enum LinesInvalid {
    /// A line is not what it must be.
    #[error("line {number} of the file of lines is not allowed: {why}")]
    Line {
        /// Counted from 1.
        number: u64,
        /// What is wrong with it.
        why: String,
    },
    /// There are more or fewer than the specification says.
    #[error(
        "the file of lines has {there} lines, the job says {said}: submit it with the number of lines that it has"
    )]
    Count {
        /// Lines that there are.
        there: u64,
        /// Lines that the specification says.
        said: u64,
    },
    /// The blob cannot be read.
    #[error(transparent)]
    Blob(#[from] Error),
}

impl From<Wrong> for LinesInvalid {
    fn from(Wrong { number, why }: Wrong) -> Self {
        Self::Line { number, why }
    }
}

/// A stretch of lines, read from the disk.
#[derive(Debug, Default)]
pub(super) struct Block {
    of: Option<(Digest, u64)>,
    content: Vec<u8>,
    /// End of each line in `content`, its `\n` not counted.
    ends: Vec<usize>,
}

impl Block {
    fn line(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] + 1 };
        Some(&self.content[start..end])
    }
}

impl BlobStore {
    /// Checks that the blob of lines that a job names holds what the job says, and keeps where they begin. Reads all of it. `len` tells
    /// the bytes of a blob that a list may name.
    ///
    /// # Errors
    /// [`LinesInvalid`], with the number of the first line that is wrong.
    pub fn check_lines(
        &self,
        spec: &JobSpec,
        len: &dyn Fn(&Digest) -> Option<u64>,
    ) -> Result<(), LinesInvalid> {
        let Some((digest, _, said)) = spec.line_file() else { return Ok(()) };
        let there = if spec.list().is_some() {
            self.check_list(&digest, len)?
        } else {
            let mut lines = Lines::default();
            self.index_lines(&digest, |_, raw| lines.next_object(raw).map_err(LinesInvalid::from))?;
            lines.check(spec)?;
            lines.count()
        };
        if there == said { Ok(()) } else { Err(LinesInvalid::Count { there, said }) }
    }

    fn marks(&self, digest: &Digest) -> PathBuf {
        self.folder.join(LINES).join(digest.to_string())
    }

    /// Reads all lines, each with its number from 0 and its end, and keeps where they begin.
    pub(super) fn index_lines<E: From<Error>>(
        &self,
        digest: &Digest,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let blob = self.open_blob(digest)?;
        let mut reader = BufReader::with_capacity(1 << 20, &blob.file);
        let (mut marks, mut line) = (Vec::new(), Vec::new());
        let (mut number, mut offset) = (0_u64, 0_u64);
        loop {
            line.clear();
            let read = read_line(&mut reader, &mut line).map_err(Error::disk(&blob.path))?;
            if read == 0 {
                break;
            }
            if number.is_multiple_of(STRIDE) {
                marks.extend_from_slice(&mark(digest, number / STRIDE, offset));
            }
            take(number, &line)?;
            (number, offset) = (number + 1, offset + read);
        }
        // The end of the last block, so that a block is what lies between two marks.
        marks.extend_from_slice(&mark(digest, number.div_ceil(STRIDE), offset));
        let path = self.marks(digest);
        file::write(&path, &marks).map_err(|error| match error {
            crate::project::Error::File { path, source } => Error::disk(&path)(source),
            other => Error::Disk { path, source: io::Error::other(other) },
        })?;
        Ok(())
    }

    /// Line `index`, out of `block` when it is there, else out of the file, by way of `block`.
    pub(super) fn line_in(
        &self,
        block: &mut Block,
        digest: &Digest,
        index: u64,
    ) -> io::Result<String> {
        let wanted = (*digest, index / STRIDE);
        if block.of != Some(wanted) {
            *block = Block::default();
            *block = self.read_block(digest, wanted.1)?;
        }
        let line = usize::try_from(index % STRIDE).ok().and_then(|index| block.line(index));
        let line = line
            .map(|line| bare(index, line))
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "there is no such line"))?;
        if LINE_BYTES_MAX < line.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
        }
        String::from_utf8(line.to_vec())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the line is not UTF-8"))
    }

    /// Where a block begins and ends; none when its marks cannot be read, or are not those that were written.
    fn read_marks(&self, digest: &Digest, number: u64) -> Option<(u64, u64)> {
        let mut marks = [0; 2 * MARK_BYTES];
        let file = File::open(self.marks(digest)).ok()?;
        file.read_exact_at(&mut marks, number.checked_mul(MARK_BYTES as u64)?).ok()?;
        let (first, second) = marks.split_at(MARK_BYTES);
        let offset = |bytes: &[u8], number: u64| {
            let offset = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
            (mark(digest, number, offset) == *bytes).then_some(offset)
        };
        Some((offset(first, number)?, offset(second, number + 1)?))
    }

    /// Whether a block would lie beyond the last mark, and that mark is where the blob ends: the block is not there.
    fn ends_before(&self, digest: &Digest, number: u64) -> bool {
        let last = || {
            let file = File::open(self.marks(digest)).ok()?;
            let count = file.metadata().ok()?.len() / MARK_BYTES as u64;
            let mut bytes = [0; MARK_BYTES];
            file.read_exact_at(&mut bytes, count.checked_sub(1)? * MARK_BYTES as u64).ok()?;
            Some(count <= number + 1 && bytes == mark(digest, count - 1, self.len(digest)?))
        };
        last().unwrap_or(false)
    }

    fn read_block(&self, digest: &Digest, number: u64) -> io::Result<Block> {
        let there = match self.read_marks(digest, number) {
            Some(there) => Some(there),
            None if self.ends_before(digest, number) => None,
            // Not there, or not what was written: what the blob itself says counts.
            None => {
                self.index_lines(digest, |_, _| Ok::<_, Error>(())).map_err(io::Error::other)?;
                self.read_marks(digest, number)
            }
        };
        let (start, end) = there
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "there is no such line"))?;
        // Lines beyond the bound were refused at submission; so is a block that could only be made of them.
        let len =
            usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX).min(BLOCK_BYTES_MAX);
        let content = self
            .open_blob(digest)
            .and_then(|blob| blob.read(start, len))
            .map_err(io::Error::other)?;
        let mut ends: Vec<usize> = content
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at)
            .collect();
        if content.last().is_some_and(|last| *last != b'\n') {
            ends.push(content.len());
        }
        Ok(Block { of: Some((*digest, number)), content, ends })
    }
}

/// Most bytes of a block: every line of it at its bound.
const BLOCK_BYTES_MAX: usize = 1024 * RAW_BYTES_MAX;

/// Reads a line with its end into `line`, of which at most a little more than the bound is kept; returns its bytes.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    let mut read = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let (taken, done) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        let room = RAW_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(&buffer[..taken.min(room)]);
        reader.consume(taken);
        read += taken as u64;
        if done {
            return Ok(read);
        }
    }
}
