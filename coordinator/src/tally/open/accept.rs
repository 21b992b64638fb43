//! Goes on with records of which some are lost, or that were written anew.

use super::{Examined, Finding, Opened, Refused, remove};
use crate::core::record::{Meta, Table, decode, encode};
use crate::project::{Folder, Identity, file, names};
use crate::store::{Store, sled::SledStore};
use crate::tally::{Heads, Tally, TallyFile};
use proto::Digest;
use std::path::Path;

/// Goes on with what is left, and writes down what was accepted.
pub(super) fn accept(
    folder: &Folder,
    identity: &Identity,
    examined: Examined,
    now_ms: u64,
) -> Result<Opened, Refused> {
    let store_path = folder.at(names::STORE);
    let Examined { store, kept, newest, counted, wrong, .. } = examined;
    let left = match counted.transpose() {
        Ok(left) => left,
        Err(error) => return Err(Refused::Unreadable(store_path, error)),
    };
    let store = match store {
        Some(store) => store,
        None => {
            folder.put_aside(names::STORE, "damaged")?;
            SledStore::open(&store_path)?
        }
    };
    let fresh = Tally::of_nothing(identity.project(), Digest::of(&identity.ca));
    let last = [kept, newest].into_iter().flatten().max_by_key(|tally| tally.commit);
    let last = last.unwrap_or(fresh);
    let signed_ms = Heads::new(folder, identity, &last).shown_before_at_ms()?;
    let at_ms = now_ms.max(signed_ms);
    let (tally, file) = count_anew(
        &store,
        &Tally { project: identity.project(), authority: Digest::of(&identity.ca), ..last },
        &folder.at(names::TALLY),
        at_ms,
    )?;
    note(folder, &wrong, left.as_ref(), &tally, now_ms)?;
    remove(&folder.at(names::NEWER))?;
    Ok(Opened { store, tally, file })
}

/// The last tally of a project whose records are written anew: of nothing when the file does not tell.
///
/// # Errors
/// [`Refused`] when the disk does not let us.
pub fn last(folder: &Folder, identity: &Identity) -> Result<Tally, Refused> {
    let (project, authority) = (identity.project(), Digest::of(&identity.ca));
    let last = TallyFile::read(&folder.at(names::TALLY))?.flatten().map(|read| read.tally);
    let last = last.unwrap_or_else(|| Tally::of_nothing(project, authority));
    Ok(Tally { project, authority, ..last })
}

/// Counts the records of a store that were not written commit by commit, or of which some are lost, and goes on from
/// there: with the commit after that of `last`. Heads of the log that were signed until `at_ms` count no more, and the next one is of later.
///
/// # Errors
/// [`Refused`] when the disk does not let us.
pub fn count_anew(
    store: &SledStore,
    last: &Tally,
    path: &Path,
    at_ms: u64,
) -> Result<(Tally, TallyFile), Refused> {
    let key = Table::Meta.prefix();
    if let Some(mut meta) = store.get(&key)?.as_deref().and_then(decode::<Meta>) {
        meta.head_at_ms = meta.head_at_ms.max(at_ms.saturating_add(1));
        store.commit(vec![(key, Some(encode(&meta)))])?;
    }
    let mut tally = last.counted(store)?;
    let chain = [b"counted anew".as_slice(), &last.chain.0, &tally.sum.0, &at_ms.to_le_bytes()];
    (tally.before, tally.chain) = (last.chain, Digest::of(&chain.concat()));
    tally.commit += 1;
    tally.accepted_at_ms = at_ms;
    store.commit(vec![tally.record()])?;
    let file = TallyFile::create(path, &tally)?;
    Ok((tally, file))
}

/// Appends what was accepted, for people.
fn note(
    folder: &Folder,
    wrong: &[Finding],
    left: Option<&Tally>,
    tally: &Tally,
    now_ms: u64,
) -> Result<(), Refused> {
    let path = folder.at(names::ACCEPTED);
    let before = file::read(&path)?.unwrap_or_default();
    let mut text = String::from_utf8_lossy(&before).into_owned();
    let at = i64::try_from(now_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let at = at.map_or_else(String::new, |at| at.to_string());
    for finding in wrong {
        tracing::warn!("accepted: {finding}");
        text.push_str(&format!("{at} accepted: {finding}\n"));
    }
    let left = left.unwrap_or(tally);
    text.push_str(&format!(
        "{at} going on with {} records, {} entries of the log among them\n",
        left.records, left.log_size
    ));
    Ok(file::write(&path, text.as_bytes())?)
}
