//! The tree over a log of any length: it grows at its right edge, and proofs read a node per level.

use crate::Digest;
use crate::merkle::{self, Path, node};
use serde::{Deserialize, Serialize};

/// The right edge of a tree: all that is needed to let it grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees, largest first: one for each 1 in the binary form of `size`.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it can be one: there is a peak for each 1 of the size.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.peaks.len() == self.size.count_ones() as usize
    }

    /// Appends a leaf of a frontier that [`Self::is_whole`]. `finished` gets each inner node that is complete with it: level
    /// (1 is above the leaves), position in its level, digest.
    pub fn append(&mut self, leaf: Digest, mut finished: impl FnMut(u8, u64, Digest)) {
        let (mut digest, mut index, mut level) = (leaf, self.size, 0);
        while index % 2 == 1
            && let Some(left) = self.peaks.pop()
        {
            digest = node(&left, &digest);
            (index, level) = (index / 2, level + 1);
            finished(level, index, digest);
        }
        self.peaks.push(digest);
        self.size += 1;
    }

    /// The root over all leaves; of none, the digest of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        let above = |right: Digest, left: &Digest| node(left, &right);
        match self.peaks.split_last() {
            Some((last, others)) => others.iter().rev().fold(*last, above),
            None => merkle::root(&[]),
        }
    }
}

/// The largest power of two below `count`, which is at least 2: where RFC 6962 cuts a tree in two.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The root over the leaves from `first` to before `end` (more than `first`), where no complete subtree is cut.
fn subtree<E>(
    read: &mut impl FnMut(u8, u64) -> Result<Digest, E>,
    first: u64,
    end: u64,
) -> Result<Digest, E> {
    let count = end - first;
    if count.is_power_of_two() {
        let level = count.trailing_zeros();
        return read(u8::try_from(level).unwrap_or(u8::MAX), first >> level);
    }
    let middle = first + split(count);
    Ok(node(&subtree(read, first, middle)?, &subtree(read, middle, end)?))
}

/// The root of the first `size` leaves. `read` gives the root of the complete subtree at a level (0: a leaf) and position.
///
/// # Errors
/// What `read` returns.
pub fn root_at<E>(
    size: u64,
    mut read: impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Digest, E> {
    if size == 0 { Ok(merkle::root(&[])) } else { subtree(&mut read, 0, size) }
}

/// Proof that leaf `index` is among the first `size` (RFC 9162, 2.1.3.1), for [`merkle::climb`]; `None` when it is not.
///
/// # Errors
/// What `read`, as for [`root_at`], returns.
pub fn inclusion<E>(
    index: u64,
    size: u64,
    mut read: impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Option<Path>, E> {
    if size <= index {
        return Ok(None);
    }
    let (mut first, mut end, mut path) = (0, size, Vec::new());
    while 1 < end - first {
        let middle = first + split(end - first);
        if index < middle {
            path.push(subtree(&mut read, middle, end)?);
            end = middle;
        } else {
            path.push(subtree(&mut read, first, middle)?);
            first = middle;
        }
    }
    path.reverse();
    Ok(Some(Path(path)))
}

/// Proof that the first `from` leaves are those of the tree of `to` (RFC 9162, 2.1.4.1), for [`consistent`]; `None` when
/// `to` is smaller. From nothing, and from a tree to itself, the proof is empty.
///
/// # Errors
/// What `read`, as for [`root_at`], returns.
pub fn consistency<E>(
    from: u64,
    to: u64,
    mut read: impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Option<Path>, E> {
    if to < from {
        return Ok(None);
    }
    if from == 0 || from == to {
        return Ok(Some(Path::default()));
    }
    let (mut first, mut end, mut path) = (0, to, Vec::new());
    while from != end {
        let middle = first + split(end - first);
        if from <= middle {
            path.push(subtree(&mut read, middle, end)?);
            end = middle;
        } else {
            path.push(subtree(&mut read, first, middle)?);
            first = middle;
        }
    }
    if first != 0 {
        // Only the first tree itself need not be named: who checks knows it.
        path.push(subtree(&mut read, first, end)?);
    }
    path.reverse();
    Ok(Some(Path(path)))
}

/// Whether the tree of `from` leaves with root `old` is the beginning of that of `to` with root `new` (RFC 9162, 2.1.4.2).
#[must_use]
pub fn consistent(from: u64, old: &Digest, to: u64, new: &Digest, proof: &Path) -> bool {
    if from == 0 {
        return proof.0.is_empty() && *old == merkle::root(&[]);
    }
    if from == to {
        return proof.0.is_empty() && old == new;
    }
    if to < from {
        return false;
    }
    let mut path = proof.0.iter();
    let start = if from.is_power_of_two() { Some(old) } else { path.next() };
    let Some(&start) = start else { return false };
    let (mut left, mut right) = (from - 1, to - 1);
    let shift = left.trailing_ones();
    (left, right) = (left >> shift, right >> shift);
    let (mut found_old, mut found_new) = (start, start);
    for beside in path {
        if right == 0 {
            return false;
        }
        if left % 2 == 1 || left == right {
            found_old = node(beside, &found_old);
            found_new = node(beside, &found_new);
            while left.is_multiple_of(2) && left != 0 {
                (left, right) = (left / 2, right / 2);
            }
        } else {
            found_new = node(&found_new, beside);
        }
        (left, right) = (left / 2, right / 2);
    }
    right == 0 && found_old == *old && found_new == *new
}
