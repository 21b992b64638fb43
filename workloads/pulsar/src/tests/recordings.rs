//! Real and reference recordings, which lie outside the repository.

use super::candidates;
use crate::{Recording, Spectrum, fold};
use std::io::Cursor;
use std::io::Write as _;
use std::path::Path;

/// Period of the recording's pulsar in seconds, at which it folds into the sharpest pulse (the test below). The nearest
/// frequencies of a plain transform of the recording are 0.7 % apart.
const PERIOD_S: f64 = 0.163_717;

/// A recording beside the repository, or nothing, loudly.
fn recording(name: &str) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    std::fs::read(&path)
        .inspect_err(|error| {
            // Past the harness, which shows only what failing tests print.
            let _ = writeln!(
                std::io::stderr(),
                "\n*** NOT TESTED on {name}: {}: {error} ***\n",
                path.display()
            );
        })
        .ok()
}

#[test]
fn the_green_bank_observation_has_the_pulsar_j1807_0847() {
    let Some(file) = recording("GBT_J1807-0847.tim") else { return };
    let found = candidates("{}", &[&file]);
    let best = &found[0];
    assert!((best.period_s - PERIOD_S).abs() < 0.000_02, "{best:?}");
    assert!(best.sigma > 30.0, "{best:?}");
    assert_eq!((best.source.as_str(), best.harmonic_of), ("J1807-0847", None));
    assert!((best.dm - 112.380_2).abs() < 0.001);
    let independent = found.iter().filter(|candidate| candidate.harmonic_of.is_none());
    assert!(independent.skip(1).all(|candidate| candidate.sigma < best.sigma / 2.0), "{found:#?}");
}

#[test]
fn the_green_bank_observation_folds_into_a_pulse() {
    let Some(file) = recording("GBT_J1807-0847.tim") else { return };
    let samples = Recording::open(Cursor::new(file)).unwrap().dedisperse(0.0).unwrap();
    let contrast = |period| {
        let profile = fold(&samples, 163.84e-6, period, 32);
        let mean = profile.iter().sum::<f64>() / 32.0;
        profile.iter().map(|bin| bin - mean).fold(0.0, f64::max)
    };
    assert!(contrast(PERIOD_S) > 5.0 * contrast(0.171));
    assert!(
        contrast(PERIOD_S) > 1.05 * contrast(0.163_618),
        "{} {}",
        contrast(PERIOD_S),
        contrast(0.163_618)
    );
    let spectrum = Spectrum::new(&samples, 163.84e-6);
    let highest = (1..spectrum.powers.len())
        .max_by(|&a, &b| spectrum.powers[a].total_cmp(&spectrum.powers[b]));
    let hertz = f64::from(u32::try_from(highest.unwrap()).unwrap()) * spectrum.step_hz;
    let harmonic = hertz * PERIOD_S;
    assert!((harmonic - harmonic.round()).abs() < 0.01, "the highest power is at {hertz} Hz");
}

#[test]
fn the_tutorial_filterbank_has_its_pulsar_at_its_dispersion() {
    let Some(file) = recording("tutorial.fil") else { return };
    let found = candidates(r#"{"dm":{"count":13,"start":0.0,"step":5.0}}"#, &[&file]);
    let best = &found[0];
    assert!((best.period_s - 0.25).abs() < 0.000_1, "{best:?}");
    // 10 pc/cm3 delay the band by 1.8 ms from end to end, much less than the pulse lasts.
    assert!((best.dm - 30.0).abs() <= 5.0, "{best:?}");
}
