use super::*;
use proptest::prelude::*;

const MEMORY_MAX: u64 = 8 << 20;
const OUTPUT_MAX: u64 = 1 << 20;

/// A memory of so many pages, of which these hold something.
fn memory(n_pages: usize, full: &[usize]) -> Vec<u8> {
    let mut memory = vec![0; n_pages * PAGE_BYTES];
    for &index in full {
        let page = &mut memory[index * PAGE_BYTES..(index + 1) * PAGE_BYTES];
        blake3::Hasher::new().update(&[7]).finalize_xof().fill(&mut page[..100 * (index + 1)]);
    }
    memory
}

fn head(fuel: u64, memory: &[u8], output: &[u8]) -> Head {
    Head {
        fuel,
        globals: vec![1, u128::MAX, 1 << 70],
        memory_pages: (memory.len() / PAGE_BYTES) as u64,
        output_len: output.len() as u64,
    }
}

/// What a state is, from its parts.
fn point(head: &Head, memory: &[u8], output: &[u8]) -> Point {
    let pages: Vec<_> = memory.chunks(PAGE_BYTES).map(page_digest).collect();
    Point { fuel: head.fuel, state: digest(head, &pages, &Digest::of(output)) }
}

fn shown(head: &Head, memory: &[u8], output: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes, head, memory, output).unwrap();
    bytes
}

/// Everything that a shown state hands out, and what it says that this is.
fn read_back(bytes: &[u8]) -> Result<(Head, Vec<u8>, Vec<u8>, Point), Error> {
    let mut shown = Shown::open(bytes, MEMORY_MAX, OUTPUT_MAX)?;
    let head = shown.head().clone();
    let mut memory = vec![0; usize::try_from(head.memory_pages).unwrap() * PAGE_BYTES];
    while let Some((index, page)) = shown.page()? {
        memory[index * PAGE_BYTES..(index + 1) * PAGE_BYTES].copy_from_slice(page);
    }
    let mut output = Vec::new();
    let point = shown.finish(|bytes| output.extend_from_slice(bytes))?;
    Ok((head, memory, output, point))
}

fn malformed(bytes: &[u8]) -> &'static str {
    match verify(bytes, MEMORY_MAX, OUTPUT_MAX) {
        Err(Error::Malformed(how)) => how,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_state_is_read_back_as_it_was_and_named_by_all_of_it() {
    let (memory, output) = (memory(9, &[0, 3, 4, 8]), vec![9; 300_000]);
    let head = head(77, &memory, &output);
    let bytes = shown(&head, &memory, &output);
    let want = point(&head, &memory, &output);
    assert_eq!(verify(bytes.as_slice(), MEMORY_MAX, OUTPUT_MAX).unwrap(), want);
    assert!(read_back(&bytes).unwrap() == (head.clone(), memory.clone(), output.clone(), want));
    let empty = Head { fuel: 0, globals: Vec::new(), memory_pages: 0, output_len: 0 };
    assert_eq!(verify(shown(&empty, &[], &[]).as_slice(), 0, 0).unwrap(), point(&empty, &[], &[]));

    let mut others = vec![
        point(&Head { fuel: 78, ..head.clone() }, &memory, &output),
        point(&Head { globals: vec![1], ..head.clone() }, &memory, &output),
        point(
            &Head { memory_pages: 10, ..head.clone() },
            &[&memory[..], &[0; PAGE_BYTES]].concat(),
            &output,
        ),
    ];
    for place in [0, 2 * PAGE_BYTES, 9 * PAGE_BYTES - 1] {
        let mut other = memory.clone();
        other[place] ^= 1;
        others.push(point(&head, &other, &output));
    }
    let mut other = output;
    other[299_999] ^= 1;
    others.push(point(&head, &memory, &other));
    assert!(others.iter().all(|other| other.state != want.state));
}

#[test]
fn what_is_no_state_of_the_unit_is_refused() {
    let (memory, output) = (memory(3, &[0, 2]), b"output".to_vec());
    let head = head(1, &memory, &output);
    let bytes = shown(&head, &memory, &output);
    for len in 0..bytes.len() {
        malformed(&bytes[..len]);
    }
    assert_eq!(malformed(&[&bytes[..], b"x"].concat()), "bytes follow its end");
    assert!(verify(bytes.as_slice(), 3 * PAGE_BYTES as u64 - 1, OUTPUT_MAX).is_err());
    assert!(verify(bytes.as_slice(), MEMORY_MAX, output.len() as u64 - 1).is_err());
    assert!(verify(bytes.as_slice(), 3 * PAGE_BYTES as u64, output.len() as u64).is_ok());

    // By hand: pages that are out of order, twice there, outside memory, short, long, or of several frames.
    let start = {
        let encoded = head.encode();
        let len = u32::try_from(encoded.len()).unwrap().to_le_bytes();
        [&MAGIC[..], &VERSION.to_le_bytes(), &len, &encoded].concat()
    };
    let pack = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    let page = |index: u32, packed: &[u8]| {
        [&index.to_le_bytes()[..], &u32::try_from(packed.len()).unwrap().to_le_bytes(), packed]
            .concat()
    };
    let whole =
        |pages: &[Vec<u8>]| [&start[..], &pages.concat(), &END.to_le_bytes(), &output].concat();
    let full = pack(&[5; PAGE_BYTES]);
    let halves = [pack(&[5; PAGE_BYTES / 2]), pack(&[5; PAGE_BYTES / 2])].concat();
    assert!(verify(whole(&[page(0, &full), page(2, &full)]).as_slice(), MEMORY_MAX, 100).is_ok());
    for pages in [
        vec![page(2, &full), page(0, &full)],
        vec![page(1, &full), page(1, &full)],
        vec![page(3, &full)],
        vec![page(1 << 20, &full)],
        vec![page(0, &[])],
        vec![page(0, &pack(&[5; PAGE_BYTES - 1]))],
        vec![page(0, &pack(&[5; PAGE_BYTES + 1]))],
        vec![page(0, &pack(&vec![5; 64 << 20]))],
        vec![page(0, &vec![5; PACKED_BYTES_MAX + 1])],
    ] {
        malformed(&whole(&pages));
    }
    // Bytes are named by what they unpack to, not by how they are packed.
    assert_eq!(
        verify(whole(&[page(0, &halves)]).as_slice(), MEMORY_MAX, 100).unwrap(),
        verify(whole(&[page(0, &full)]).as_slice(), MEMORY_MAX, 100).unwrap(),
    );
    let zeros = whole(&[page(1, &pack(&[0; PAGE_BYTES]))]);
    assert_eq!(
        verify(zeros.as_slice(), MEMORY_MAX, 100).unwrap(),
        verify(whole(&[]).as_slice(), MEMORY_MAX, 100).unwrap(),
    );
    let wrong = Head { memory_pages: 4, ..head };
    assert!(write(io::sink(), &wrong, &memory, &output).is_err());
}

#[test]
fn a_disk_that_fails_is_not_the_fault_of_whoever_made_the_bytes() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("a bad sector"))
        }
    }
    assert!(matches!(verify(Broken, MEMORY_MAX, OUTPUT_MAX), Err(Error::Read(_))));
    let (memory, output) = (memory(3, &[0, 2]), b"output".to_vec());
    let bytes = shown(&head(1, &memory, &output), &memory, &output);
    assert!(matches!(
        verify(bytes.as_slice().chain(Broken), MEMORY_MAX, OUTPUT_MAX),
        Err(Error::Read(_))
    ));
}

