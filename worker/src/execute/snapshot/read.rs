//! Takes up a snapshot file: finds the last whole record, and rebuilds memory and output from the chain up to it.

use std::fs::OpenOptions;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use super::{
    Digest, HEADER_BYTES, Kept, META, Meta, OUTPUT, OUTPUT_PART_BYTES, PAGE, PAGE_BYTES, Snapshots,
    ZERO_PAGE, is_zero,
};

/// Bytes of a part beside the content: kind and length.
const PART_BYTES: usize = 5;
/// Bytes of a packed page: zstd's bound for a page, rounded up.
const PACKED_BYTES_MAX: usize = PAGE_BYTES + 1024;
/// Bytes of a record's last part: some globals.
const META_BYTES_MAX: usize = 1 << 20;

/// A state in a file.
#[derive(Debug)]
pub(in super::super) struct Taken {
    pub(in super::super) meta: Meta,
    /// Where the content of each page lies; none where it is zeros.
    pages: Vec<Option<Span>>,
    output: Vec<Span>,
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
    pages: Vec<(usize, Span)>,
    output: Vec<Span>,
    meta: Option<Meta>,
}

impl Snapshots {
    /// Finds the last whole state; none if there is no file. Fails on a file that is damaged from its start or of
    /// another unit or version.
    pub(in super::super) fn load(
        &mut self,
        memory_max: u64,
        output_max: u64,
    ) -> io::Result<Option<Taken>> {
        let file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut header = [0; HEADER_BYTES];
        reader.read_exact(&mut header).map_err(|_| damaged("it is too short"))?;
        if header != self.header() {
            return Err(damaged("it is of another unit or another version"));
        }
        let mut records =
            Records { from: reader, at: HEADER_BYTES as u64, chain: blake3::hash(&header).into() };
        let mut found: Option<(Taken, Found)> = None;
        let mut first_len = None;
        // A record that cannot be read whole is where the last writer was stopped.
        while let Ok(added) = records.next(memory_max) {
            let at = Found { len: records.at, chain: records.chain };
            first_len.get_or_insert(at.len);
            found = Some((merge(found.map(|(taken, _)| taken), added, output_max)?, at));
        }
        let (Some((taken, at)), Some(first_len)) = (found, first_len) else {
            return Err(damaged("no state in it is whole"));
        };
        let output_len = taken.output.iter().map(|span| span.len).sum();
        self.file = Some(Kept {
            file,
            len: at.len,
            first_len,
            chain: at.chain,
            pages: Vec::new(),
            output_len,
        });
        self.taken_at = Instant::now();
        Ok(Some(taken))
    }

    /// Puts a state into memory, which has its size already, and returns the output.
    pub(in super::super) fn restore(
        &mut self,
        taken: &Taken,
        memory: &mut [u8],
    ) -> io::Result<Vec<u8>> {
        let Some(kept) = &mut self.file else { return Err(damaged("it was not read")) };
        let mut pages = vec![ZERO_PAGE; memory.len().div_ceil(PAGE_BYTES)];
        let mut packed = Vec::new();
        let mut decompressor = zstd::bulk::Decompressor::new()?;
        for ((index, page), digest) in memory.chunks_mut(PAGE_BYTES).enumerate().zip(&mut pages) {
            match taken.pages.get(index).copied().flatten() {
                Some(span) => {
                    packed.resize(span.len, 0);
                    kept.file.read_exact_at(&mut packed, span.start)?;
                    if decompressor.decompress_to_buffer(&packed, page)? != page.len() {
                        return Err(damaged("a page is too short"));
                    }
                    *digest = blake3::hash(page).into();
                }
                // Data segments have written here. A page that is zero already is left alone, so that it costs nothing.
                None if !is_zero(page) => page.fill(0),
                None => {}
            }
        }
        kept.pages = pages;
        let mut output = vec![0; kept.output_len];
        let mut rest = output.as_mut_slice();
        for span in &taken.output {
            let (part, after) = rest.split_at_mut(span.len);
            kept.file.read_exact_at(part, span.start)?;
            rest = after;
        }
        Ok(output)
    }
}

#[derive(Debug)]
struct Found {
    len: u64,
    chain: Digest,
}

/// The state after a record.
fn merge(before: Option<Taken>, added: Added, output_max: u64) -> io::Result<Taken> {
    let Some(meta) = added.meta else { return Err(damaged("a state lacks its end")) };
    let (mut pages, mut output) =
        before.map(|taken| (taken.pages, taken.output)).unwrap_or_default();
    pages.resize(usize::try_from(meta.memory_pages).map_err(io::Error::other)?, None);
    for (index, span) in added.pages {
        match pages.get_mut(index) {
            Some(page) => *page = Some(span).filter(|span| 0 < span.len),
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
    chain: Digest,
}

impl<R: Read + Seek> Records<R> {
    fn next(&mut self, memory_max: u64) -> io::Result<Added> {
        self.from.seek(SeekFrom::Start(self.at))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.chain);
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
                    let index =
                        content.first_chunk().ok_or_else(|| damaged("a page without a number"))?;
                    let span = Span { start: start + 4, len: len - 4 };
                    added.pages.push((u32::from_le_bytes(*index) as usize, span));
                }
                OUTPUT => added.output.push(Span { start, len }),
                _ => added.meta = Some(postcard::from_bytes(&content).map_err(io::Error::other)?),
            }
        }
        let mut chain = Digest::default();
        self.from.read_exact(&mut chain)?;
        let pages = added.meta.as_ref().map_or(0, |meta| meta.memory_pages);
        if *hasher.finalize().as_bytes() != chain
            || memory_max < pages.saturating_mul(PAGE_BYTES as u64)
        {
            return Err(damaged("a state is damaged"));
        }
        self.at = at + chain.len() as u64;
        self.chain = chain;
        Ok(added)
    }
}

fn damaged(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, how)
}
