//! What headers say beside the usual: nothing of it is passed over, left out or interpreted without a word.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the samples made here are small"
)]

use super::failure;
use super::made::{filterbank, header, noise};
use crate::{HeaderError, Pulsar, Recording, RecordingError, check};
use starling_sdk::native::run;
use std::io::Cursor;

const CHANNELS: usize = 8;

fn integer(value: i32) -> Option<Vec<u8>> {
    Some(value.to_le_bytes().to_vec())
}

fn open(file: Vec<u8>) -> Recording<Cursor<Vec<u8>>> {
    Recording::open(Cursor::new(file)).unwrap()
}

/// The usual header with more in it, and samples of noise.
fn noisy(more: &[(&str, Option<Vec<u8>>)], samples: usize) -> Vec<u8> {
    let values = (0..samples * CHANNELS).map(|at| (noise(at as u64) * 255.0) as u8);
    header(more).into_iter().chain(values).collect()
}

#[test]
fn unknown_keywords_are_passed_and_told() {
    let usual = open(noisy(&[], 200)).dedisperse(10.0).unwrap();
    let text =
        |text: &str| [&u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat();
    for (value, size) in [
        (vec![], 0),
        (vec![7], 1),
        (7_i32.to_le_bytes().to_vec(), 4),
        (7.5_f64.to_le_bytes().to_vec(), 8),
        (text("any text at all"), 19),
        ([7_i32.to_le_bytes().as_slice(), &text("another"), &7.5_f64.to_le_bytes()].concat(), 23),
    ] {
        let mut recording = open(noisy(&[("start_sample", Some(value))], 200));
        let expected =
            format!("the keyword \"start_sample\" is not known here: {size} bytes behind it");
        assert!(recording.warnings()[0].starts_with(&expected), "{:?}", recording.warnings());
        assert_eq!(recording.dedisperse(10.0).unwrap(), usual);
    }
    let endless = noisy(&[("start_sample", Some(vec![0; 20_000]))], 200);
    let error = Recording::open(Cursor::new(endless)).unwrap_err();
    assert!(matches!(error, RecordingError::Header(HeaderError::Keyword(_))), "{error}");
}

#[test]
fn a_big_endian_header_is_told_as_such() {
    let mut file = noisy(&[], 200);
    file[..4].reverse();
    assert!(failure(r#"{"dm":1.0}"#, &[&file]).contains("big-endian"));
}

#[test]
fn polarisations_are_summed() {
    let rows = |polarisations: usize| -> Vec<f32> {
        (0..200 * CHANNELS * polarisations).map(|at| noise(at as u64) as f32).collect()
    };
    for polarisations in [2, 4_usize] {
        let values = rows(polarisations);
        let nifs = integer(i32::try_from(polarisations).unwrap());
        let float = |values: &[f32], nifs| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            header(&[("nbits", integer(32)), ("nifs", nifs)]).into_iter().chain(bytes).collect()
        };
        let summed: Vec<f32> = values
            .chunks(CHANNELS * polarisations)
            .flat_map(|row| (0..CHANNELS).map(|channel| row[channel] + row[CHANNELS + channel]))
            .collect();
        let mut recording = open(float(&values, nifs));
        assert_eq!(recording.sample_count(), 200);
        assert!(recording.warnings()[0].contains("polarisations (nifs)"));
        let expected = open(float(&summed, integer(1))).dedisperse(30.0).unwrap();
        assert_eq!(recording.dedisperse(30.0).unwrap(), expected);
    }
}

#[test]
fn the_number_of_samples_in_the_header_counts() {
    let expected = open(noisy(&[], 150)).dedisperse(10.0).unwrap();
    let mut fewer = open(noisy(&[("nsamples", integer(150))], 200));
    assert_eq!(fewer.dedisperse(10.0).unwrap(), expected);
    assert!(fewer.warnings()[0].contains("the first 150 are used"));
    let cut_short = open(noisy(&[("nsamples", integer(250))], 200));
    assert_eq!(cut_short.sample_count(), 200);
    assert!(cut_short.warnings()[0].contains("it is cut short"));
    for unsaid in [0, -1, 200] {
        let recording = open(noisy(&[("nsamples", integer(unsaid))], 200));
        assert_eq!((recording.sample_count(), recording.warnings().len()), (200, 0));
    }
    let mut partial = noisy(&[], 200);
    partial.truncate(partial.len() - 3);
    let partial = open(partial);
    assert_eq!(partial.sample_count(), 199);
    assert!(partial.warnings()[0].contains("the last 5 bytes are less than a whole sample"));
}

/// A filterbank whose channels are not evenly spaced, with a pulse at a dispersion measure of 40.
fn uneven(with_table: bool) -> Vec<u8> {
    const MHZ: [f64; CHANNELS] = [1500.0, 1490.0, 1300.0, 1290.0, 1200.0, 1190.0, 1100.0, 1090.0];
    let mut table = Vec::new();
    for mhz in MHZ {
        table.extend(8_u32.to_le_bytes());
        table.extend(b"fchannel");
        table.extend(mhz.to_le_bytes());
    }
    let table = with_table.then_some(table);
    let mut file = header(&[
        ("FREQUENCY_START", table.clone()),
        ("FREQUENCY_END", table.map(|_| Vec::new())),
        ("foff", Some((-410.0_f64 / 7.0).to_le_bytes().to_vec())),
    ]);
    for sample in 0..20_000_u64 {
        for (channel, mhz) in MHZ.iter().enumerate() {
            let delay = 4.148_808e3 * 40.0 * (1.0 / (mhz * mhz) - 1.0 / (1500.0 * 1500.0)) / 0.001;
            let phase = ((sample as f64 - delay) / 91.3).rem_euclid(1.0);
            let pulse = if phase < 0.05 { 0.7 } else { 0.0 };
            file.push(((noise(sample * 8 + channel as u64) + pulse) / 2.0 * 255.0) as u8);
        }
    }
    file
}

#[test]
fn a_table_of_channel_frequencies_gives_the_right_dispersion() {
    let params = r#"{"dm":{"count":41,"start":20.0,"step":1.0}}"#;
    let best = |file: &[u8]| super::candidates(params, &[file]).swap_remove(0);
    let (tabled, even) = (best(&uneven(true)), best(&uneven(false)));
    assert!((tabled.dm - 40.0).abs() <= 2.0, "{tabled:?}");
    assert!(even.sigma < 0.8 * tabled.sigma, "{even:?} {tabled:?}");
}

#[test]
fn a_table_that_does_not_fit_is_refused() {
    let entry = |mhz: f64| [&8_u32.to_le_bytes()[..], b"fchannel", &mhz.to_le_bytes()].concat();
    let refused = |table: Vec<u8>| {
        let more = [("FREQUENCY_START", Some(table)), ("FREQUENCY_END", Some(Vec::new()))];
        failure(r#"{"dm":1.0}"#, &[&noisy(&more, 200)])
    };
    assert!(refused(entry(1400.0)).contains("1 frequencies for 8 channels"));
    assert!(refused(entry(-1.0).repeat(8)).contains("must be above 0"));
}

#[test]
fn a_dispersion_that_is_too_large_is_refused_before_the_first_is_computed() {
    let file = filterbank(8, 1_000, 91.3);
    let params = r#"{"dm":{"count":15000,"start":0.0,"step":1.0}}"#;
    let error = check(params, Cursor::new(&file)).unwrap_err().to_string();
    assert!(error.contains("delays the lowest channel"), "{error}");
    assert_eq!(failure(params, &[&file]), error);
    assert!(check(r#"{"dm":{"count":30,"start":0.0,"step":1.0}}"#, Cursor::new(&file)).is_ok());
}

#[test]
fn the_kernel_logs_what_it_interprets() {
    let file = noisy(&[("nsamples", integer(150)), ("start_sample", integer(1))], 200);
    let lines = run::<Pulsar>(r#"{"dm":1.0}"#, &[&file]).unwrap().log;
    assert_eq!(lines.len(), 2, "{lines:?}");
}
