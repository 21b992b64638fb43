//! How long a start counts: records of so many bytes are written to sled, which is opened again and counted.
//! `cargo bench -p coordinator --bench tally -- [RECORDS] [BYTES] [FOLDER]`
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement, run by hand")]

use coordinator::store::{Store, sled::SledStore};
use coordinator::tally::Tally;
use proto::{Digest, ProjectKey};
use std::time::Instant;

/// Records in one commit while the store is filled.
const COMMIT_RECORDS: u64 = 10_000;

fn main() {
    // Cargo adds a flag of its own.
    let given: Vec<String> = std::env::args().filter(|text| text != "--bench").collect();
    let argument =
        |index: usize, default: u64| given.get(index).map_or(default, |text| text.parse().unwrap());
    let (records, bytes) = (argument(1, 1_000_000), argument(2, 200));
    let folder = given.get(3).map_or(".", String::as_str);
    let folder = std::path::Path::new(&folder).join(format!("tally-bench-{}", std::process::id()));
    let store = SledStore::open(&folder).unwrap();
    for first in (0..records).step_by(usize::try_from(COMMIT_RECORDS).unwrap()) {
        let record = |number: u64| {
            let digest = Digest::of(&number.to_le_bytes());
            let value = digest.0.iter().copied().cycle().take(usize::try_from(bytes).unwrap());
            let key = [b"r".as_slice(), &number.to_be_bytes()].concat();
            (key, Some(value.collect::<Vec<u8>>()))
        };
        store.commit((first..records.min(first + COMMIT_RECORDS)).map(record).collect()).unwrap();
    }
    drop(store);
    let start = Instant::now();
    let store = SledStore::open(&folder).unwrap();
    let opened = start.elapsed();
    let tally = Tally::of_nothing(ProjectKey([0; 32]), Digest([0; 32])).counted(&store).unwrap();
    let counted = start.elapsed() - opened;
    assert_eq!(tally.records, records);
    println!(
        "{records} records of {bytes} bytes: opened in {:.2} s, counted in {:.2} s",
        opened.as_secs_f64(),
        counted.as_secs_f64()
    );
    drop(store);
    std::fs::remove_dir_all(folder).unwrap();
}
