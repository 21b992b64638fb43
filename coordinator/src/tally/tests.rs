//! The tally follows the records, and shows whatever happens to them behind its back.

use super::*;
use crate::core::record::Table;
use crate::project::{Folder, Identity, names};
use crate::store::memory::MemoryStore;
use crate::store::sled::SledStore;
use crate::store::{self, Store};
use proto::{Digest, ProjectKey};
use std::fs;
use tempfile::TempDir;

fn put(key: &str, value: &str) -> (store::Key, Option<Vec<u8>>) {
    (key.into(), Some(value.into()))
}

fn nothing() -> Tally {
    Tally::of_nothing(ProjectKey([1; 32]), Digest([2; 32]))
}

#[test]
fn a_tally_is_what_a_count_comes_to() {
    let store = MemoryStore::default();
    let mut tally = nothing();
    for changes in [
        vec![put("a", "1"), put("b", "2"), put("c", "3")],
        vec![put("a", "4"), ("b".into(), None), ("absent".into(), None)],
        vec![put("d", "5"), put("d", "6"), put("c", "3")],
    ] {
        tally = tally.after(&changes, &store).unwrap();
        store.commit(changes).unwrap();
        assert_eq!(tally.counted(&store).unwrap(), tally);
    }
    assert_eq!((tally.commit, tally.records), (3, 3));
    let undone = nothing().after(&vec![put("a", "4")], &MemoryStore::default()).unwrap();
    assert_ne!(undone.chain, tally.chain);
}

/// A folder with a project of three commits.
fn project() -> (TempDir, Identity) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::take(dir.path()).unwrap();
    let identity = folder.identity().unwrap();
    let store = open(&folder, &identity, None).unwrap().guarded();
    for number in 0..3 {
        store.commit(vec![put(&format!("k{number}"), "value")]).unwrap();
    }
    (dir, identity)
}

/// What the next start says; nothing when it starts.
fn said(dir: &TempDir, identity: &Identity) -> String {
    let folder = Folder::take(dir.path()).unwrap();
    match open(&folder, identity, None) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

fn sled(dir: &TempDir) -> SledStore {
    SledStore::open(&dir.path().join(names::STORE)).unwrap()
}

#[test]
fn a_store_that_is_as_it_was_left_opens() {
    let (dir, identity) = project();
    assert_eq!(said(&dir, &identity), "");
    let folder = Folder::take(dir.path()).unwrap();
    assert_eq!(open(&folder, &identity, None).unwrap().tally.commit, 3);
}

#[test]
fn records_that_were_changed_lost_or_added_are_found() {
    for (changes, expected) in [
        (vec![put("k1", "other")], "some are not what was written"),
        (vec![("k1".into(), None)], "it holds 2 records, its tally is of 3"),
        (vec![put("k9", "x")], "it holds 4 records, its tally is of 3"),
        (vec![(Table::Tally.prefix(), None)], "it has no tally"),
        (vec![(Table::Tally.prefix(), Some(vec![3]))], "its tally cannot be read"),
    ] {
        let (dir, identity) = project();
        sled(&dir).commit(changes).unwrap();
        let said = said(&dir, &identity);
        assert!(said.contains(expected) && said.contains("--rebuild"), "{said}");
    }
}

#[test]
fn a_store_of_an_earlier_commit_is_refused_and_may_be_accepted() {
    let (dir, identity) = project();
    let before = sled(&dir).page(&[], None, 99).unwrap();
    let folder = Folder::take(dir.path()).unwrap();
    open(&folder, &identity, None).unwrap().guarded().commit(vec![put("k9", "x")]).unwrap();
    sled(&dir).commit(vec![(b"k9".to_vec(), None)]).unwrap();
    let old = before.into_iter().map(|(key, value)| (key, Some(value))).collect();
    sled(&dir).commit(old).unwrap();
    let refused = open(&folder, &identity, None).unwrap_err().to_string();
    assert!(refused.contains("the last 1 commits are gone"), "{refused}");
    let accepted = open(&folder, &identity, Some(77)).unwrap().tally;
    assert_eq!((accepted.commit, accepted.records, accepted.accepted_at_ms), (5, 3, 77));
    let noted = fs::read_to_string(dir.path().join(names::ACCEPTED)).unwrap();
    assert!(noted.contains("the last 1 commits are gone"), "{noted}");
    assert!(open(&folder, &identity, None).is_ok());
}

#[test]
fn a_missing_store_or_file_is_not_taken_for_a_new_project() {
    for (name, expected) in [
        ("store", "it is not there, and held 3 records after 3 commits"),
        ("store/db", "it is not there, and held 3 records"),
        ("store/conf", "it is not there, and held 3 records"),
        ("store.tally", "it is not there: whether the newest commits"),
    ] {
        let (dir, identity) = project();
        let path = dir.path().join(name);
        if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.unwrap();
        let said = said(&dir, &identity);
        assert!(said.contains(expected) && said.contains(name), "{name}: {said}");
        let folder = Folder::take(dir.path()).unwrap();
        assert!(open(&folder, &identity, Some(1)).is_ok(), "{name}");
        assert!(open(&folder, &identity, None).is_ok(), "{name}");
    }
}

#[test]
fn an_empty_store_beside_blobs_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::take(dir.path()).unwrap();
    let identity = folder.identity().unwrap();
    let blob = dir.path().join("blobs/ab/cd");
    fs::create_dir_all(&blob).unwrap();
    fs::write(blob.join(format!("abcd{}", "0".repeat(60))), "x").unwrap();
    let refused = open(&folder, &identity, None).unwrap_err().to_string();
    assert!(refused.contains("holds 1 blobs"), "{refused}");
}

#[test]
fn a_project_from_before_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::take(dir.path()).unwrap();
    let identity = folder.identity().unwrap();
    sled(&dir).commit(vec![put("k0", "v")]).unwrap();
    let tally = open(&folder, &identity, None).unwrap().tally;
    assert_eq!((tally.commit, tally.records), (0, 1));
    // The file is written first: a crash between leaves a store without its tally.
    sled(&dir).commit(vec![(Table::Tally.prefix(), None)]).unwrap();
    assert_eq!(open(&folder, &identity, None).unwrap().tally, tally);
}

#[test]
fn either_place_of_the_file_is_enough() {
    for byte in [3_usize, 20, 4096 + 3, 4096 + 100] {
        let (dir, identity) = project();
        let path = dir.path().join(names::TALLY);
        let mut content = fs::read(&path).unwrap();
        content[byte] ^= 1;
        fs::write(&path, content).unwrap();
        assert_eq!(said(&dir, &identity), "", "{byte}");
        assert!(!TallyFile::read(&path).unwrap().unwrap().unwrap().torn);
    }
    let (dir, identity) = project();
    fs::write(dir.path().join(names::TALLY), "x").unwrap();
    assert!(said(&dir, &identity).contains("nothing in it can be read"));
}

#[test]
fn other_keys_than_those_of_the_records_are_named() {
    let (dir, mut identity) = project();
    identity.key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    assert!(said(&dir, &identity).contains("project.key: it is the key of project"));
}
