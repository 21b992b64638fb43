//! Takes up a snapshot file: finds the last whole record, and rebuilds memory and output from the chain up to it.

use super::{
    Chain, Digest, HEADER_BYTES, Header, META, Meta, OUTPUT, OUTPUT_PART_BYTES, PAGE, Snapshots,
};
use crate::protocol::Need;
use proto::state::{PAGE_BYTES, ZERO_PAGE, is_zero};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::time::Instant;

/// Bytes of a part beside the content: kind and length.
const PART_BYTES: usize = 5;
/// Bytes of a page beside what is packed: index and digest.
const PAGE_PREFIX_BYTES: usize = 36;
/// Bytes of a page in a record: zstd's bound for a page, rounded up.
const PACKED_BYTES_MAX: usize = PAGE_BYTES + 1024;
/// Bytes of a record's last part: some globals and a trace.
const META_BYTES_MAX: usize = 1 << 20;

/// A state in a file.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) meta: Meta,
    pages: Vec<Page>,
    output: Vec<Span>,
}

/// A page of a state.
#[derive(Clone, Copy, Debug)]
struct Page {
    digest: proto::Digest,
    /// Where its content lies, if it is not zeros.
    packed: Span,
}

/// Bytes of the file.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    len: usize,
}

/// What a record adds.
#[derive(Debug, Default)]
struct Added {
    pages: Vec<(usize, Page)>,
    output: Vec<Span>,
    meta: Option<Meta>,
}

impl Snapshots {
    /// Finds the last whole state; none if there is no file. Fails on a file that is damaged from its start or of
    /// another unit or version.
    pub(crate) fn load(&mut self, memory_max: u64, output_max: u64) -> io::Result<Option<Taken>> {
        let file = match self.files.open(Need::Snapshot) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let found = scan(file, &self.header, memory_max, output_max, |_| true)?;
        Ok(found.map(|(chain, taken)| {
            self.file = Some(chain);
            self.taken_at = Instant::now();
            taken
        }))
    }

    /// Puts a state that was loaded into memory, which has its size already, and returns the output.
    pub(crate) fn restore(&self, taken: &Taken, memory: &mut [u8]) -> io::Result<Vec<u8>> {
        let chain = self.file.as_ref().ok_or_else(|| damaged("it was not read"))?;
        restore(chain, taken, memory)
    }
}

/// Finds the last whole state before the first that is not wanted; none if there is no such state. Fails on a file that is
/// damaged from its start or has another header.
pub(crate) fn scan(
    file: File,
    header: &Header,
    memory_max: u64,
    output_max: u64,
    wanted: impl Fn(&Meta) -> bool,
) -> io::Result<Option<(Chain, Taken)>> {
    let mut reader = BufReader::with_capacity(1 << 20, &file);
    let mut found = [0; HEADER_BYTES];
    reader.read_exact(&mut found).map_err(|_| damaged("it is too short"))?;
    if found != *header {
        return Err(damaged("it is of another unit or another version"));
    }
    let mut records =
        Records { from: reader, at: HEADER_BYTES as u64, last: blake3::hash(header).into() };
    let mut taken: Option<Taken> = None;
    let (mut len, mut last, mut first_len) = (records.at, records.last, 0);
    // A record that cannot be read whole is where the last writer was stopped.
    while let Ok(added) = records.next(memory_max) {
        if first_len == 0 {
            first_len = records.at;
        }
        if !added.meta.as_ref().is_some_and(&wanted) {
            break;
        }
        taken = Some(merge(taken, added, output_max)?);
        (len, last) = (records.at, records.last);
    }
    if first_len == 0 {
        return Err(damaged("no state in it is whole"));
    }
    Ok(taken.map(|taken| {
        let pages = taken.pages.iter().map(|page| page.digest).collect();
        let output_len = taken.output.iter().map(|span| span.len).sum();
        (Chain { file, len, first_len, last, pages, output_len }, taken)
    }))
}

