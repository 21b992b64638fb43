//! Any bytes as a work unit: an error that names a field, or a header, a table and samples within bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seti::{Header, Samples, Table};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = Header::read(bytes) {
        let again = Header::read(header.print().as_bytes()).expect("what was printed can be read");
        assert_eq!(again.setup, header.setup);
        assert!(Table::new(&header.setup).pairs.len() < 1_000_000);
        if let Ok(samples) = Samples::read(bytes, &header.setup) {
            assert_eq!((samples.re.len(), samples.im.len()), (header.setup.nsamples, header.setup.nsamples));
        }
    }
});
