//! Merkle trees over digests, in the shape of RFC 6962 (section 2.1) with BLAKE3.

use crate::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The digests beside the way from a leaf to the root, lowest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Path(pub Vec<Digest>);

/// The digest of a leaf; a different domain from nodes, so that no node passes as a leaf.
#[must_use]
pub fn leaf(content: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[0]).update(content);
    Digest(*hasher.finalize().as_bytes())
}

/// The digest of an inner node.
#[must_use]
pub fn node(left: &Digest, right: &Digest) -> Digest {
    let mut content = [1; 65];
    content[1..33].copy_from_slice(&left.0);
    content[33..].copy_from_slice(&right.0);
    Digest::of(&content)
}

/// The root over `leaves`; of none, the digest of nothing.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    let mut level = leaves.to_vec();
    if level.is_empty() {
        return Digest::of(&[]);
    }
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| if let [l, r] = pair { node(l, r) } else { pair[0] })
            .collect();
    }
    level[0]
}

/// The path from leaf `index` to the root; `None` when there is no such leaf.
#[must_use]
pub fn path(leaves: &[Digest], index: usize) -> Option<Path> {
    Tree::new(leaves.to_vec()).path(index)
}

/// A tree with all its nodes, for whoever needs many paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The leaves first, the root last.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// The tree over `leaves`.
    #[must_use]
    pub fn new(leaves: Vec<Digest>) -> Self {
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| 1 < level.len()) {
            let above = level
                .chunks(2)
                .map(|pair| if let [l, r] = pair { node(l, r) } else { pair[0] })
                .collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// The root; of no leaves, the digest of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        let root = self.levels.last().and_then(|level| level.first());
        root.copied().unwrap_or_else(|| Digest::of(&[]))
    }

    /// The path from leaf `index` to the root; `None` when there is no such leaf.
    #[must_use]
    pub fn path(&self, mut index: usize) -> Option<Path> {
        self.levels.first()?.get(index)?;
        let mut path = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            path.extend(level.get(index ^ 1));
            index /= 2;
        }
        Some(Path(path))
    }
}

/// The root that `path` leads to from `leaf` at `index` of `count` leaves; `None` when the path has the wrong length.
#[must_use]
pub fn climb(leaf: Digest, mut index: u64, mut count: u64, path: &Path) -> Option<Digest> {
    if count <= index {
        return None;
    }
    let mut siblings = path.0.iter();
    let mut digest = leaf;
    while count > 1 {
        if index % 2 == 1 {
            digest = node(siblings.next()?, &digest);
        } else if index + 1 < count {
            digest = node(&digest, siblings.next()?);
        }
        index /= 2;
        count = count.div_ceil(2);
    }
    siblings.next().is_none().then_some(digest)
}

/// The digests beside the ways from the leaves at `indices` to the root: of each largest subtree without any of them, left
/// to right.
#[must_use]
pub fn path_of_all(leaves: &[Digest], indices: &BTreeSet<u64>) -> Path {
    fn walk(leaves: &[Digest], first: u64, indices: &BTreeSet<u64>, path: &mut Vec<Digest>) {
        let end = first + leaves.len() as u64;
        if indices.range(first..end).next().is_none() {
            return path.push(root(leaves));
        }
        if 1 < leaves.len() {
            let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
            walk(left, first, indices, path);
            walk(right, first + left.len() as u64, indices, path);
        }
    }
    let mut path = Vec::new();
    if !leaves.is_empty() {
        walk(leaves, 0, indices, &mut path);
    }
    Path(path)
}

/// The root that [`path_of_all`] leads to from these of `count` leaves; `None` when the path has the wrong length or no
/// leaf is known.
#[must_use]
pub fn climb_from_all(known: &BTreeMap<u64, Digest>, count: u64, path: &Path) -> Option<Digest> {
    fn walk<'a>(
        known: &BTreeMap<u64, Digest>,
        first: u64,
        count: u64,
        path: &mut impl Iterator<Item = &'a Digest>,
    ) -> Option<Digest> {
        let Some((_, leaf)) = known.range(first..first + count).next() else {
            return path.next().copied();
        };
        if count == 1 {
            return Some(*leaf);
        }
        let left = 1 << (count - 1).ilog2();
        let digest = walk(known, first, left, path)?;
        Some(node(&digest, &walk(known, first + left, count - left, path)?))
    }
    let (last, _) = known.last_key_value()?;
    if count <= *last {
        return None;
    }
    let mut path = path.0.iter();
    let root = walk(known, 0, count, &mut path)?;
    path.next().is_none().then_some(root)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "a test's trees are small")]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_climbs_to_the_root_and_no_other_does() {
        for count in 1..40_u64 {
            let leaves: Vec<_> = (0..count).map(|i| leaf(&i.to_le_bytes())).collect();
            let root = root(&leaves);
            assert_eq!(Tree::new(leaves.clone()).root(), root);
            for index in 0..count {
                let path = path(&leaves, usize::try_from(index).unwrap()).unwrap();
                let at = leaves[usize::try_from(index).unwrap()];
                assert_eq!(climb(at, index, count, &path), Some(root));
                assert_ne!(climb(leaf(b"other"), index, count, &path), Some(root));
                let mut longer = path.clone();
                longer.0.push(root);
                assert_eq!(climb(at, index, count, &longer), None);
            }
        }
    }

    #[test]
    fn many_leaves_climb_together_and_no_others_do() {
        for count in 1..40_u64 {
            let leaves: Vec<_> = (0..count).map(|i| leaf(&i.to_le_bytes())).collect();
            for step in 1..=count {
                let indices: BTreeSet<u64> = (0..count).step_by(step as usize).collect();
                let path = path_of_all(&leaves, &indices);
                let known = |index: &u64| (*index, leaves[*index as usize]);
                let mut known: BTreeMap<_, _> = indices.iter().map(known).collect();
                assert_eq!(climb_from_all(&known, count, &path), Some(root(&leaves)));
                assert_eq!(climb_from_all(&known, *known.last_key_value().unwrap().0, &path), None);
                let mut longer = path.clone();
                longer.0.push(leaves[0]);
                assert_eq!(climb_from_all(&known, count, &longer), None);
                known.insert(0, leaf(b"other"));
                assert_ne!(climb_from_all(&known, count, &path), Some(root(&leaves)));
            }
        }
        assert_eq!(climb_from_all(&BTreeMap::new(), 1, &Path::default()), None);
    }
}
