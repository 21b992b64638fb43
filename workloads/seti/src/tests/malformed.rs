//! Whatever stands in a file, reading it ends soon, in something within bounds or an error that says what is wrong.

use crate::{Header, Output, Recipe, Samples, Search, Table, read_result};
use proptest::prelude::*;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A small unit; what is done to it takes little time.
static UNIT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let recipe = Recipe { chirp_limits: [0.0, 0.0], ..Recipe::showcase(1, 1 << 14) };
    recipe.unit().unwrap()
});
static RESULT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut search = Search::new(&UNIT, |table| 0..table.pairs.len()).unwrap();
    while search.step(u64::MAX) {}
    search.finish().to_bytes()
});
/// Far more than reading takes, even of a unit with the longest table.
const SOON: Duration = Duration::from_secs(10);

/// Reads it as a work unit and as a result.
fn read(bytes: &[u8]) {
    let begun = Instant::now();
    if let Ok(header) = Header::read(bytes) {
        let table = Table::new(&header.setup);
        assert!(table.pairs.len() < 1_000_000);
        if let Ok(samples) = Samples::read(bytes, &header.setup) {
            assert_eq!(samples.re.len(), header.setup.nsamples);
            let finite = |part: &[f32]| part.iter().all(|value| value.is_finite());
            assert!(finite(&samples.re) && finite(&samples.im));
        }
    }
    let _ = read_result(bytes);
    let _ = Output::from_bytes(bytes);
    assert!(begun.elapsed() < SOON);
}

/// The leaves of the header that hold numbers which the search uses.
const FIELDS: [&str; 30] = [
    "nsamples",
    "true_angle_range",
    "time_recorded_jd",
    "beam_width",
    "center_freq",
    "ifft_len",
    "wu_bits_per_sample",
    "spike_thresh",
    "autocorr_thresh",
    "autocorr_fftlen",
    "gauss_null_chi_sq_thresh",
    "gauss_chi_sq_thresh",
    "gauss_power_thresh",
    "gauss_peak_power_thresh",
    "gauss_pot_length",
    "pulse_thresh",
    "pulse_display_thresh",
    "pulse_max",
    "pulse_min",
    "pulse_fft_max",
    "triplet_thresh",
    "triplet_min",
    "pot_overlap_factor",
    "pot_t_offset",
    "pot_min_slew",
    "chirp_resolution",
    "analysis_fft_lengths",
    "bsmooth_chunk_size",
    "max_signals",
    "sample_rate",
];

/// The unit with another text in a field, and none of it when there is no text.
fn with(field: &str, text: Option<&str>) -> Vec<u8> {
    let unit = String::from_utf8(UNIT.clone()).unwrap();
    // Names stand in other parts of the header too; the search's own values are the last.
    let at = unit.rfind(&format!("<{field}>")).unwrap();
    let end = at + unit[at..].find(&format!("</{field}>")).unwrap();
    let leaf = text.map_or(String::new(), |text| format!("<{field}>{text}</{field}>"));
    [&unit[..at], &leaf, &unit[end + field.len() + 3..]].concat().into_bytes()
}

#[test]
fn a_missing_or_absurd_field_is_named() {
    for field in FIELDS {
        for text in
            [None, Some(""), Some("NaN"), Some("-1"), Some("1e300"), Some("99999999999999999999")]
        {
            let unit = with(field, text);
            let Err(error) = Header::read(&unit) else { panic!("{field} {text:?} is taken") };
            assert!(error.to_string().contains(field), "{field} {text:?}: {error}");
            assert!(Search::new(&unit, |table| 0..table.pairs.len()).is_err());
        }
    }
}

#[test]
fn truncated_data_are_an_error() {
    for keep in [0, 1, 100, 5000, UNIT.len() / 2, UNIT.len() - 100] {
        let error = Search::new(&UNIT[..keep], |table| 0..table.pairs.len()).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_that_changed_are_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        result in any::<bool>(),
    ) {
        let mut bytes = if result { RESULT.clone() } else { UNIT.clone() };
        // Where something is decided: not in the middle of the data.
        let head = bytes.len().min(12_000);
        for (index, byte) in changes {
            let at = index.index(head);
            bytes[at] = byte;
        }
        read(&bytes);
    }

    #[test]
    fn a_file_that_is_cut_short_is_read_or_refused(keep in any::<prop::sample::Index>(), result in any::<bool>()) {
        let bytes: &[u8] = if result { &RESULT } else { &UNIT };
        read(&bytes[..keep.index(bytes.len())]);
    }

    #[test]
    fn any_number_in_a_field_is_taken_or_refused(
        field in prop::sample::select(&FIELDS[..]),
        number in prop_oneof![any::<f64>().prop_map(|v| v.to_string()), any::<i64>().prop_map(|v| v.to_string()),
            (0u32..64).prop_map(|log| 2f64.powi(i32::try_from(log).unwrap()).to_string())],
    ) {
        read(&with(field, Some(&number)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        read(&bytes);
    }
}
