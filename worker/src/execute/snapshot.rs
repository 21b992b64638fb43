//! The state of a kernel between two steps, kept in a file that survives a kill at any moment.
//!
//! The file is a header and a chain of records, each a state as the difference from the one before: changed pages,
//! new output, and the rest. A record ends with a BLAKE3 digest over all before it, so a torn or foreign tail is seen
//! and the last whole record counts. The first record is written to a file beside and moved into place; later ones are
//! appended, until they have grown beyond the first and the file is written anew.

mod read;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::unit::{Digest, SnapshotPlan, Unit};

/// Version of the file's bytes.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"starsnap";
const HEADER_BYTES: usize = 48;
/// Pages of the file are those of memory.
const PAGE_BYTES: usize = 65_536;
/// Fast, and half of the size on the states of real kernels.
const ZSTD_LEVEL: i32 = -1;
/// Appended bytes below which a file is not written anew.
const APPENDED_BYTES_MIN: u64 = 1 << 20;
/// Kinds of parts in a record.
const PAGE: u8 = 1;
const OUTPUT: u8 = 2;
const META: u8 = 3;
/// Output bytes in one part.
const OUTPUT_PART_BYTES: usize = 1 << 20;
/// What stands for a page of zeros in the list of digests. No page has it by accident.
const ZERO_PAGE: Digest = [0; 32];

/// All of a state but memory and output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Fuel left.
    pub(super) fuel: i64,
    /// CPU time used.
    pub(super) cpu: Duration,
    /// Bytes of log that may still be written.
    pub(super) log_left: u64,
    /// Bits of the mutable globals, in the layout's order.
    pub(super) globals: Vec<u128>,
    /// Pages of memory.
    pub(super) memory_pages: u64,
}

/// The snapshots of one unit.
#[derive(Debug)]
pub(super) struct Snapshots {
    path: PathBuf,
    interval: Duration,
    identity: Digest,
    taken_at: Instant,
    /// What the file holds, once this process has read or written it.
    file: Option<Kept>,
}

/// A file whose content is known.
#[derive(Debug)]
struct Kept {
    file: File,
    /// Bytes up to the end of the last whole record.
    len: u64,
    /// Bytes up to the end of the first.
    first_len: u64,
    /// Digest at the end of the last record.
    chain: Digest,
    /// Digests of the pages.
    pages: Vec<Digest>,
    /// Bytes of output in it.
    output_len: usize,
}

/// By what a snapshot knows its unit: all that the result depends on.
pub(super) fn identity(unit: &Unit) -> Digest {
    let segments = |input: &super::unit::Input| -> Vec<_> {
        input.segments.iter().map(|segment| (segment.digest, segment.offset, segment.len)).collect()
    };
    let inputs: Vec<_> = unit.inputs.iter().map(segments).collect();
    let limits = (unit.limits.memory, unit.limits.fuel, unit.limits.output);
    let all = (unit.kernel.digest, unit.kernel.nan, &unit.params, inputs, unit.seed, limits);
    let mut hasher = blake3::Hasher::new_derive_key("starling snapshot identity, version 1");
    hasher.update(&postcard::to_allocvec(&all).unwrap_or_default());
    hasher.finalize().into()
}

impl Snapshots {
    pub(super) fn new(plan: &SnapshotPlan, identity: Digest) -> Self {
        Self {
            path: plan.path.clone(),
            interval: plan.interval,
            identity,
            taken_at: Instant::now(),
            file: None,
        }
    }

    /// Whether the interval has passed.
    pub(super) fn due(&self) -> bool {
        self.interval <= self.taken_at.elapsed()
    }

