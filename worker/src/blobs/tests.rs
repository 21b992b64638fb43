use super::*;

fn content(number: u8, len: usize) -> (Digest, Vec<u8>) {
    let content = vec![number; len];
    (Digest::of(&content), content)
}

fn bring(blobs: &Blobs, content: &[u8]) -> Result<Digest, Error> {
    let digest = Digest::of(content);
    let mut partial = blobs.begin(digest, content.len() as u64)?;
    partial.write(&content[usize::try_from(partial.len()).unwrap()..])?;
    blobs.finish(partial)?;
    Ok(digest)
}

#[test]
fn what_comes_is_kept_and_found_again_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (digest, content) = content(1, 3_000);
    let blobs = Blobs::open(home.path(), 10_000, 16 << 20).unwrap();
    assert!(!blobs.pin(&digest).unwrap());
    bring(&blobs, &content).unwrap();
    assert_eq!(fs::read(blobs.path(&digest)).unwrap(), content);
    let blobs = Blobs::open(home.path(), 10_000, 16 << 20).unwrap();
    assert!(blobs.pin(&digest).unwrap());
    assert_eq!(blobs.bytes(), 3_000);
}

#[test]
fn a_cut_blob_is_taken_up_where_it_was_after_a_restart_too() {
    let home = tempfile::tempdir().unwrap();
    let (digest, content) = content(2, 5_000);
    let blobs = Blobs::open(home.path(), 10_000, 16 << 20).unwrap();
    let mut partial = blobs.begin(digest, 5_000).unwrap();
    partial.write(&content[..2_000]).unwrap();
    blobs.leave(&partial);
    assert_eq!(blobs.begin(digest, 5_000).unwrap().len(), 2_000);
    let blobs = Blobs::open(home.path(), 10_000, 16 << 20).unwrap();
    assert_eq!(blobs.begin(digest, 5_000).unwrap().len(), 2_000);
    bring(&blobs, &content).unwrap();
    assert!(blobs.pin(&digest).unwrap());
}

#[test]
fn wrong_bytes_are_dropped() {
    let home = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(home.path(), 10_000, 16 << 20).unwrap();
    let (digest, _) = content(3, 1_000);
    let mut partial = blobs.begin(digest, 1_000).unwrap();
    partial.write(&[9; 1_000]).unwrap();
    assert!(matches!(blobs.finish(partial), Err(Error::Wrong)));
    assert!(!blobs.pin(&digest).unwrap());
    assert_eq!((blobs.begin(digest, 1_000).unwrap().len(), blobs.bytes()), (0, 1_000));
}

#[test]
fn bytes_that_rotted_on_disk_are_not_used() {
    let home = tempfile::tempdir().unwrap();
    let (digest, content) = content(4, 1_000);
    let blobs = Blobs::open(home.path(), 10_000, 16 << 20).unwrap();
    bring(&blobs, &content).unwrap();
    let mut rotten = content;
    rotten[500] ^= 1;
    fs::write(blobs.path(&digest), rotten).unwrap();
    let blobs = Blobs::open(home.path(), 10_000, 16 << 20).unwrap();
    assert!(!blobs.pin(&digest).unwrap());
    assert!(!blobs.path(&digest).exists());
}

#[test]
fn the_longest_unused_goes_first_and_what_is_needed_never() {
    let home = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(home.path(), 10_000, 16 << 20).unwrap();
    let bring = |number| bring(&blobs, &content(number, 3_000).1);
    let [one, two, three] = [1, 2, 3].map(|number| bring(number).unwrap());
    blobs.unpin(&one);
    blobs.unpin(&two);
    assert!(blobs.pin(&one).unwrap());
    blobs.unpin(&one);
    let four = bring(4).unwrap();
    let here = |digest| blobs.path(digest).exists();
    assert_eq!(
        [&one, &two, &three, &four].map(here),
        [true, false, true, true],
        "the second was unused longest"
    );
    assert!(blobs.pin(&one).unwrap());
    assert!(matches!(bring(5), Err(Error::NoRoom(_))), "all is needed");
    assert!(matches!(blobs.begin(content(6, 1).0, 10_001), Err(Error::TooLarge { .. })));
    blobs.unpin(&three);
    bring(5).unwrap();
    assert_eq!([&one, &three, &four].map(here), [true, false, true]);
}

#[test]
fn a_full_disk_is_named_and_waited_out() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = crate::testing::small_disk(home.path(), 24 << 10) else { return };
    let blobs = Blobs::open(&disk.path.join("blobs"), 1 << 40, 16 << 20).unwrap();
    let (digest, content) = content(7, 4 << 20);
    let mut partial = blobs.begin(digest, 4 << 20).unwrap();
    partial.write(&content[..1 << 20]).unwrap();
    let filler = disk.fill();
    let error = partial.write(&content[1 << 20..]).unwrap_err();
    assert!(matches!(&error, Error::NoRoom(text) if text.contains("disk is full")), "{error}");
    blobs.leave(&partial);
    drop(partial);
    let error = blobs.begin(digest, 4 << 20).unwrap_err();
    assert!(matches!(&error, Error::NoRoom(text) if text.contains("disk is full")), "{error}");
    fs::remove_file(filler).unwrap();
    bring(&blobs, &content).unwrap();
    assert!(blobs.pin(&digest).unwrap());
}