/// Puts a state of this file into memory, which has its size already, and returns the output.
pub(crate) fn restore(chain: &Chain, taken: &Taken, memory: &mut [u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::new();
    let mut decompressor = zstd::bulk::Decompressor::new()?;
    for (index, page) in memory.chunks_mut(PAGE_BYTES).enumerate() {
        match taken.pages.get(index).filter(|page| page.digest != ZERO_PAGE) {
            Some(Page { packed: span, .. }) => {
                packed.resize(span.len, 0);
                chain.file.read_exact_at(&mut packed, span.start)?;
                if decompressor.decompress_to_buffer(&packed, page)? != page.len() {
                    return Err(damaged("a page is too short"));
                }
            }
            // Data segments have written here. A page that is zero already is left alone, so that it costs nothing.
            None if !is_zero(page) => page.fill(0),
            None => {}
        }
    }
    let mut output = vec![0; chain.output_len];
    let mut rest = output.as_mut_slice();
    for span in &taken.output {
        let (part, after) = rest.split_at_mut(span.len);
        chain.file.read_exact_at(part, span.start)?;
        rest = after;
    }
    Ok(output)
}

/// The state after a record.
fn merge(before: Option<Taken>, added: Added, output_max: u64) -> io::Result<Taken> {
    let Some(meta) = added.meta else { return Err(damaged("a state lacks its end")) };
    let (mut pages, mut output) =
        before.map(|taken| (taken.pages, taken.output)).unwrap_or_default();
    let zeros = Page { digest: ZERO_PAGE, packed: Span { start: 0, len: 0 } };
    pages.resize(usize::try_from(meta.memory_pages).map_err(io::Error::other)?, zeros);
    for (index, new) in added.pages {
        match pages.get_mut(index) {
            Some(page) => *page = new,
            None => return Err(damaged("a page lies outside memory")),
        }
    }
    output.extend(added.output);
    if output_max < output.iter().map(|span| span.len as u64).sum() {
        return Err(damaged("it holds more output than the unit may write"));
    }
    Ok(Taken { meta, pages, output })
}

/// Reads records as long as they are whole.
struct Records<R> {
    from: R,
    /// Place in the file after the last whole record.
    at: u64,
    /// Digest at its end.
    last: Digest,
}

impl<R: Read + Seek> Records<R> {
    fn next(&mut self, memory_max: u64) -> io::Result<Added> {
        self.from.seek(SeekFrom::Start(self.at))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.last);
        let mut added = Added::default();
        let mut at = self.at;
        while added.meta.is_none() {
            let mut prefix = [0; PART_BYTES];
            self.from.read_exact(&mut prefix)?;
            hasher.update(&prefix);
            let len = u32::from_le_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
            let most = match prefix[0] {
                PAGE => PACKED_BYTES_MAX,
                OUTPUT => OUTPUT_PART_BYTES,
                META => META_BYTES_MAX,
                _ => return Err(damaged("a part of unknown kind")),
            };
            if most < len {
                return Err(damaged("a part that is too long"));
            }
            let mut content = vec![0; len];
            self.from.read_exact(&mut content)?;
            hasher.update(&content);
            let start = at + PART_BYTES as u64;
            at = start + len as u64;
            match prefix[0] {
                PAGE => {
                    let (index, digest) = content
                        .get(..PAGE_PREFIX_BYTES)
                        .and_then(|prefix| prefix.split_first_chunk())
                        .and_then(|(index, digest)| Some((index, digest.try_into().ok()?)))
                        .ok_or_else(|| damaged("a page without index or digest"))?;
                    let prefix = PAGE_PREFIX_BYTES;
                    let packed = Span { start: start + prefix as u64, len: len - prefix };
                    let page = Page { digest: proto::Digest(digest), packed };
                    added.pages.push((u32::from_le_bytes(*index) as usize, page));
                }
                OUTPUT => added.output.push(Span { start, len }),
                _ => added.meta = Some(postcard::from_bytes(&content).map_err(io::Error::other)?),
            }
        }
        let mut last = Digest::default();
        self.from.read_exact(&mut last)?;
        let pages = added.meta.as_ref().map_or(0, |meta| meta.memory_pages);
        if *hasher.finalize().as_bytes() != last
            || memory_max < pages.saturating_mul(PAGE_BYTES as u64)
        {
            return Err(damaged("a state is damaged"));
        }
        self.at = at + last.len() as u64;
        self.last = last;
        Ok(added)
    }
}

fn damaged(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, how)
}
