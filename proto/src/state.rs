//! States of a kernel between two steps: the digest by which a trace names one, and the form in which one is shown.
//!
//! A state is all that the rest of a unit depends on: fuel burnt, mutable globals, memory, and the output so far. Its
//! digest is BLAKE3 over head, the digest of each page and the digest of the output, so that whoever holds the digests of
//! the pages need not hash what has not changed.
//!
//! Shown, a state is: magic and version; the length of the head (32 bits, little-endian) and the head (postcard); for
//! each page that is not zeros its index, the length of its packed bytes (32 bits each) and those (zstd); [`END`] in
//! place of an index; the output as it is, to the end.

use crate::Digest;
use crate::bounds::OUTPUT_BYTES_MAX;
use crate::trace::Point;
use serde::{Deserialize, Serialize};
use std::io::{self, BufReader, Read, Write};

/// Bytes of a page: that of WASM's memory.
pub const PAGE_BYTES: usize = 65_536;
/// What stands for the digest of a page of zeros: most pages of most memories are, and need no hashing. No other page
/// has it by accident.
pub const ZERO_PAGE: Digest = Digest([0; 32]);

const MAGIC: &[u8; 8] = b"starstat";
const VERSION: u32 = 1;
const DOMAIN: &str = "starling.v1 state of a kernel";
/// In place of a page's index.
const END: u32 = u32::MAX;
/// Pages of a memory: all that wasm32 can address.
const PAGES_MAX: u64 = 65_536;
/// Mutable globals: as many as a kernel may have.
const GLOBALS_MAX: usize = 10_000;
/// Bytes of a head: so many globals, each of 19 bytes at most, and some numbers.
const HEAD_BYTES_MAX: usize = 200_000;
/// Bytes of a packed page: zstd's bound for a page, rounded up.
const PACKED_BYTES_MAX: usize = PAGE_BYTES + 1024;
/// Between the speed that a snapshot needs and the size that a slow line wants: a state is shown once.
const ZSTD_LEVEL: i32 = 1;
/// Bytes that are read, or handed out, at once.
const BUFFER_BYTES: usize = 128 << 10;

/// All of a state but memory and output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Fuel burnt until then.
    pub fuel: u64,
    /// Bits of the mutable globals, in the order of their indices; the counter of fuel is not among them.
    pub globals: Vec<u128>,
    /// Pages of memory.
    pub memory_pages: u64,
    /// Bytes of output written so far.
    pub output_len: u64,
}

/// Why no state could be had from bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They are none, or one beyond the bounds: the fault of whoever made them.
    #[error("the bytes are no state that this unit can have: {0}")]
    Malformed(&'static str),
    /// They could not be read, which is nobody's fault.
    #[error("the bytes of the state could not be read")]
    Read(#[source] io::Error),
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain data always encodes")
    }
}

/// Whether a page, or the beginning of one, is zeros.
#[must_use]
pub fn is_zero(page: &[u8]) -> bool {
    static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    ZEROS.starts_with(page)
}

/// Digest of one page.
#[must_use]
pub fn page_digest(page: &[u8]) -> Digest {
    if is_zero(page) { ZERO_PAGE } else { Digest::of(page) }
}

/// Digest of a state with these pages (as many as the head says) and an output of this digest.
#[must_use]
pub fn digest(head: &Head, pages: &[Digest], output: &Digest) -> Digest {
    debug_assert_eq!(head.memory_pages, pages.len() as u64);
    let mut parts = Parts::new(head);
    pages.iter().for_each(|page| parts.page(page));
    parts.end(output)
}

/// Writes a state in the form in which it is shown.
///
/// # Errors
/// When it cannot be written, or the head says other lengths than memory and output have.
pub fn write(mut to: impl Write, head: &Head, memory: &[u8], output: &[u8]) -> io::Result<()> {
    let says = (head.memory_pages.checked_mul(PAGE_BYTES as u64), head.output_len);
    if says != (Some(memory.len() as u64), output.len() as u64) {
        let text = "the head of a state does not fit its memory and output";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let bytes = head.encode();
    to.write_all(MAGIC)?;
    to.write_all(&VERSION.to_le_bytes())?;
    to.write_all(&length(bytes.len())?.to_le_bytes())?;
    to.write_all(&bytes)?;
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    for (index, page) in (0_u32..).zip(memory.chunks(PAGE_BYTES)) {
        if !is_zero(page) {
            let packed = compressor.compress(page)?;
            to.write_all(&index.to_le_bytes())?;
            to.write_all(&length(packed.len())?.to_le_bytes())?;
            to.write_all(&packed)?;
        }
    }
    to.write_all(&END.to_le_bytes())?;
    to.write_all(output)?;
    to.flush()
}

fn length(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(io::Error::other)
}

/// What a shown state is, whoever showed it. Takes the memory of one page and head, and time for as much memory as the
/// head may say.
///
/// # Errors
/// [`Error`] when the bytes are no state, one of more memory or output (in bytes) than this, or cannot be read.
pub fn verify(from: impl Read, memory_max: u64, output_max: u64) -> Result<Point, Error> {
    Shown::open(from, memory_max, output_max)?.finish(|_| ())
}

/// A shown state, read page by page. What it is, is known at its end.
pub struct Shown<R> {
    from: BufReader<R>,
    head: Head,
    parts: Parts,
    /// Pages that were read or passed over.
    n_pages: u64,
    whole: bool,
    packed: Vec<u8>,
    page: Vec<u8>,
    decompressor: zstd::bulk::Decompressor<'static>,
}

impl<R> std::fmt::Debug for Shown<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("head", &self.head).field("n_pages", &self.n_pages).finish()
    }
}

