//! A blob in pieces, each of which can be checked by itself.
//!
//! BLAKE3 hashes content as a tree over chunks of 1024 bytes. A piece is a whole subtree of it, so the chaining values of
//! all pieces, 32 bytes each, are one level of that tree: folded together they give the blob's digest, and each of them
//! checks the bytes of its piece as they come, whoever sends them. This is what bao keeps in an outboard, cut off at the
//! height of a piece: 0.01 % of the content instead of 0.4 %, and pieces travel as plain bytes.
//!
//! The list needs no signature and no format of its own: whoever has the digest can check it, length and all, once it
//! has the last piece (the last value depends on how many bytes the last piece has).

use crate::Digest;
use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use std::io::{self, Read};
use std::ops::Range;

/// Smallest piece, bytes: large enough that asking for it costs little, small enough to be passed on soon.
pub const PIECE_BYTES_MIN: u64 = 256 << 10;
/// Largest piece, bytes: it is held in memory until it is checked.
pub const PIECE_BYTES_MAX: u64 = 4 << 20;
/// Pieces from which on pieces are made larger instead: their list is then 128 KiB.
const PIECES_AIM: u64 = 4096;
/// Most pieces of a blob: their list is 2 MiB, their bitmap 8 KiB. Longer blobs are not cut, see [`Cut::of`].
pub const PIECES_MAX: u64 = 65_536;

/// How a blob is cut: a function of its length alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    len: u64,
    piece_bytes: u64,
    n_pieces: u32,
}

impl Cut {
    /// How a blob of `len` bytes is cut; `None` when it is empty or longer than [`PIECES_MAX`] of the largest pieces.
    #[must_use]
    pub fn of(len: u64) -> Option<Self> {
        let mut piece_bytes = PIECE_BYTES_MIN;
        while piece_bytes < PIECE_BYTES_MAX && PIECES_AIM < len.div_ceil(piece_bytes) {
            piece_bytes *= 2;
        }
        let n_pieces = len.div_ceil(piece_bytes);
        if len == 0 || PIECES_MAX < n_pieces {
            return None;
        }
        Some(Self { len, piece_bytes, n_pieces: u32::try_from(n_pieces).ok()? })
    }

    /// Bytes of the blob.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.len
    }

    /// Bytes of each piece but the last, which may be shorter.
    #[must_use]
    pub const fn piece_bytes(&self) -> u64 {
        self.piece_bytes
    }

    /// How many pieces; never 0.
    #[must_use]
    pub const fn n_pieces(&self) -> u32 {
        self.n_pieces
    }

    /// The bytes of piece `index`; empty beyond the last.
    #[must_use]
    pub fn range(&self, index: u32) -> Range<u64> {
        let start = (u64::from(index) * self.piece_bytes).min(self.len);
        start..(start + self.piece_bytes).min(self.len)
    }

    /// How many bytes piece `index` has; 0 beyond the last.
    #[must_use]
    pub fn len_of(&self, index: u32) -> u64 {
        let range = self.range(index);
        range.end - range.start
    }
}

/// The list is not that of the blob.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the list of pieces is not that of blob {digest} with {len} bytes")]
pub struct Malformed {
    /// Which blob.
    pub digest: Digest,
    /// The length that was told.
    pub len: u64,
}

/// The pieces of one blob, checked against its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    digest: Digest,
    cut: Cut,
    values: Vec<ChainingValue>,
}

impl Pieces {
    /// Checks a list that somebody sent: 32 bytes for each piece, in order.
    ///
    /// # Errors
    /// [`Malformed`] when it does not fold to `digest`, or a blob of this length is not cut.
    pub fn parse(digest: Digest, len: u64, list: &[u8]) -> Result<Self, Malformed> {
        let malformed = Malformed { digest, len };
        let Some(cut) = Cut::of(len) else { return Err(malformed) };
        let (values, rest) = list.as_chunks::<32>();
        let n_values = u32::try_from(values.len()).ok();
        if !rest.is_empty() || n_values != Some(cut.n_pieces()) || root(values) != digest {
            return Err(malformed);
        }
        Ok(Self { digest, cut, values: values.to_vec() })
    }

    /// Cuts the content of `reader`, which should have `len` bytes; `None` when a blob of this length is not cut.
    ///
    /// # Errors
    /// When it cannot be read or has fewer bytes.
    pub fn read(reader: &mut impl Read, len: u64) -> io::Result<Option<Self>> {
        let Some(cut) = Cut::of(len) else { return Ok(None) };
        let mut values = Vec::with_capacity(cut.n_pieces as usize);
        let mut piece = Vec::new();
        for index in 0..cut.n_pieces {
            piece.resize(usize::try_from(cut.len_of(index)).unwrap_or(0), 0);
            reader.read_exact(&mut piece)?;
            values.push(value(&cut, index, &piece));
        }
        Ok(Some(Self { digest: root(&values), cut, values }))
    }

    /// Of which blob.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// How it is cut.
    #[must_use]
    pub const fn cut(&self) -> &Cut {
        &self.cut
    }

    /// The list as it is sent.
    #[must_use]
    pub fn list(&self) -> Vec<u8> {
        self.values.concat()
    }

    /// Whether `data` is piece `index`.
    #[must_use]
    pub fn is_piece(&self, index: u32, data: &[u8]) -> bool {
        let value_of = self.values.get(index as usize);
        data.len() as u64 == self.cut.len_of(index)
            && value_of.is_some_and(|expected| value(&self.cut, index, data) == *expected)
    }
}

/// The chaining value of a piece; of a blob that is one piece, its digest.
fn value(cut: &Cut, index: u32, data: &[u8]) -> ChainingValue {
    if cut.n_pieces == 1 {
        return *blake3::hash(data).as_bytes();
    }
    Hasher::new().set_input_offset(cut.range(index).start).update(data).finalize_non_root()
}

/// The digest of the blob with these pieces: the tree of BLAKE3 is full on its left side (its paper, section 2.1).
fn root(values: &[ChainingValue]) -> Digest {
    match values {
        [] => Digest::of(&[]),
        [only] => Digest(*only),
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            Digest(*merge_subtrees_root(&fold(left), &fold(right), Mode::Hash).as_bytes())
        }
    }
}

fn fold(values: &[ChainingValue]) -> ChainingValue {
    match values {
        // Never met: both sides of a split have at least one.
        [] => [0; 32],
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_len(values.len()));
            merge_subtrees_non_root(&fold(left), &fold(right), Mode::Hash)
        }
    }
}

/// The largest power of two below `n`, for `n` of at least 2.
const fn left_len(n: usize) -> usize {
    1 << (n - 1).ilog2()
}

#[cfg(test)]
mod tests;
