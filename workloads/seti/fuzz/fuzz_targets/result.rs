//! Any bytes as two results: an error, or a comparison that does not depend on their order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seti::{compare, read_result};

fuzz_target!(|bytes: &[u8]| {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    if let Ok(records) = read_result(bytes) {
        assert_eq!(compare(&records, &records).similarity, seti::Similarity::Strong);
    }
    if let (Ok(first), Ok(second)) = (read_result(first), read_result(second)) {
        assert_eq!(compare(&first, &second).similarity, compare(&second, &first).similarity);
    }
});
