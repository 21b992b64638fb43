//! Blobs in pieces on a real disk.

use super::*;
use proto::pieces::PIECE_BYTES_MIN;

fn blob(n_pieces: u64) -> (Vec<u8>, Pieces) {
    let len = n_pieces * PIECE_BYTES_MIN - 7;
    let content: Vec<u8> = (0..len).map(|at| u8::try_from(at / 1000 % 251).unwrap()).collect();
    let pieces = Pieces::read(&mut content.as_slice(), len).unwrap().unwrap();
    (content, pieces)
}

fn piece<'a>(content: &'a [u8], pieces: &Pieces, index: u32) -> &'a [u8] {
    let range = pieces.cut().range(index);
    &content[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

#[test]
fn pieces_come_in_any_order_and_are_found_again_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let (content, pieces) = blob(5);
    let blobs = Blobs::open(home.path(), 10 << 20, 16 << 20).unwrap();
    let (file, have) = blobs.begin_pieces(pieces.clone()).unwrap();
    assert_eq!(have, [0; 0]);
    for index in [4, 1] {
        file.put(index, piece(&content, &pieces, index)).unwrap();
        assert_eq!(file.get(index).unwrap(), piece(&content, &pieces, index));
    }
    assert!(matches!(file.put(0, piece(&content, &pieces, 1)), Err(Error::Wrong)));
    assert!(file.get(0).is_err(), "what is not here is not given");
    // Killed, and one piece is damaged meanwhile.
    drop((file, blobs));
    let blobs = Blobs::open(home.path(), 10 << 20, 16 << 20).unwrap();
    let path = blobs.pieces_path(&pieces.digest());
    File::options().write(true).open(path).unwrap().write_at(b"x", PIECE_BYTES_MIN + 3).unwrap();
    let (file, have) = blobs.begin_pieces(pieces.clone()).unwrap();
    assert_eq!(have, [4]);
    for index in [3, 0, 2, 1] {
        file.put(index, piece(&content, &pieces, index)).unwrap();
    }
    blobs.finish_pieces(&file).unwrap();
    assert_eq!(fs::read(blobs.path(&pieces.digest())).unwrap(), content);
    assert_eq!(file.get(2).unwrap(), piece(&content, &pieces, 2));
    let again = blobs.open_whole(&pieces.digest()).unwrap().unwrap();
    assert_eq!(again.pieces(), &pieces);
    assert_eq!(blobs.bytes(), content.len() as u64);
}

#[test]
fn a_file_left_half_way_makes_room_for_others_and_a_whole_one_that_is_pinned_does_not() {
    let home = tempfile::tempdir().unwrap();
    let (content, pieces) = blob(2);
    let blobs = Blobs::open(home.path(), 3 * PIECE_BYTES_MIN, 16 << 20).unwrap();
    let (file, _) = blobs.begin_pieces(pieces.clone()).unwrap();
    let (_, other) = blob(3);
    assert!(matches!(blobs.begin_pieces(other.clone()), Err(Error::NoRoom(_))));
    blobs.leave_pieces(&pieces.digest());
    drop(file);
    blobs.begin_pieces(other.clone()).unwrap();
    assert!(!blobs.pieces_path(&pieces.digest()).exists());
    blobs.leave_pieces(&other.digest());
    let (file, _) = blobs.begin_pieces(pieces.clone()).unwrap();
    for index in [0, 1] {
        file.put(index, piece(&content, &pieces, index)).unwrap();
    }
    blobs.finish_pieces(&file).unwrap();
    assert!(matches!(blobs.begin_pieces(other.clone()), Err(Error::NoRoom(_))));
    blobs.unpin(&pieces.digest());
    blobs.begin_pieces(other).unwrap();
    assert!(blobs.open_whole(&pieces.digest()).unwrap().is_none());
    let (_, huge) = blob(4);
    assert!(matches!(blobs.begin_pieces(huge), Err(Error::TooLarge { .. })));
}