    /// Writes a state. After a failure the file still holds the state before.
    pub(super) fn save(&mut self, meta: &Meta, memory: &[u8], output: &[u8]) -> io::Result<()> {
        // Also after a failure the next attempt waits for its turn.
        self.taken_at = Instant::now();
        self.file = Some(match self.file.take() {
            Some(mut kept)
                if kept.len - kept.first_len <= kept.first_len.max(APPENDED_BYTES_MIN) =>
            {
                kept.append(meta, memory, output)?;
                kept
            }
            // After a failure too: what the file holds beyond the last whole state is not known then.
            Some(_) | None => self.write_new(meta, memory, output)?,
        });
        Ok(())
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&kernel::CONTRACT_VERSION.to_le_bytes());
        header[16..].copy_from_slice(&self.identity);
        header
    }

    fn write_new(&self, meta: &Meta, memory: &[u8], output: &[u8]) -> io::Result<Kept> {
        let part = part(&self.path);
        let written = self.write_part(&part, meta, memory, output);
        let moved = written.and_then(|kept| {
            fs::rename(&part, &self.path)?;
            sync_directory(&self.path)?;
            Ok(kept)
        });
        if moved.is_err() {
            // Give the room back; the failure that is reported is the first.
            let _ = fs::remove_file(&part);
        }
        moved
    }

    fn write_part(
        &self,
        part: &Path,
        meta: &Meta,
        memory: &[u8],
        output: &[u8],
    ) -> io::Result<Kept> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(part)?;
        let header = self.header();
        file.write_all(&header)?;
        let chain = blake3::hash(&header).into();
        let mut kept = Kept {
            file,
            len: HEADER_BYTES as u64,
            first_len: 0,
            chain,
            pages: Vec::new(),
            output_len: 0,
        };
        kept.append(meta, memory, output)?;
        kept.first_len = kept.len;
        Ok(kept)
    }
}

impl Kept {
    /// Appends the difference between what the file holds and this state.
    fn append(&mut self, meta: &Meta, memory: &[u8], output: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.len))?;
        let mut pages = std::mem::take(&mut self.pages);
        let written = self.write_record(&mut pages, meta, memory, output);
        self.pages = pages;
        match written.and_then(|written| self.file.sync_data().map(|()| written)) {
            Ok((len, chain)) => {
                self.len += len;
                self.chain = chain;
                self.output_len = output.len();
                Ok(())
            }
            Err(error) => {
                // Give the room back. The chain makes a torn record harmless where this fails as well.
                let _ = self.file.set_len(self.len);
                Err(error)
            }
        }
    }

    fn write_record(
        &self,
        pages: &mut Vec<Digest>,
        meta: &Meta,
        memory: &[u8],
        output: &[u8],
    ) -> io::Result<(u64, Digest)> {
        let mut record = Record::new(&self.file, &self.chain);
        let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        pages.resize(memory.len().div_ceil(PAGE_BYTES), ZERO_PAGE);
        for ((index, page), known) in (0_u32..).zip(memory.chunks(PAGE_BYTES)).zip(pages) {
            let zero = is_zero(page);
            let digest = if zero { ZERO_PAGE } else { blake3::hash(page).into() };
            if digest == *known {
                continue;
            }
            let packed = if zero { Vec::new() } else { compressor.compress(page)? };
            record.part(PAGE, &[&index.to_le_bytes(), &packed])?;
            *known = digest;
        }
        for part in output.get(self.output_len..).unwrap_or_default().chunks(OUTPUT_PART_BYTES) {
            record.part(OUTPUT, &[part])?;
        }
        record.part(META, &[&postcard::to_allocvec(meta).map_err(io::Error::other)?])?;
        record.end()
    }
}

/// A record on its way to the file. A part is its kind, the length of its content, its content.
struct Record<'a> {
    to: BufWriter<&'a File>,
    hasher: blake3::Hasher,
    len: u64,
}

impl<'a> Record<'a> {
    fn new(file: &'a File, chain: &Digest) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(chain);
        Self { to: BufWriter::with_capacity(1 << 20, file), hasher, len: 0 }
    }

    fn part(&mut self, kind: u8, content: &[&[u8]]) -> io::Result<()> {
        let len: usize = content.iter().map(|bytes| bytes.len()).sum();
        self.write(&[kind])?;
        self.write(&u32::try_from(len).map_err(io::Error::other)?.to_le_bytes())?;
        for bytes in content {
            self.write(bytes)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.to.write_all(bytes)
    }

    fn end(mut self) -> io::Result<(u64, Digest)> {
        let chain: Digest = self.hasher.finalize().into();
        self.to.write_all(&chain)?;
        self.to.flush()?;
        Ok((self.len + chain.len() as u64, chain))
    }
}

/// Removes what a kill in the middle of a snapshot left beside the file of a unit that has ended.
pub(super) fn tidy(plan: &SnapshotPlan) {
    // Mostly there is none; where it cannot be removed it is only room lost.
    let _ = fs::remove_file(part(&plan.path));
}

/// The file that becomes the snapshot when it is whole.
fn part(path: &Path) -> PathBuf {
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    PathBuf::from(part)
}

/// Whether a page is zeros, at the speed of a comparison of memory.
fn is_zero(page: &[u8]) -> bool {
    static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    ZEROS.starts_with(page)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
