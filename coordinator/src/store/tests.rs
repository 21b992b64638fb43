//! One suite that every store must pass.

use super::memory::MemoryStore;
use super::sled::SledStore;
use super::*;

fn put(key: &str, value: &str) -> (Key, Option<Vec<u8>>) {
    (key.into(), Some(value.into()))
}

fn text(records: Records) -> Vec<String> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    records.into_iter().map(|(key, value)| format!("{}={}", text(key), text(value))).collect()
}

fn a_commit_puts_and_deletes(store: &dyn Store) {
    store.commit(vec![put("a1", "x"), put("a2", "y")]).unwrap();
    store.commit(vec![(b"a1".to_vec(), None), put("a2", "z")]).unwrap();
    assert_eq!(store.get(b"a1").unwrap(), None);
    assert_eq!(store.get(b"a2").unwrap().as_deref(), Some(b"z".as_slice()));
}

fn pages_are_ordered_and_end_with_their_prefix(store: &dyn Store) {
    store
        .commit(vec![put("b3", "3"), put("b1", "1"), put("b2", "2"), put("c", "4"), put("a", "0")])
        .unwrap();
    assert_eq!(text(store.page(b"b", None, 2).unwrap()), ["b1=1", "b2=2"]);
    assert_eq!(text(store.page(b"b", Some(b"b2"), 9).unwrap()), ["b3=3"]);
    assert_eq!(text(store.page(b"b", Some(b"a"), 1).unwrap()), ["b1=1"]);
    assert_eq!(text(store.page(b"b", Some(b"c"), 9).unwrap()), Vec::<String>::new());
    assert_eq!(text(store.page(b"", None, 99).unwrap()).len(), 5);
}

fn the_last_record_before_a_key_is_found(store: &dyn Store) {
    store.commit(vec![put("a9", "0"), put("b1", "1"), put("b5", "5"), put("c1", "9")]).unwrap();
    let last = |at: &str| {
        store.last(b"b", at.as_bytes()).unwrap().map(|(key, _)| String::from_utf8(key).unwrap())
    };
    assert_eq!(last("b5").as_deref(), Some("b5"));
    assert_eq!(last("b4").as_deref(), Some("b1"));
    assert_eq!(last("b0"), None);
    assert_eq!(last("b~").as_deref(), Some("b5"));
}

fn every_record_is_visited_once(store: &dyn Store) {
    let count = PAGE_RECORDS * 2 + 7;
    store.commit((0..count).map(|index| put(&format!("k{index:06}"), "v")).collect()).unwrap();
    let mut keys = Vec::new();
    each(store, b"k", |key, _| {
        keys.push(key.to_vec());
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(keys.len(), count);
    assert!(keys.is_sorted());
}

fn large_values_come_and_go_whole(store: &dyn Store) {
    let large = |len: usize| (0..=250_u8).cycle().take(len).collect::<Vec<u8>>();
    for len in [1 << 15, (1 << 15) + 1, 1 << 20, 70_000] {
        let more = (b"k2".to_vec(), Some(large(len)));
        store.commit(vec![put("k1", ""), more, put("k3", "3")]).unwrap();
        assert_eq!(store.get(b"k2").unwrap(), Some(large(len)), "{len}");
        assert_eq!(store.last(b"k", b"k2").unwrap().unwrap().1, large(len));
        let values: Vec<usize> =
            store.page(b"k", None, 9).unwrap().iter().map(|(_, value)| value.len()).collect();
        assert_eq!(values, [0, len, 1]);
    }
    store.commit(vec![put("k2", "small")]).unwrap();
    assert_eq!(text(store.page(b"k", None, 9).unwrap()), ["k1=", "k2=small", "k3=3"]);
    let both = vec![(b"k4".to_vec(), Some(large(1 << 20))), (b"k44".to_vec(), Some(large(99_999)))];
    store.commit(both).unwrap();
    store.commit(vec![(b"k4".to_vec(), None), (b"k1".to_vec(), Some(large(40_000)))]).unwrap();
    assert_eq!(store.get(b"k4").unwrap(), None);
    assert_eq!(store.get(b"k44").unwrap(), Some(large(99_999)));
    assert_eq!(store.get(b"k1").unwrap(), Some(large(40_000)));
    let many = (0..20).map(|at| (vec![b'z', at], Some(large(1 << 20)))).collect();
    store.commit(many).unwrap();
    let mut lengths = Vec::new();
    each(store, b"z", |_, value| {
        lengths.push(value.len());
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(lengths, [1 << 20; 20]);
}

fn a_large_value_is_read_whole_while_it_is_written(store: &dyn Store) {
    let value = |byte: u8| vec![byte; 20_000 + usize::from(byte) * 5_000];
    store.commit(vec![(b"k".to_vec(), Some(value(0)))]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let read = store.get(b"k").unwrap().unwrap();
                assert_eq!(read, value(read[0]));
                let page = store.page(b"k", None, 1).unwrap();
                assert_eq!(page[0].1, value(page[0].1[0]));
            }
        });
        for byte in (0..8).cycle().take(200) {
            store.commit(vec![(b"k".to_vec(), Some(value(byte)))]).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    });
}

macro_rules! suite {
    ($($test:ident),*) => {
        mod memory {
            $(#[test] fn $test() { super::$test(&super::MemoryStore::default()); })*
        }
        mod sled {
            $(#[test] fn $test() {
                let folder = tempfile::tempdir().unwrap();
                super::$test(&super::SledStore::open(folder.path()).unwrap());
            })*
        }
    };
}

suite!(
    a_commit_puts_and_deletes,
    pages_are_ordered_and_end_with_their_prefix,
    the_last_record_before_a_key_is_found,
    every_record_is_visited_once,
    large_values_come_and_go_whole,
    a_large_value_is_read_whole_while_it_is_written
);

#[test]
fn what_was_committed_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    {
        let store = SledStore::open(folder.path()).unwrap();
        store.commit(vec![put("a", "1")]).unwrap();
    }
    let store = SledStore::open(folder.path()).unwrap();
    assert_eq!(store.get(b"a").unwrap().as_deref(), Some(b"1".as_slice()));
    assert!(store.free_bytes().unwrap() > 0);
}
