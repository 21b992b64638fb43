//! Recordings made here: every number of bits, wrong headers, merges.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "samples are rounded down to their bits on purpose"
)]

use super::{candidates, failure, parse};
use crate::Pulsar;
use proptest::prelude::*;
use starling_sdk::native::run;
use std::fmt::Write as _;

/// A header with the usual keywords, of which some are replaced or, with `None`, left out.
pub(super) fn header(replaced: &[(&str, Option<Vec<u8>>)]) -> Vec<u8> {
    let integer = |value: i32| value.to_le_bytes().to_vec();
    let number = |value: f64| value.to_le_bytes().to_vec();
    let usual = [
        ("source_name", [integer(4), b"made".to_vec()].concat()),
        ("data_type", integer(1)),
        ("nchans", integer(8)),
        ("nbits", integer(8)),
        ("nifs", integer(1)),
        ("tstart", number(60_000.0)),
        ("tsamp", number(0.001)),
        ("fch1", number(1500.0)),
        ("foff", number(-10.0)),
    ];
    let mut bytes = Vec::new();
    let mut text = |text: &str| {
        bytes.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    text("HEADER_START");
    let mut all = Vec::new();
    for (name, value) in usual {
        let value = replaced
            .iter()
            .find(|(other, _)| *other == name)
            .map_or(Some(value), |(_, value)| value.clone());
        all.extend(value.map(|value| (name, value)));
    }
    let extra = replaced.iter().filter(|(name, _)| usual_names().iter().all(|usual| usual != name));
    all.extend(extra.filter_map(|(name, value)| Some((*name, value.clone()?))));
    for (name, value) in all {
        bytes.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(value);
    }
    bytes.extend(10_u32.to_le_bytes());
    bytes.extend(b"HEADER_END");
    bytes
}

fn usual_names() -> [&'static str; 9] {
    ["source_name", "data_type", "nchans", "nbits", "nifs", "tstart", "tsamp", "fch1", "foff"]
}

/// Noise between 0 and 1, the same at every run.
pub(super) fn noise(at: u64) -> f64 {
    let mut x = at.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D;
    for _ in 0..3 {
        x ^= x >> 29;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    }
    (x >> 11) as f64 / (1_u64 << 53) as f64
}

/// A filterbank of 8 channels with a pulse of 5 % every `period` samples at a dispersion measure of 40.
pub(super) fn filterbank(bits: u32, samples: u64, period: f64) -> Vec<u8> {
    let mut file = header(&[("nbits", Some(bits.to_le_bytes().to_vec()))]);
    let (mut byte, mut filled) = (0_u8, 0);
    for sample in 0..samples {
        for channel in 0..8_u32 {
            let mhz = 1500.0 - 10.0 * f64::from(channel);
            let delay = 4.148_808e3 * 40.0 * (1.0 / (mhz * mhz) - 1.0 / (1500.0 * 1500.0)) / 0.001;
            let phase = ((sample as f64 - delay) / period).rem_euclid(1.0);
            let level = (noise(sample * 8 + u64::from(channel))
                + if phase < 0.05 { 0.7 } else { 0.0 })
                / 2.0;
            match bits {
                32 => file.extend((level as f32).to_le_bytes()),
                16 => file.extend(((level * 65_535.0) as u16).to_le_bytes()),
                8 => file.push((level * 255.0) as u8),
                _ => {
                    byte |= ((level * f64::from(1_u32 << bits)) as u8) << filled;
                    filled += bits;
                    if filled == 8 {
                        file.push(byte);
                        (byte, filled) = (0, 0);
                    }
                }
            }
        }
    }
    file
}

#[test]
fn a_pulse_is_found_in_samples_of_any_number_of_bits() {
    for bits in [1, 2, 4, 8, 16, 32] {
        let file = filterbank(bits, 20_000, 91.3);
        let best = &candidates(r#"{"dm":{"count":9,"start":0.0,"step":10.0}}"#, &[&file])[0];
        assert!((best.period_s - 0.0913).abs() < 2e-5, "{bits} bits: {best:?}");
        assert!((best.dm - 40.0).abs() <= 10.0, "{bits} bits: {best:?}");
    }
}

#[test]
fn noise_alone_has_no_candidates() {
    let file = filterbank(8, 20_000, f64::INFINITY);
    assert!(candidates(r#"{"dm":{"count":5,"start":0.0,"step":10.0}}"#, &[&file]).is_empty());
}

#[test]
fn a_recording_of_equal_samples_has_no_candidates() {
    let file = [header(&[]), vec![7; 8 * 1000]].concat();
    assert!(candidates(r#"{"dm":20}"#, &[&file]).is_empty());
}

#[test]
fn the_output_is_the_golden_one() {
    let file = filterbank(8, 8_192, 91.3);
    let output = run::<Pulsar>(
        r#"{"dm":{"count":3,"start":30.0,"step":10.0},"max_candidates":3}"#,
        &[&file],
    )
    .unwrap();
    assert_eq!(String::from_utf8(output.output).unwrap(), include_str!("golden.jsonl"));
}

#[test]
fn a_merge_gives_the_same_bytes_in_any_grouping() {
    let file = filterbank(4, 20_000, 91.3);
    let other = filterbank(2, 16_000, 37.7);
    let unit = |file: &[u8], start: f64| {
        let params = format!(
            r#"{{"dm":{{"count":3,"start":{start:?},"step":5.0}},"max_candidates":12,"min_sigma":2.0}}"#
        );
        run::<Pulsar>(&params, &[file]).unwrap().output
    };
    let merge = |inputs: &[&[u8]]| {
        run::<Pulsar>(r#"{"max_candidates":12,"merge":{"level":1}}"#, inputs).unwrap().output
    };
    let [a, b, c, d] = [unit(&file, 0.0), unit(&file, 15.0), unit(&file, 30.0), unit(&other, 30.0)];
    let at_once = merge(&[&a, &b, &c, &d]);
    assert_eq!(parse(&at_once).len(), 12);
    assert_eq!(merge(&[&merge(&[&a, &b]), &merge(&[&c, &d])]), at_once);
    assert_eq!(merge(&[&d, &merge(&[&merge(&[&c, &a]), &b])]), at_once);
    assert_eq!(merge(&[&at_once]), at_once);
}

#[test]
fn harmonics_of_a_better_candidate_are_marked() {
    let found = candidates(r#"{"dm":40.0}"#, &[&filterbank(8, 30_000, 91.3)]);
    assert_eq!(found[0].harmonic_of, None);
    assert!(found.len() > 1);
    let mut independent = found[1..].iter().filter(|candidate| candidate.harmonic_of.is_none());
    assert!(independent.all(|candidate| candidate.sigma < found[0].sigma / 4.0), "{found:#?}");
}

#[test]
fn each_wrong_header_gets_its_reason() {
    let integer = |value: i32| Some(value.to_le_bytes().to_vec());
    let number = |value: f64| Some(value.to_le_bytes().to_vec());
    for (name, reason) in [("nbits", "no nbits"), ("tsamp", "no tsamp"), ("nchans", "no nchans")] {
        let error = failure("{}", &[&[header(&[(name, None)]), vec![0; 8000]].concat()]);
        assert!(error.contains(reason), "{error}");
    }
    let values = [
        ("nbits", integer(3), "nbits is 3"),
        ("nchans", integer(0), "nchans is 0"),
        ("nchans", integer(-1), "nchans is -1"),
        ("nifs", integer(3), "allowed are 1, 2 and 4"),
        ("data_type", integer(3), "a folded profile"),
        ("tsamp", number(0.0), "1 ns to 60 s"),
        ("tsamp", number(f64::NAN), "1 ns to 60 s"),
        ("foff", number(-300.0), "frequency above 0"),
        ("foff", number(0.0), "frequency above 0"),
    ];
    for (name, value, reason) in values {
        let error = failure("{}", &[&[header(&[(name, value)]), vec![0; 8000]].concat()]);
        assert!(error.contains(reason), "{name}: {error}");
    }
}

#[test]
fn each_wrong_unit_gets_its_reason() {
    let file = filterbank(8, 1_000, 91.3);
    let long =
        header(&[("rawdatafile", Some([81_u32.to_le_bytes().to_vec(), vec![b'x'; 81]].concat()))]);
    let nan = header(&[("nbits", Some(32_i32.to_le_bytes().to_vec()))]);
    let cases: [(&str, &[u8], &str); 12] = [
        ("{}", b"not a recording at all", "HEADER_START"),
        ("{}", &file[..40], "breaks off"),
        ("{}", &file[..400], "samples; it must have"),
        ("{}", &long, "a text of 81 bytes"),
        ("{}", &file, "cut the job along an axis dm"),
        (r#"{"dm":-1.0}"#, &file, "allowed are 0 to"),
        (r#"{"dm":20000.0}"#, &file, "delays the lowest channel"),
        (r#"{"dm":1.0,"period_min":0.0}"#, &file, "the recording allows"),
        (r#"{"dm":1.0,"min_sigma":0.0}"#, &file, "min_sigma"),
        (r#"{"dm":1.0,"max_candidates":0}"#, &file, "max_candidates"),
        (r#"{"dm":"high"}"#, &file, "do not fit this kernel"),
        (
            r#"{"dm":1.0}"#,
            &[nan, f32::NAN.to_le_bytes().repeat(8 * 100)].concat(),
            "infinite or not a number",
        ),
    ];
    for (params, input, reason) in cases {
        let error = failure(params, &[input]);
        assert!(error.contains(reason), "{params}: {error}");
    }
    assert!(failure("{}", &[]).contains("no input 0"));
    assert!(failure(r#"{"merge":{"level":1}}"#, &[b"{}\n"]).contains("no output of this kernel"));
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_result_or_a_reason(tail in prop::collection::vec(any::<u8>(), 0..300), flips in prop::collection::vec((0_usize..220, any::<u8>()), 0..4)) {
        let mut file = filterbank(8, 100, 20.0);
        for (at, value) in flips {
            file[at] = value;
        }
        file.extend(tail);
        let mut text = String::new();
        if let Err(error) = run::<Pulsar>(r#"{"dm":1.0}"#, &[&file]) {
            write!(text, "{error}").unwrap();
            prop_assert!(!text.is_empty());
        }
    }
}
