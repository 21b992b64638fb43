//! Content is kept whole or not at all, and lines are found by number.

use super::*;
use program::error::chain;
use proptest::prelude::*;
use proto::cut::Axis;
use proto::job::{Input, JobSpec};
use serde_json::json;
use std::sync::Arc;

const LIMITS: Limits = Limits { account_bytes: 1 << 30, reserve_bytes: 0 };

fn store() -> (tempfile::TempDir, Arc<BlobStore>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(BlobStore::open(dir.path(), LIMITS).unwrap());
    (dir, store)
}

fn ada() -> Putter {
    Putter::Account { account: "ada of the north".into(), kept: 0 }
}

/// A job with this cut, and one parameter for all units.
fn job(cut: Vec<Axis>) -> JobSpec {
    let text = json!({
        "version": 1, "name": "n", "kernel": Digest([1; 32]), "params": { "taken": 1 }, "cut": cut,
        "limits": { "memory_bytes": 65536, "fuel": 1, "output_bytes": 0, "log_bytes": 0, "time_s": 1 },
        "copies": 1, "lease_s": 1, "attempts_max": 1, "seed": Digest([1; 32]),
    });
    JobSpec::parse(text.to_string().as_bytes()).unwrap()
}

#[test]
fn content_comes_back_and_survives_a_restart() {
    let (dir, store) = store();
    let digest = store.put_all(ada(), b"some content").unwrap();
    drop(store);
    let store = BlobStore::open(dir.path(), LIMITS).unwrap();
    assert_eq!(store.open_blob(&digest).unwrap().read(5, 100).unwrap(), b"content");
    assert_eq!((store.list().unwrap(), store.bytes().unwrap()), (vec![digest], 12));
    assert_eq!(store.verify(&digest).unwrap(), 12);
    assert_eq!(store.owners.bytes("ada of the north"), 12);
}

#[test]
fn what_was_half_written_is_gone_after_a_crash() {
    let (dir, store) = store();
    let mut put = store.put(ada(), Digest([1; 32]), 100).unwrap();
    put.write(b"half").unwrap();
    std::mem::forget(put);
    assert_eq!(fs::read_dir(dir.path().join(INCOMING)).unwrap().count(), 1);
    BlobStore::open(dir.path(), LIMITS).unwrap();
    assert_eq!(fs::read_dir(dir.path().join(INCOMING)).unwrap().count(), 0);
}

#[test]
fn a_full_disk_leaves_no_debris() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(
        BlobStore::open(dir.path(), Limits { reserve_bytes: u64::MAX / 2, ..LIMITS }).unwrap(),
    );
    assert!(matches!(store.put_all(ada(), b"x"), Err(Error::Full { .. })));
    assert_eq!(fs::read_dir(dir.path().join(INCOMING)).unwrap().count(), 0);
}

#[test]
fn a_damaged_blob_is_found() {
    let (_dir, store) = store();
    let digest = store.put_all(ada(), b"some content").unwrap();
    fs::write(store.path(&digest), b"some contenT").unwrap();
    assert!(matches!(store.verify(&digest), Err(Error::Digest { .. })));
}

#[test]
fn a_cut_line_in_the_log_of_owners_is_passed_over() {
    let (dir, store) = store();
    store.put_all(ada(), b"1234").unwrap();
    let log = dir.path().join(OWNERS);
    let mut text = fs::read(&log).unwrap();
    text.extend_from_slice(b"00ff 99");
    fs::write(&log, text).unwrap();
    let again = Arc::new(BlobStore::open(dir.path(), LIMITS).unwrap());
    again.put_all(ada(), b"123456").unwrap();
    drop(again);
    assert_eq!(BlobStore::open(dir.path(), LIMITS).unwrap().owners.bytes("ada of the north"), 10);
}

fn check_lines(text: &str, expected: &[&str]) {
    use crate::engine::Blobs;
    let (_dir, store) = store();
    let digest = store.put_all(ada(), text.as_bytes()).unwrap();
    for (index, line) in (0..).zip(expected) {
        assert_eq!(store.line(&digest, index).unwrap(), *line, "line {index} of {text:?}");
    }
    assert!(store.line(&digest, expected.len() as u64).is_err(), "beyond the end of {text:?}");
    assert!(store.line(&digest, u64::MAX).is_err());
}

#[test]
fn lines_end_as_on_any_system() {
    check_lines("", &[]);
    check_lines("\n", &[""]);
    check_lines("a", &["a"]);
    check_lines("a\n", &["a"]);
    check_lines("a\r\nb\r\n", &["a", "b"]);
    check_lines("a\n\nb", &["a", "", "b"]);
}

#[test]
fn damaged_marks_of_lines_are_made_anew() {
    let home = tempfile::tempdir().unwrap();
    let limits = Limits { account_bytes: 1 << 30, reserve_bytes: 0 };
    let blobs = Arc::new(BlobStore::open(home.path(), limits).unwrap());
    let text: String = (0..3_000).map(|line| format!("{line}\n")).collect();
    let digest = Digest::of(text.as_bytes());
    let putter = Putter::Worker { bytes_max: u64::MAX };
    let mut put = blobs.put(putter, digest, text.len() as u64).unwrap();
    put.write(text.as_bytes()).unwrap();
    put.finish().unwrap();
    let line = |index: u64| {
        // Nothing of an earlier block is in memory.
        let fresh = BlobStore::open(home.path(), limits).unwrap();
        engine::Blobs::line(&fresh, &digest, index).ok()
    };
    assert_eq!(line(2_999).as_deref(), Some("2999"));
    let marks = home.path().join(LINES).join(digest.to_string());
    let whole = fs::read(&marks).unwrap();
    for byte in (0..whole.len()).step_by(5) {
        let mut damaged = whole.clone();
        damaged[byte] ^= 1;
        for content in [damaged.as_slice(), &whole[..byte]] {
            for index in [0, 1_500, 2_999] {
                fs::write(&marks, content).unwrap();
                assert_eq!(line(index), Some(index.to_string()), "byte {byte}");
            }
        }
    }
    assert_eq!(line(3_000), None);
}

