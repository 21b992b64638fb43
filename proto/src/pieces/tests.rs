//! What a list of pieces promises.

use super::*;

fn content(len: usize) -> Vec<u8> {
    let mut content = vec![0; len];
    Hasher::new().update(b"content").finalize_xof().fill(&mut content);
    content
}

#[test]
fn pieces_fold_to_the_digest_of_the_whole() {
    let piece = usize::try_from(PIECE_BYTES_MIN).unwrap();
    for len in [
        1,
        1024,
        1025,
        piece - 1,
        piece,
        piece + 1,
        2 * piece,
        3 * piece + 5,
        9 * piece - 1,
        16 * piece,
    ] {
        let content = content(len);
        let pieces = Pieces::read(&mut content.as_slice(), len as u64).unwrap().unwrap();
        assert_eq!(pieces.digest(), Digest::of(&content), "{len} bytes");
        let again = Pieces::parse(pieces.digest(), len as u64, &pieces.list()).unwrap();
        assert_eq!(again, pieces);
        for index in 0..pieces.cut().n_pieces() {
            let range = pieces.cut().range(index);
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert!(pieces.is_piece(index, &content[range.clone()]));
            let mut wrong = content[range.clone()].to_vec();
            wrong[0] ^= 1;
            assert!(!pieces.is_piece(index, &wrong));
            assert!(!pieces.is_piece(index, &content[range.start..range.end - 1]));
            assert!(!pieces.is_piece(index + 1, &content[range]) || len == 0);
        }
    }
}

#[test]
fn a_list_of_another_blob_length_or_order_is_refused() {
    let piece = usize::try_from(PIECE_BYTES_MIN).unwrap();
    let content = content(5 * piece);
    let len = content.len() as u64;
    let pieces = Pieces::read(&mut content.as_slice(), len).unwrap().unwrap();
    let (digest, list) = (pieces.digest(), pieces.list());
    let mut swapped = list.clone();
    swapped[..64].rotate_left(32);
    for (digest, len, list) in [
        (Digest::of(b"other"), len, list.as_slice()),
        (digest, len, &swapped),
        (digest, len, &list[1..]),
        (digest, len, &list[32..]),
        (digest, len + 1, &list),
        (digest, 0, &[]),
        (digest, u64::MAX, &list),
    ] {
        assert_eq!(Pieces::parse(digest, len, list), Err(Malformed { digest, len }));
    }
    // A shorter last piece folds to the same digest, and is found out by the last piece itself.
    let shorter = Pieces::parse(digest, len - 1, &list).unwrap();
    assert!(!shorter.is_piece(4, &content[4 * piece..5 * piece - 1]));
}

#[test]
fn long_blobs_have_larger_pieces_and_bounded_lists() {
    let cut = |len| Cut::of(len).map(|cut| (cut.piece_bytes(), cut.n_pieces()));
    assert_eq!(cut(0), None);
    assert_eq!(cut(1), Some((256 << 10, 1)));
    assert_eq!(cut(1 << 30), Some((256 << 10, 4096)));
    assert_eq!(cut((1 << 30) + 1), Some((512 << 10, 2049)));
    assert_eq!(cut(16 << 30), Some((4 << 20, 4096)));
    assert_eq!(cut(256 << 30), Some((4 << 20, 65_536)));
    assert_eq!(cut((256 << 30) + 1), None);
    assert_eq!(cut(u64::MAX), None);
}

#[test]
fn the_list_is_pinned() {
    let content = content(600_000);
    let pieces = Pieces::read(&mut content.as_slice(), 600_000).unwrap().unwrap();
    let list = data_encoding::HEXLOWER.encode(&pieces.list());
    let expected = [
        "879f3392f6b2fb4785f4c47606fed310e8fc959465a3cd3a9e636e94e8d9f159",
        "c5bca0220f25be0368c19ae55e1eb0e5a0f10dc97c4f474dfe75d255c1a888f2",
        "da1b688b551a918fe0a3103d59e35b133296d86482996e90b4d5772627b65198",
    ];
    assert_eq!(list, expected.concat());
}
