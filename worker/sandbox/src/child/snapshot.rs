//! The state of a kernel between two steps, kept in a file that survives a kill at any moment.
//!
//! The file is a header and a chain of records, each a state as the difference from the one before: changed pages,
//! new output, and the rest. A record ends with a BLAKE3 digest over all before it, so a torn or foreign tail is seen
//! and the last whole record counts. The first record is written to a file beside and moved into place; later ones are
//! appended, until they have grown beyond the first and the file is written anew.

mod read;

pub(crate) use read::{Taken, restore, scan};

use crate::child::files::Files;
use crate::child::trace::SoFar;
use crate::protocol::Need;
use crate::unit::{Digest, Unit};
use kernel::Contract;
use proto::state::{PAGE_BYTES, ZERO_PAGE, page_digest};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

/// Version of the file's bytes.
const VERSION: u32 = 2;
const MAGIC: &[u8; 8] = b"starsnap";
const HEADER_BYTES: usize = 48;
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

/// The first bytes of a file: magic, versions, and whose states it holds.
pub(crate) type Header = [u8; HEADER_BYTES];

/// All of a state but memory and output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Fuel left.
    pub(crate) fuel: i64,
    /// CPU time used.
    pub(crate) cpu: Duration,
    /// Bytes of log that may still be written.
    pub(crate) log_left: u64,
    /// Bits of the mutable globals, in the layout's order.
    pub(crate) globals: Vec<u128>,
    /// Pages of memory.
    pub(crate) memory_pages: u64,
    /// The trace until then, of a unit that is to have one.
    pub(crate) trace: Option<SoFar>,
}

/// The snapshots of one unit.
pub(crate) struct Snapshots {
    files: Files,
    interval: Duration,
    header: Header,
    taken_at: Instant,
    /// What the file holds, once this process has read or written it.
    file: Option<Chain>,
}

/// A file of records whose content is known.
#[derive(Debug)]
pub(crate) struct Chain {
    file: File,
    /// Bytes up to the end of the last whole record.
    len: u64,
    /// Bytes up to the end of the first.
    first_len: u64,
    /// Digest at the end of the last record.
    last: Digest,
    /// Digests of the pages.
    pages: Vec<proto::Digest>,
    /// Bytes of output in it.
    output_len: usize,
}

/// By what a file of states knows its unit, besides its contract: all that the result depends on.
pub(crate) fn identity(unit: &Unit) -> Digest {
    let segments = |input: &crate::unit::Input| -> Vec<_> {
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
    pub(crate) fn new(
        interval: Duration,
        contract: Contract,
        identity: &Digest,
        files: Files,
    ) -> Self {
        Self {
            files,
            interval,
            header: header(MAGIC, contract, identity),
            taken_at: Instant::now(),
            file: None,
        }
    }

    /// Whether the interval has passed.
    pub(crate) fn due(&self) -> bool {
        self.interval <= self.taken_at.elapsed()
    }

    /// Writes a state. After a failure the file still holds the state before.
    pub(crate) fn save(&mut self, meta: &Meta, memory: &[u8], output: &[u8]) -> io::Result<()> {
        // Also after a failure the next attempt waits for its turn.
        self.taken_at = Instant::now();
        let pages = memory.chunks(PAGE_BYTES).map(page_digest).collect();
        self.file = Some(match self.file.take() {
            Some(mut chain)
                if chain.len - chain.first_len <= chain.first_len.max(APPENDED_BYTES_MIN) =>
            {
                chain.append(meta, memory, pages, output, u64::MAX)?;
                chain.file.sync_data()?;
                chain
            }
            // After a failure too: what the file holds beyond the last whole state is not known then.
            Some(_) | None => self.write_new(meta, memory, pages, output)?,
        });
        Ok(())
    }

    fn write_new(
        &self,
        meta: &Meta,
        memory: &[u8],
        pages: Vec<proto::Digest>,
        output: &[u8],
    ) -> io::Result<Chain> {
        let written = self.files.open(Need::NewSnapshot).and_then(|file| {
            let mut chain = Chain::new(file, &self.header)?;
            chain.append(meta, memory, pages, output, u64::MAX)?;
            chain.file.sync_data()?;
            self.files.tell(Need::Publish)?;
            Ok(chain)
        });
        if written.is_err() {
            // Give the room back; the failure that is reported is the first.
            let _ = self.files.tell(Need::Discard);
        }
        written
    }
}

/// How a file of states begins, which belong to a contract as much as to a unit.
pub(crate) fn header(magic: &[u8; 8], contract: Contract, identity: &Digest) -> Header {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(magic);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&contract.number().to_le_bytes());
    header[16..].copy_from_slice(identity);
    header
}

impl Chain {
    /// Begins an empty file.
    pub(crate) fn new(mut file: File, header: &Header) -> io::Result<Self> {
        file.write_all(header)?;
        Ok(Self {
            file,
            len: HEADER_BYTES as u64,
            first_len: 0,
            last: blake3::hash(header).into(),
            pages: Vec::new(),
            output_len: 0,
        })
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Digests of the pages of the last state.
    pub(crate) fn pages(&self) -> &[proto::Digest] {
        &self.pages
    }

    /// Appends the difference between what the file holds and this state, in at most so many bytes. After a failure it
    /// holds what it held before.
    pub(crate) fn append(
        &mut self,
        meta: &Meta,
        memory: &[u8],
        pages: Vec<proto::Digest>,
        output: &[u8],
        room: u64,
    ) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.len))?;
        match self.write_record(meta, memory, &pages, output, room) {
            Ok((len, last)) => {
                self.len += len;
                self.last = last;
                self.pages = pages;
                self.output_len = output.len();
                if self.first_len == 0 {
                    self.first_len = self.len;
                }
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
        meta: &Meta,
        memory: &[u8],
        pages: &[proto::Digest],
        output: &[u8],
        room: u64,
    ) -> io::Result<(u64, Digest)> {
        let mut record = Record::new(&self.file, &self.last, room);
        let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        for ((index, page), digest) in (0_u32..).zip(memory.chunks(PAGE_BYTES)).zip(pages) {
            if digest == self.pages.get(index as usize).unwrap_or(&ZERO_PAGE) {
                continue;
            }
            let packed =
                if *digest == ZERO_PAGE { Vec::new() } else { compressor.compress(page)? };
            record.part(PAGE, &[&index.to_le_bytes(), &digest.0, &packed])?;
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
    /// Bytes that it may have.
    room: u64,
}

impl<'a> Record<'a> {
    fn new(file: &'a File, last: &Digest, room: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(last);
        Self { to: BufWriter::with_capacity(1 << 20, file), hasher, len: 0, room }
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
        // The digest at its end is yet to come.
        if self.room < self.len + blake3::OUT_LEN as u64 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "no room for this state"));
        }
        self.to.write_all(bytes)
    }

    fn end(mut self) -> io::Result<(u64, Digest)> {
        let chain: Digest = self.hasher.finalize().into();
        self.to.write_all(&chain)?;
        self.to.flush()?;
        Ok((self.len + chain.len() as u64, chain))
    }
}

#[cfg(test)]
mod tests;
