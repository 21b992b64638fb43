//! Heads of the project's own log that workers show: signed by the project itself, so that nobody needs to be trusted. A
//! log that is behind one of them, or has other entries, has lost something.

use super::Tally;
use crate::core::record::Table;
use crate::core::saved::log::Log;
use crate::engine;
use crate::project::{self, Folder, Identity, file, names};
use crate::store::{self, Store};
use program::error::chain;
use proto::log::{Entry, Head, root_at};
use proto::{Digest, ProjectKey, pb};
use std::path::PathBuf;

/// Compares heads with the log.
#[derive(Clone, Debug)]
pub struct Heads {
    project: ProjectKey,
    /// Those that were signed until then may be of what was lost, and accepted.
    accepted_at_ms: u64,
    path: PathBuf,
}

/// A head of this project's log that the log does not lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newer {
    /// As it was signed.
    pub signed: pb::SignedHead,
    /// What it shows, in a sentence.
    pub what: String,
}

impl Heads {
    /// For the project whose records have this tally.
    #[must_use]
    pub fn new(folder: &Folder, identity: &Identity, tally: &Tally) -> Self {
        let (project, path) = (identity.project(), folder.at(names::NEWER));
        Self { project, accepted_at_ms: tally.accepted_at_ms, path }
    }

    /// What a head shows of the log in `store`; none when the log leads to it, or when the project did not sign it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn newer(
        &self,
        signed: &pb::SignedHead,
        store: &dyn Store,
    ) -> Result<Option<Newer>, engine::Error> {
        // A head that nobody signed shows nothing.
        let Ok(head) = Head::verify(signed, &self.project) else { return Ok(None) };
        if head.at_ms <= self.accepted_at_ms {
            return Ok(None);
        }
        let size = Log::of(store).size()?;
        let what = if size < head.size {
            format!(
                "this project signed a log of {} entries, and its records hold one of {size}: {} entries are gone",
                head.size,
                head.size - size
            )
        } else if root_of(store, head.size)? != Some(head.root) {
            format!(
                "this project signed a log of {} entries that are not the first ones of its records",
                head.size
            )
        } else {
            return Ok(None);
        };
        Ok(Some(Newer { signed: signed.clone(), what }))
    }

    /// Keeps such a head for the next start.
    ///
    /// # Errors
    /// [`project::Error::File`] when the disk does not let us.
    pub fn keep(&self, newer: &Newer) -> Result<(), project::Error> {
        let pair = (newer.signed.payload.to_vec(), newer.signed.signature.to_vec());
        let bytes = postcard::to_allocvec(&pair).expect("plain data always encodes");
        file::write(&self.path, &bytes)
    }

    fn kept(&self) -> Result<Option<Option<pb::SignedHead>>, project::Error> {
        let Some(bytes) = file::read(&self.path)? else { return Ok(None) };
        let pair = postcard::from_bytes::<(Vec<u8>, Vec<u8>)>(&bytes).ok();
        let signed = pair.map(|(payload, signature)| pb::SignedHead {
            payload: payload.into(),
            signature: signature.into(),
        });
        Ok(Some(signed.filter(|signed| Head::verify(signed, &self.project).is_ok())))
    }

    /// What a head that was kept shows of the records.
    ///
    /// # Errors
    /// When the disk does not let us.
    pub fn shown_before(&self, store: &dyn Store) -> Result<Option<String>, project::Error> {
        match self.kept()? {
            None => Ok(None),
            Some(None) => Ok(Some(
                "a worker showed a newer head of the log, which cannot be read any more".into(),
            )),
            Some(Some(signed)) => match self.newer(&signed, store) {
                Ok(newer) => {
                    Ok(newer.map(|newer| format!("a worker has shown it: {}", newer.what)))
                }
                Err(error) => Ok(Some(chain(&error))),
            },
        }
    }

    /// When the head that was kept was signed, milliseconds since 1970; 0 when there is none.
    ///
    /// # Errors
    /// When the disk does not let us.
    pub fn shown_before_at_ms(&self) -> Result<u64, project::Error> {
        let head = self.kept()?.flatten().and_then(|head| Head::verify(&head, &self.project).ok());
        Ok(head.map_or(0, |head| head.at_ms))
    }
}

/// The root over the first `size` entries of the log in a store; none when it has not so many.
pub(super) fn root_of(store: &dyn Store, size: u64) -> Result<Option<Digest>, store::Error> {
    let mut whole = true;
    let root = root_at(size, |level, index| {
        let key = match level {
            0 => Table::Entry.key(index),
            _ => Table::Node.key2(level.into(), index),
        };
        let value = store.get(&key)?;
        let digest = value.and_then(|value| match level {
            0 => Some(Entry::leaf(&value)),
            _ => Digest::try_from(value.as_slice()).ok(),
        });
        whole &= digest.is_some();
        Ok::<_, store::Error>(digest.unwrap_or(Digest([0; 32])))
    })?;
    Ok(whole.then_some(root))
}
