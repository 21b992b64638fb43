//! Any bytes as the output of a unit: an error, or something that is written as it was read, and merges or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seti::Output;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(output) = Output::from_bytes(bytes) {
        let again = Output::from_bytes(&output.to_bytes()).expect("what was written can be read");
        assert_eq!(again.to_bytes(), output.to_bytes());
        let _ = Output::merge(vec![output, again]);
    }
});
