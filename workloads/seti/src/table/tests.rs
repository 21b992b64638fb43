//! The table of the reference unit.

use super::*;
use crate::header::Header;
use crate::tests::reference_unit;

fn setup() -> Option<Setup> {
    Some(Header::read(&reference_unit()?).unwrap().setup)
}

#[test]
fn constants_are_those_of_the_reference_unit() {
    let Some(setup) = setup() else { return };
    let derived = Derived::new(&setup);
    assert_eq!(derived.beam, 0.100_076_093_908_802_55);
    assert_eq!(derived.duration, 107.374_237_375_609_52);
    assert!(derived.moving);
    assert_eq!((derived.gauss_max, derived.pulse_min, derived.pulse_max), (16384, 4, 8192));
    assert_eq!((derived.triplet_longest, derived.triplet_min, derived.spike_min), (65536, 25, 22));
    assert_eq!((derived.sigma, derived.beam_rate), (3.509_545_6, 0.072_122_58));
    assert_eq!(derived.pulse_longest, 4096);
}

#[test]
fn the_table_has_the_pairs_of_the_original() {
    let Some(setup) = setup() else { return };
    let table = Table::new(&setup);
    assert_eq!(table.step, 0.001_848_519_443_115_522_9);
    assert_eq!(table.pairs.len(), 58365);
    let check = |index: usize, chirp, length| {
        assert_eq!(
            (table.pairs[index].chirp, table.pairs[index].length),
            (chirp, length),
            "{index}"
        );
    };
    (0..15).for_each(|index| check(index, 0, 8 << index));
    for (index, chirp, length) in [
        (15, 1, 131_072),
        (16, -1, 131_072),
        (21, 4, 16384),
        (1805, 496, 128),
        (2098, 573, 131_072),
        (4432, 1212, 65536),
        (8685, -2374, 16384),
        (58364, -27046, 16384),
    ] {
        check(index, chirp, length);
    }
    assert_eq!(table.rate(table.pairs[58364]), -49.995_056_858_502_43);
    let count = |test: &dyn Fn(&Pair) -> bool| table.pairs.iter().filter(|pair| test(pair)).count();
    let pairs = [7, 13, 27, 55, 109, 219, 437, 873, 1747, 3493, 6985, 13971, 3381, 5409, 21639];
    let pulses = [3, 7, 13, 27, 55, 109, 219, 437, 873, 1747, 0, 0, 0, 0, 0];
    for (log, (pairs, pulses)) in pairs.into_iter().zip(pulses).enumerate() {
        let length = 8 << log;
        assert_eq!(count(&|pair| pair.length == length), pairs, "{length}");
        assert_eq!(count(&|pair| pair.length == length && pair.pulses), pulses, "{length}");
    }
    let mut chirps: Vec<i32> = table.pairs.iter().map(|pair| pair.chirp).collect();
    chirps.dedup();
    assert_eq!(chirps.len(), 31523);
}

#[test]
fn shares_cut_the_table_without_gap_and_chirp_0_not_at_all() {
    let Some(setup) = setup() else { return };
    let table = Table::new(&setup);
    for pieces in [1, 7, 60, 999] {
        let at = |piece: u64| piece * SHARES / pieces;
        let ranges: Vec<_> =
            (0..pieces).map(|piece| table.share(at(piece), at(piece + 1))).collect();
        assert_eq!((ranges[0].start, ranges.last().unwrap().end), (0, table.pairs.len()));
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
            let cut = pair[0].end;
            assert!(cut == 0 || cut == table.pairs.len() || table.pairs[cut].chirp != 0);
        }
        if pieces == 60 {
            let cost = |range: &Range<usize>| {
                table.cost_before(range.end) - table.cost_before(range.start)
            };
            let (least, most) =
                (ranges.iter().map(cost).min().unwrap(), ranges.iter().map(cost).max().unwrap());
            // A pair of the shortest length with its pulses is the largest piece that is never cut.
            assert!(most < least + least / 2, "{least} {most}");
        }
    }
}