#[test]
fn lines_beyond_a_block_are_found() {
    let many: Vec<String> = (0..3 * 1024 + 1).map(|line| format!("{{\"line\":{line}}}")).collect();
    check_lines(&many.join("\n"), &many.iter().map(String::as_str).collect::<Vec<_>>());
    check_lines(
        &(many[..1024].join("\n") + "\n"),
        &many[..1024].iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

#[test]
fn a_wrong_line_is_named_by_its_number() {
    let (_dir, store) = store();
    let check = |text: &[u8], count, expected: &str| {
        let digest = store.put_all(ada(), text).unwrap();
        let cut = Axis::Lines { digest, len: text.len() as u64, count };
        let told = store
            .check_lines(&job(vec![cut]), &|digest| store.len(digest))
            .map_err(|error| chain(&error));
        assert!(told.as_ref().is_err_and(|told| told.contains(expected)), "{told:?}");
    };
    check(b"{}\n{}\n[]\n", 3, "line 3 of the file of lines is not allowed");
    check(b"{}\n\xff\n", 2, "line 2 of the file of lines is not allowed: it is not text in UTF-8");
    check(b"{}\n{}\n", 3, "has 2 lines, the job says 3");
    check(b"{}\n\n{}\n", 3, "line 2 of the file of lines is not allowed: it is empty");
    check(b"{\"a\":1,\"a\":2}\n", 1, "\"a\" is there twice");
    check(
        b"{}\n{\"taken\":1}\n",
        2,
        "line 2 of the file of lines is not allowed: \"taken\" is set by params",
    );
    check(b"{\"n\":18446744073709551616}\n", 1, "18446744073709551616 is neither");
    check(&[b"{}\n{\"a\":\"".as_slice(), &[b'x'; 20_000], b"\"}\n"].concat(), 2, "line 2");
}

#[test]
fn marks_and_empty_lines_at_the_end_are_no_part_of_a_line() {
    use crate::engine::Blobs;
    let (_dir, store) = store();
    let text = "\u{feff}{\"n\":1}\r\n{\"n\":2}\r\n\r\n\n";
    let digest = store.put_all(ada(), text.as_bytes()).unwrap();
    let cut = Axis::Lines { digest, len: text.len() as u64, count: 2 };
    store.check_lines(&job(vec![cut]), &|digest| store.len(digest)).unwrap();
    assert_eq!(store.line(&digest, 0).unwrap(), "{\"n\":1}");
    assert_eq!(store.line(&digest, 1).unwrap(), "{\"n\":2}");
}

#[test]
fn a_list_names_files_that_are_here() {
    use crate::engine::Blobs;
    let (_dir, store) = store();
    let files: Vec<Input> = (0..1100_u32)
        .map(|number| {
            let content = number.to_le_bytes();
            let digest = store.put_all(ada(), &content).unwrap();
            Input { name: format!("{number}.dat"), digest, len: 4 }
        })
        .collect();
    let put = |files: &[Input]| {
        let lines = files.iter().map(|file| serde_json::to_string(file).unwrap() + "\n");
        let text: String = lines.collect();
        let digest = store.put_all(ada(), text.as_bytes()).unwrap();
        let cut = Axis::Listed { digest, len: text.len() as u64, count: files.len() as u64 };
        (digest, job(vec![cut]))
    };
    let (list, spec) = put(&files);
    store.check_lines(&spec, &|digest| store.len(digest)).unwrap();
    for again in 0..2 {
        assert!(files.iter().all(|file| store.lists(&list, &file.digest).unwrap()), "{again}");
        assert!(!store.lists(&list, &list).unwrap());
        fs::remove_file(store.folder.join(LISTS).join(list.to_string())).unwrap();
    }
    let named = proto::cut::listed(&store.line(&list, 1_045).unwrap()).unwrap();
    assert_eq!(named, files[1_045]);
    let check = |change: fn(&mut Input), expected: &str| {
        let mut files = files[..3].to_vec();
        change(&mut files[1]);
        let told =
            store.check_lines(&put(&files).1, &|digest| store.len(digest)).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    };
    check(|file| file.len = 5, "line 2 of the file of lines is not allowed: \"1.dat\"");
    check(|file| file.digest = Digest([7; 32]), "is not here: put it first");
}

proptest! {
    #[test]
    fn any_text_has_the_lines_that_the_standard_library_sees(text in "[a-c\n]{0,300}") {
        check_lines(&text, &text.lines().collect::<Vec<_>>());
    }

    #[test]
    fn content_in_any_pieces_is_the_same(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10)) {
        let (_dir, store) = store();
        let content = pieces.concat();
        let mut put = store.put(ada(), Digest::of(&content), content.len() as u64).unwrap();
        for piece in &pieces {
            put.write(piece).unwrap();
        }
        put.finish().unwrap();
        prop_assert_eq!(store.open_blob(&Digest::of(&content)).unwrap().read(0, usize::MAX).unwrap(), content);
    }
}