proptest! {
    #[test]
    fn bytes_of_strangers_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(verify(bytes.as_slice(), MEMORY_MAX, OUTPUT_MAX).is_err());
        // And behind a beginning that is right.
        let start = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        let _ = read_back(&[&start[..], &bytes].concat());
        let head = Head { fuel: 5, globals: vec![1], memory_pages: 90, output_len: 3 }.encode();
        let len = u32::try_from(head.len()).unwrap().to_le_bytes();
        let _ = read_back(&[&start[..], &len, &head, &bytes].concat());
    }

    #[test]
    fn what_is_handed_out_is_what_the_point_names(
        full in proptest::collection::btree_set(0..6_usize, 0..5),
        output in proptest::collection::vec(any::<u8>(), 0..200),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 0..3),
    ) {
        let memory = memory(6, &full.into_iter().collect::<Vec<_>>());
        let head = head(3, &memory, &output);
        let mut bytes = shown(&head, &memory, &output);
        for (place, bit) in &flips {
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
        }
        let said = verify(bytes.as_slice(), MEMORY_MAX, OUTPUT_MAX);
        match read_back(&bytes) {
            Ok((found, found_memory, found_output, found_point)) => {
                prop_assert_eq!(found_point, point(&found, &found_memory, &found_output));
                prop_assert_eq!(said.unwrap(), found_point);
                prop_assert!(
                    found_point != point(&head, &memory, &output)
                        || (found == head && found_memory == memory && found_output == output)
                );
            }
            Err(_) => prop_assert!(said.is_err() && !flips.is_empty()),
        }
    }
}

#[test]
fn canonical_bytes_are_pinned() {
    let (memory, output) = (memory(5, &[1, 4]), b"so far".to_vec());
    let head = head(1 << 40, &memory, &output);
    let want = include_str!("golden_digest.hex").trim();
    assert_eq!(point(&head, &memory, &output).state.to_string(), want);
    // Not what is written, which is zstd's to choose, but what must be read for ever.
    let bytes = data_encoding::HEXLOWER.decode(include_str!("golden_shown.hex").trim().as_bytes());
    let (found, found_memory, found_output, found_point) = read_back(&bytes.unwrap()).unwrap();
    assert!(found == head && found_memory == memory && found_output == output);
    assert_eq!(found_point.state.to_string(), want);
}
