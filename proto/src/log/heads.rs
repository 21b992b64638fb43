//! Two signed heads that cannot both be of one growing log: what shows anybody that a log was rewritten or cut short.

use super::head::{Head, Invalid};
use super::tree::consistent;
use crate::merkle::Path;
use crate::{Digest, ProjectKey, pb};

/// Two heads that somebody says do not fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    /// One of them, with fewer entries where they differ in that.
    pub smaller: pb::SignedHead,
    /// The other.
    pub larger: pb::SignedHead,
    /// The root over the first entries of the larger log, as many as the smaller one has, and the proof of that; absent
    /// where the heads speak for themselves.
    pub prefix: Option<(Digest, Path)>,
}

/// How two heads contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// As many entries, other ones.
    #[error("the project signed two logs of {0} entries with different content")]
    SameSize(u64),
    /// The later one has fewer entries.
    #[error(
        "the project signed a log of {larger} entries, and later one of {smaller}: entries were taken away"
    )]
    Shorter {
        /// Entries of the earlier log.
        larger: u64,
        /// Entries of the later one.
        smaller: u64,
    },
    /// The larger log does not begin with the smaller one.
    #[error(
        "the project signed a log of {smaller} entries, and one of {larger} that begins with {smaller} other ones: entries were rewritten"
    )]
    Rewritten {
        /// Entries of one log.
        smaller: u64,
        /// Entries of the other.
        larger: u64,
    },
}

impl Heads {
    /// How the two heads contradict each other; `None` when nothing here shows that they do.
    ///
    /// # Errors
    /// [`Invalid`] when the project signed only one of them, or neither.
    pub fn contradiction(&self, project: &ProjectKey) -> Result<Option<Contradiction>, Invalid> {
        let smaller = Head::verify(&self.smaller, project)?;
        let larger = Head::verify(&self.larger, project)?;
        if smaller.size == larger.size {
            let differ = smaller.root != larger.root;
            return Ok(differ.then_some(Contradiction::SameSize(smaller.size)));
        }
        let sizes = (smaller.size, larger.size);
        if larger.size < smaller.size {
            return Ok(None);
        }
        if larger.at_ms < smaller.at_ms {
            let (smaller, larger) = sizes;
            return Ok(Some(Contradiction::Shorter { larger, smaller }));
        }
        let Some((root, path)) = &self.prefix else { return Ok(None) };
        let proved = consistent(smaller.size, root, larger.size, &larger.root, path);
        let (smaller_size, larger_size) = sizes;
        Ok((proved && *root != smaller.root)
            .then_some(Contradiction::Rewritten { smaller: smaller_size, larger: larger_size }))
    }
}
