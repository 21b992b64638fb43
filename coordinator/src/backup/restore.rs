//! A project's folder from a backup.

use super::{
    CHANGES, Error, MANIFEST, Manifest, OWNERS, Partial, RECORDS, VERSION, at, frames, verify_files,
};
use crate::blobs::{self, BlobStore, Limits, Putter};
use crate::clock::SystemClock;
use crate::core::time::Clock;
use crate::project::{Folder, file, names};
use crate::store::sled::SledStore;
use crate::store::{Changes, Store};
use crate::tally::{self, Tally};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Records.
    pub records: u64,
    /// Files of which the backup has no digest: an older release made it.
    pub unverified: Vec<String>,
}

/// Bytes of records in one commit: large, as each is flushed, and far from the memory of the machine.
const COMMIT_BYTES: usize = 16 << 20;

/// Makes the project's folder `data` from the backup in `from`. Every byte is verified on the way.
///
/// # Errors
/// [`Error`]; `data` is as before then.
pub fn restore(from: &Path, data: &Path) -> Result<Restored, Error> {
    if names::KEYS.iter().chain([&names::STORE, &names::BLOBS]).any(|name| data.join(name).exists())
    {
        return Err(Error::Occupied(data.to_owned()));
    }
    let manifest = manifest(from)?;
    verify_files(from, &manifest)?;
    let name = data.file_name().unwrap_or_default().display();
    let partial = Partial::new(data.with_file_name(format!(".{name}.restoring")))?;
    let keys = names::KEYS.into_iter().filter(|name| manifest.files.contains_key(*name));
    for name in keys {
        if let Some(content) = file::read(&from.join(name))? {
            file::write(&partial.0.join(name), &content)?;
        }
    }
    let (blobs, blob_bytes) =
        restore_blobs(&from.join(names::BLOBS), &partial.0.join(names::BLOBS))?;
    if (blobs, blob_bytes) != (manifest.blobs, manifest.blob_bytes) {
        return Err(Error::Damaged(from.join(names::BLOBS)));
    }
    let records = restore_records(from, &partial.0)?;
    if data.exists() {
        // What is no project and not empty stays where it is: the name is then not free, and the error says so.
        let _ = fs::remove_file(data.join(names::LOCK));
        fs::remove_dir(data).map_err(at(data))?;
    }
    fs::rename(&partial.0, data).map_err(at(data))?;
    let parent = data
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    file::sync_folder(parent).map_err(at(parent))?;
    let has_all = manifest.files.contains_key(OWNERS);
    let unverified = if has_all { Vec::new() } else { vec![OWNERS.to_owned()] };
    Ok(Restored { blobs, blob_bytes, records, unverified })
}

fn manifest(from: &Path) -> Result<Manifest, Error> {
    let no_backup = |why: String| Error::NoBackup { path: from.to_owned(), why };
    let text = file::read(&from.join(MANIFEST))?
        .ok_or_else(|| no_backup(format!("it has no {MANIFEST}")))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| no_backup(format!("its {MANIFEST}: {error}")))?;
    if manifest.version != VERSION {
        return Err(no_backup(format!("its {MANIFEST} is of version {}", manifest.version)));
    }
    if !manifest.holds(&text) {
        return Err(Error::Damaged(from.join(MANIFEST)));
    }
    let known = |name: &String| {
        names::KEYS.contains(&name.as_str()) || [RECORDS, CHANGES, OWNERS].contains(&name.as_str())
    };
    match manifest.files.keys().find(|name| !known(name)) {
        Some(name) => Err(no_backup(format!("its {MANIFEST} names {name:?}"))),
        None => Ok(manifest),
    }
}

fn restore_blobs(from: &Path, to: &Path) -> Result<(u64, u64), Error> {
    let limits = Limits { account_bytes: u64::MAX, reserve_bytes: 0 };
    let source = BlobStore::open(from, limits)?;
    let target = Arc::new(BlobStore::open(to, limits)?);
    let (mut blobs, mut bytes) = (0, 0);
    for digest in source.list()? {
        let blob = source.open_blob(&digest)?;
        let mut put = target.put(Putter::Worker { bytes_max: u64::MAX }, digest, blob.len())?;
        let mut offset = 0;
        while offset < blob.len() {
            let content = blob.read(offset, CHUNK_BYTES)?;
            offset += content.len() as u64;
            put.write(&content)?;
        }
        put.finish().map_err(|error| match error {
            blobs::Error::Digest { .. } => Error::Damaged(source.path(&digest)),
            other => other.into(),
        })?;
        (blobs, bytes) = (blobs + 1, bytes + blob.len());
    }
    source.copy_owners_to(to)?;
    Ok((blobs, bytes))
}

/// Bytes copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Writes the records into the folder `to`, and counts them: they must come to what the backup's own tally says, and go
/// on from there with one that says that heads of a longer log may be seen.
fn restore_records(from: &Path, to: &Path) -> Result<u64, Error> {
    let store = SledStore::open(&to.join(names::STORE))?;
    for name in [RECORDS, CHANGES] {
        let (mut pending, mut bytes) = (Changes::new(), 0);
        frames::each(&from.join(name), |changes| {
            bytes += changes
                .iter()
                .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
                .sum::<usize>();
            pending.extend(changes);
            if COMMIT_BYTES < bytes {
                bytes = 0;
                store.commit(last_of_each(std::mem::take(&mut pending)))?;
            }
            Ok(())
        })?;
        store.commit(last_of_each(pending))?;
    }
    let folder = Folder::take(to)?;
    let kept = match Tally::of(&store)? {
        Some(Ok(kept)) => Some(kept),
        Some(Err(_)) => return Err(Error::Damaged(from.join(RECORDS))),
        None => None,
    };
    let last = kept.clone().map_or_else(
        || {
            folder.identity().map(|identity| {
                Tally::of_nothing(identity.project(), proto::Digest::of(&identity.ca))
            })
        },
        Ok,
    )?;
    let counted = last.counted(&store)?;
    if kept.is_some_and(|kept| kept != counted) {
        return Err(Error::Damaged(from.join(RECORDS)));
    }
    let now_ms = SystemClock::start().now().wall_ms;
    let (tally, _) = tally::count_anew(&store, &last, &to.join(names::TALLY), now_ms)?;
    Ok(tally.records)
}

/// A commit names each key once: the last change of each counts.
fn last_of_each(changes: Changes) -> Changes {
    changes.into_iter().collect::<std::collections::BTreeMap<_, _>>().into_iter().collect()
}
