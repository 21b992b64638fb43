//! Whole searches, against the reference result.

use super::*;
use crate::result::{Record, fields, read};
use crate::signal::Signal;
use crate::tests::{reference_result, reference_unit};

fn whole(unit: &[u8]) -> Vec<Record> {
    let mut search = Search::new(unit, |table| 0..table.pairs.len()).unwrap();
    while search.step(u64::MAX) {}
    let Output::Result(result) = search.finish() else { panic!("the whole table gives a result") };
    read(&result).unwrap()
}

/// The reference unit with other limits of its two ranges of drift.
fn unit(limits: [f64; 2]) -> Option<Vec<u8>> {
    let unit = String::from_utf8(reference_unit()?).unwrap();
    let unit = unit.replacen("<chirp_limit>20.0<", &format!("<chirp_limit>{}<", limits[0]), 1);
    let unit = unit.replacen("<chirp_limit>50.0<", &format!("<chirp_limit>{}<", limits[1]), 1);
    Some(unit.into_bytes())
}

#[track_caller]
fn near(record: &Record, field: &str, expected: f64, tolerance: f64) {
    let got = record.number(field);
    assert!(
        (got / expected - 1.0).abs() < tolerance,
        "{} {field}: {got} instead of {expected}",
        record.kind
    );
}

#[test]
fn the_short_unit_gives_what_the_original_gives() {
    let (Some(unit), Some(result)) = (unit([1.0, 2.0]), reference_result()) else { return };
    let records = whole(&unit);
    let kinds: Vec<_> = records.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["triplet", "best_spike", "best_autocorr", "best_gaussian", "best_pulse", "best_triplet"]
    );
    let expected = &read(result.as_bytes()).unwrap()[0];
    for (field, value) in &expected.numbers {
        if field.ends_with("_power") {
            near(&records[0], field, *value, 2e-6)
        } else {
            assert_eq!(records[0].number(field), *value, "{field}")
        }
    }
    let [_, spike, autocorr, gaussian, pulse, triplet] = &records[..] else { panic!() };
    assert_eq!(
        (spike.number("chirp_rate"), spike.number("fft_len")),
        (-0.619_254_013_443_7, 131_072.0)
    );
    assert_eq!(spike.number("freq"), 1_418_924_205.070_5);
    near(spike, "peak_power", 20.849_77, 2e-6);
    assert_eq!(
        (autocorr.number("chirp_rate"), autocorr.number("delay")),
        (0.255_095_683_149_94, 4.166_350_933_171_7)
    );
    near(autocorr, "peak_power", 14.425_17, 2e-6);
    assert_eq!(gaussian.number("chirp_rate"), -0.909_471_566_012_84);
    for (field, value, tolerance) in [
        ("peak_power", 2.563_946, 2e-6),
        ("mean_power", 0.597_729, 2e-6),
        ("chisqr", 1.399_262, 5e-5),
        ("null_chisqr", 1.944_088, 5e-5),
    ] {
        near(gaussian, field, value, tolerance);
    }
    assert_eq!(
        (pulse.number("chirp_rate"), pulse.number("fft_len")),
        (-0.916_865_643_785_3, 512.0)
    );
    assert_eq!(pulse.number("period"), 2.411_725_997_924_8);
    for (field, value) in [("peak_power", 5.381_051), ("snr", 12.032_396), ("thresh", 13.411_276)] {
        near(pulse, field, value, 2e-6);
    }
    assert_eq!(triplet.numbers, records[0].numbers);
}

/// Positions in the table of the reference result's signals (section 24 of the specification), once each.
const PLACES: [usize; 18] = [
    1805, 2098, 2105, 4647, 5447, 5561, 7770, 7788, 7796, 7802, 7808, 10464, 10467, 26222, 34966,
    46560, 51585, 58015,
];
/// That of its best pulse, which is no signal.
const BEST_PULSE: usize = 46273;

/// The full unit takes minutes; its signals are where they must be, and nothing else is there.
#[test]
fn at_the_places_of_the_reference_signals_are_exactly_these() {
    let (Some(unit), Some(result)) = (reference_unit(), reference_result()) else { return };
    let records = read(result.as_bytes()).unwrap();
    let part = |place: usize| {
        let mut search = Search::new(&unit, |_| place..place + 1).unwrap();
        while search.step(1) {}
        search.part().clone()
    };
    let check = |signal: &Signal, record: &Record| {
        for (field, value) in fields(signal) {
            let expected = record.number(field);
            match field {
                "score" => {}
                "peak_power" | "mean_power" | "max_power" | "snr" | "thresh" => {
                    near(record, field, value, 2e-6);
                }
                "chisqr" | "null_chisqr" => near(record, field, value, 5e-5),
                _ => assert_eq!(
                    crate::number::print(value).parse::<f64>().unwrap(),
                    expected,
                    "{} {field}",
                    record.kind
                ),
            }
        }
    };
    let found: Vec<Signal> = PLACES.iter().flat_map(|&place| part(place).signals).collect();
    assert_eq!(found.len(), 22);
    for (signal, record) in found.iter().zip(&records) {
        assert_eq!(signal.shape.name(), record.kind);
        check(signal, record);
    }
    let best = part(BEST_PULSE).best_pulse.unwrap().signal;
    let record = records.iter().find(|record| record.kind == "best_pulse").unwrap();
    check(&best, record);
}