impl<R: Read> Shown<R> {
    /// Reads as far as the head and checks it against the bytes of memory and output that the unit may have.
    ///
    /// # Errors
    /// [`Error`] when there is no such head.
    pub fn open(from: R, memory_max: u64, output_max: u64) -> Result<Self, Error> {
        let mut from = BufReader::with_capacity(BUFFER_BYTES, from);
        let mut magic = [0; 8];
        read(&mut from, &mut magic)?;
        if &magic != MAGIC || read_u32(&mut from)? != VERSION {
            return Err(Error::Malformed("it does not begin like a state of this version"));
        }
        let len = read_u32(&mut from)? as usize;
        if HEAD_BYTES_MAX < len {
            return Err(Error::Malformed("its head is too long"));
        }
        let mut bytes = vec![0; len];
        read(&mut from, &mut bytes)?;
        let (head, rest) = postcard::take_from_bytes::<Head>(&bytes)
            .map_err(|_| Error::Malformed("its head cannot be read"))?;
        if !rest.is_empty() || GLOBALS_MAX < head.globals.len() {
            return Err(Error::Malformed("its head is too long"));
        }
        if PAGES_MAX.min(memory_max / PAGE_BYTES as u64) < head.memory_pages {
            return Err(Error::Malformed("it has more memory than the unit may have"));
        }
        if OUTPUT_BYTES_MAX.min(output_max) < head.output_len {
            return Err(Error::Malformed("it has more output than the unit may have"));
        }
        let parts = Parts::new(&head);
        let decompressor = zstd::bulk::Decompressor::new().map_err(Error::Read)?;
        let (packed, page) = (Vec::new(), vec![0; PAGE_BYTES]);
        Ok(Self { from, head, parts, n_pages: 0, whole: false, packed, page, decompressor })
    }

    /// All but memory and output.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next page that is not zeros, with its index, in ascending order.
    ///
    /// # Errors
    /// [`Error`] when there is none where one should be.
    pub fn page(&mut self) -> Result<Option<(usize, &[u8])>, Error> {
        if self.whole {
            return Ok(None);
        }
        let index = read_u32(&mut self.from)?;
        let end = if index == END { self.head.memory_pages } else { u64::from(index) };
        if end < self.n_pages || self.head.memory_pages < end {
            return Err(Error::Malformed("its pages are not in order"));
        }
        for _ in self.n_pages..end {
            self.parts.page(&ZERO_PAGE);
        }
        self.n_pages = end;
        if index == END {
            self.whole = true;
            return Ok(None);
        }
        if end == self.head.memory_pages {
            return Err(Error::Malformed("a page lies outside its memory"));
        }
        self.unpack()?;
        self.parts.page(&page_digest(&self.page));
        self.n_pages += 1;
        Ok(Some((index as usize, &self.page)))
    }

    fn unpack(&mut self) -> Result<(), Error> {
        let len = read_u32(&mut self.from)? as usize;
        if PACKED_BYTES_MAX < len {
            return Err(Error::Malformed("a packed page is too long"));
        }
        self.packed.resize(len, 0);
        read(&mut self.from, &mut self.packed)?;
        match self.decompressor.decompress_to_buffer(&self.packed, self.page.as_mut_slice()) {
            Ok(PAGE_BYTES) => Ok(()),
            Ok(_) | Err(_) => Err(Error::Malformed("a packed page is none")),
        }
    }

    /// Passes over the pages that are left, hands out the output in parts, and says what the state is.
    ///
    /// # Errors
    /// [`Error`] when the rest is not that of a state; what was handed out is worthless then.
    pub fn finish(mut self, mut output: impl FnMut(&[u8])) -> Result<Point, Error> {
        while self.page()?.is_some() {}
        let mut hasher = blake3::Hasher::new();
        let mut left = self.head.output_len;
        let mut buffer = vec![0; BUFFER_BYTES];
        while 0 < left {
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER_BYTES);
            read(&mut self.from, &mut buffer[..n])?;
            hasher.update(&buffer[..n]);
            output(&buffer[..n]);
            left -= n as u64;
        }
        match self.from.read_exact(&mut [0]) {
            Ok(()) => return Err(Error::Malformed("bytes follow its end")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(Error::Read(error)),
        }
        let output = Digest(hasher.finalize().into());
        Ok(Point { fuel: self.head.fuel, state: self.parts.end(&output) })
    }
}

/// The digest of a state on its way.
struct Parts(blake3::Hasher);

impl Parts {
    fn new(head: &Head) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
        hasher.update(&head.encode());
        Self(hasher)
    }

    fn page(&mut self, page: &Digest) {
        self.0.update(&page.0);
    }

    fn end(mut self, output: &Digest) -> Digest {
        self.0.update(&output.0);
        Digest(self.0.finalize().into())
    }
}

fn read(from: &mut impl Read, bytes: &mut [u8]) -> Result<(), Error> {
    from.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Malformed("it is cut off"),
        _ => Error::Read(error),
    })
}

fn read_u32(from: &mut impl Read) -> Result<u32, Error> {
    let mut bytes = [0; 4];
    read(from, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests;
