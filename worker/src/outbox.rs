//! The journal of what a worker holds: jobs, leases and reports that are not acknowledged.
//!
//! An append-only file of groups of records, each group with a checksum, written at once: `length (u32 LE) ‖ first 8
//! bytes of BLAKE3 ‖ postcard of Vec<Record>` after a header of 8 bytes. A group that was cut by a crash is dropped on
//! opening; it was never spoken of. When most of the file is of no use any more it is written anew.

use program::file;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use worker_core::agent::Record;

/// Tells the file and its version.
const HEADER: &[u8; 8] = b"starlng1";
/// Length and checksum.
const FRAME_BYTES: usize = 12;
/// Longest group, bytes: a lease of as many units as are allowed, with lines as long as are allowed, and some.
const GROUP_BYTES_MAX: usize = 128 << 20;
/// Records written in one group when the journal is written anew.
const GROUP_RECORDS: usize = 1024;
/// The file is written anew when it has grown to this, bytes...
const COMPACT_BYTES_MIN: u64 = 4 << 20;
/// ...and to so many times what it was when it was last written anew.
const COMPACT_GROWTH: u64 = 4;

/// The journal, open.
#[derive(Debug)]
pub struct Outbox {
    path: PathBuf,
    file: File,
    /// Bytes that are known to be good; the file may be longer after a failure.
    len: u64,
    /// Bytes when it was last written anew.
    compacted_len: u64,
}

/// What was found on opening.
#[derive(Debug)]
pub struct Found {
    /// In the order in which they were kept.
    pub records: Vec<Record>,
    /// Bytes at the end that no group explains: what a crash cut off, or damage.
    pub bytes_lost: u64,
}

impl Outbox {
    /// Opens the journal at `path`, made when it is not there. A file that is damaged keeps a copy beside it.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is of another version.
    pub fn open(path: &Path) -> io::Result<(Self, Found)> {
        let mut file = file::open_private(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        if content.len() < HEADER.len() {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(HEADER)?;
            file.sync_all()?;
            file::sync_folder_of(path)?;
            content = HEADER.to_vec();
        }
        if !content.starts_with(HEADER) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} is no journal of this version: move it away to start without it",
                    path.display()
                ),
            ));
        }
        let (records, good) = read_groups(&content);
        let bytes_lost = (content.len() - good) as u64;
        if 0 < bytes_lost {
            // A torn end is no more than a crash leaves; anything else somebody may want to look at.
            fs::copy(path, path.with_extension("damaged"))?;
        }
        let len = good as u64;
        file.set_len(len)?;
        Ok((
            Self { path: path.to_path_buf(), file, len, compacted_len: 0 },
            Found { records, bytes_lost },
        ))
    }

    /// Appends a group; on disk when it returns, if a record asks for it. After a failure nothing of the group is kept,
    /// and it may be tried again.
    ///
    /// # Errors
    /// When it cannot be written, for instance because the disk is full.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let group = encode(records)?;
        let written = self.write(&group, records.iter().any(Record::is_precious));
        if written.is_ok() {
            self.len += group.len() as u64;
        } else {
            // Should this fail too, the next append writes over it and opening drops it: it has no checksum.
            let _ = self.file.set_len(self.len);
        }
        written
    }

    fn write(&mut self, group: &[u8], sync: bool) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.len))?;
        self.file.write_all(group)?;
        if sync { self.file.sync_data() } else { Ok(()) }
    }

    /// Whether it is time for [`Self::compact`].
    #[must_use]
    pub fn is_wasteful(&self) -> bool {
        COMPACT_BYTES_MIN.max(self.compacted_len.saturating_mul(COMPACT_GROWTH)) < self.len
    }

    /// Writes the journal anew with these records only. After a failure the old one goes on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn compact(&mut self, records: &[Record]) -> io::Result<()> {
        let mut content = HEADER.to_vec();
        for group in records.chunks(GROUP_RECORDS) {
            content.extend(encode(group)?);
        }
        file::write(&self.path, &content)?;
        self.file = file::open_private(&self.path)?;
        self.len = content.len() as u64;
        self.compacted_len = self.len;
        Ok(())
    }
}

fn encode(records: &[Record]) -> io::Result<Vec<u8>> {
    let group = postcard::to_extend(records, vec![0; FRAME_BYTES]).map_err(io::Error::other)?;
    let payload = &group[FRAME_BYTES..];
    if GROUP_BYTES_MAX < payload.len() {
        return Err(io::Error::other("a group of records is too long"));
    }
    let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let check = blake3::hash(payload);
    let mut group = group;
    group[..4].copy_from_slice(&len.to_le_bytes());
    group[4..FRAME_BYTES].copy_from_slice(&check.as_bytes()[..8]);
    Ok(group)
}

/// All groups up to the first that is not whole, and where that is.
fn read_groups(content: &[u8]) -> (Vec<Record>, usize) {
    let (mut records, mut at) = (Vec::new(), HEADER.len());
    while let Some((group, next)) = read_group(content, at) {
        records.extend(group);
        at = next;
    }
    (records, at)
}

fn read_group(content: &[u8], at: usize) -> Option<(Vec<Record>, usize)> {
    let frame = content.get(at..at + FRAME_BYTES)?;
    let len = u32::from_le_bytes(frame[..4].try_into().ok()?) as usize;
    if GROUP_BYTES_MAX < len {
        return None;
    }
    let end = at + FRAME_BYTES + len;
    let payload = content.get(at + FRAME_BYTES..end)?;
    if blake3::hash(payload).as_bytes()[..8] != frame[4..] {
        return None;
    }
    Some((postcard::from_bytes(payload).ok()?, end))
}

#[cfg(test)]
mod tests;
