//! What is hidden is found, and in mere noise nothing.

use super::*;
use crate::{Output, Record, Search, read_result};

/// The results of a recipe: signals, and best signals.
fn search(plants: &[Plant], chirp_limits: [f64; 2]) -> Vec<Record> {
    let recipe = Recipe {
        seed: 7,
        nsamples: 1 << 17,
        chirp_limits,
        max_signals: 1000,
        plants: plants.to_vec(),
    };
    let mut search = Search::new(&recipe.unit().unwrap(), |table| 0..table.pairs.len()).unwrap();
    while search.step(u64::MAX) {}
    let Output::Result(result) = search.finish() else { panic!("the whole table gives a result") };
    read_result(&result).unwrap()
}

fn count(records: &[Record], kind: &str) -> usize {
    records.iter().filter(|record| record.kind == kind).count()
}

/// The strongest of a kind.
#[track_caller]
fn strongest<'a>(records: &'a [Record], kind: &str) -> &'a Record {
    let of_kind = records.iter().filter(|record| record.kind == kind);
    of_kind
        .max_by(|a, b| a.number("peak_power").total_cmp(&b.number("peak_power")))
        .expect("such a signal is found")
}

const BASE: f64 = 1_419_995_727.54;

#[test]
fn noise_gives_next_to_nothing() {
    let records = search(&[], [0.2, 0.4]);
    assert!(
        records.iter().all(|record| record.kind.starts_with("best_") || record.kind == "triplet")
    );
    // Three of a noise's powers in a row happen now and then; the other thresholds are passed once in 10,000 units.
    let triplets = count(&records, "triplet");
    assert!(triplets <= 2);
    assert_eq!(records.len() - triplets, 4 + triplets.min(1));
}

/// The original writes a best Gaussian of zeros where none was fitted, and of the other kinds only what there is.
#[test]
fn without_any_gaussian_the_best_one_is_written_as_zeros() {
    let recipe = Recipe {
        seed: 5,
        nsamples: 1 << 14,
        chirp_limits: [0.0, 0.0],
        max_signals: 1000,
        plants: Vec::new(),
    };
    let unit = String::from_utf8(recipe.unit().unwrap()).unwrap();
    let thresh = unit.find("<gauss_chi_sq_thresh>").unwrap();
    let end = thresh + unit[thresh..].find("</").unwrap();
    // No fit is as good as that.
    let unit = format!("{}<gauss_chi_sq_thresh>0.1{}", &unit[..thresh], &unit[end..]);
    let mut search = Search::new(unit.as_bytes(), |table| 0..table.pairs.len()).unwrap();
    while search.step(u64::MAX) {}
    let Output::Result(result) = search.finish() else { panic!("the whole table gives a result") };
    let records = read_result(&result).unwrap();
    let kinds: Vec<&str> = records.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(kinds, ["best_spike", "best_autocorr", "best_gaussian", "best_pulse"]);
    assert!(records[2].is_none() && records[2].numbers.values().all(|value| *value == 0.0));
    assert!([0, 1, 3].iter().all(|&index: &usize| !records[index].is_none()));
    let text = String::from_utf8(result).unwrap();
    let names = "peak_power mean_power time ra decl q_pix freq detection_freq barycentric_freq fft_len chirp_rate \
                 rfi_checked rfi_found reserved sigma chisqr null_chisqr score max_power";
    let zeros: String = names.split(' ').map(|name| format!("  <{name}>0</{name}>\n")).collect();
    assert!(
        text.contains(&format!("<best_gaussian>\n{zeros}</best_gaussian>\n<best_pulse>")),
        "{text}"
    );
}

/// With a threshold that noise often passes, it does so as often as it should: the powers of its bins fall off
/// exponentially.
#[test]
fn noise_passes_a_low_threshold_as_often_as_it_should() {
    const THRESH: f64 = 8.0;
    let recipe =
        Recipe { plants: Vec::new(), max_signals: 10_000, ..Recipe::showcase(11, 1 << 17) };
    let recipe = Recipe { chirp_limits: [0.0, 0.0], ..recipe };
    let unit = String::from_utf8(recipe.unit().unwrap()).unwrap();
    let unit = unit.replace("<spike_thresh>22<", &format!("<spike_thresh>{THRESH}<"));
    let mut search = Search::new(unit.as_bytes(), |table| 0..table.pairs.len()).unwrap();
    while search.step(u64::MAX) {}
    let Output::Result(result) = search.finish() else { panic!("the whole table gives a result") };
    let records = read_result(&result).unwrap();
    let mut all = 0.0;
    for length in (7..15).map(|log| 1usize << log) {
        let of_length = records
            .iter()
            .filter(|record| record.kind == "spike" && record.number("fft_len") == length as f64);
        // The largest bin of each spectrum passes unless none does.
        let spectra = (recipe.nsamples / length) as f64;
        let none = (1.0 - (-THRESH).exp()).powi(i32::try_from(length - 1).unwrap());
        let (expected, deviation) =
            (spectra * (1.0 - none), (spectra * (1.0 - none) * none).sqrt());
        let found = of_length.count() as f64;
        all += found;
        assert!(
            (found - expected).abs() <= 4.0 * deviation + 1.0,
            "{length}: {found} instead of {expected:.1}, give or take {deviation:.1}"
        );
    }
    assert!(100.0 < all, "too few to tell: {all}");
}

#[test]
fn a_tone_is_a_spike() {
    let tone =
        Plant::Tone { amplitude: 0.07, frequency: 300.0, drift: -0.11, begin: 40.2, end: 53.8 };
    let records = search(&[tone], [0.15, 0.15]);
    let spike = strongest(&records, "spike");
    assert!((spike.number("chirp_rate") + 0.11).abs() < 0.004, "{spike:?}");
    assert!((spike.number("freq") - BASE - 300.0).abs() < 0.3, "{spike:?}");
    assert!(
        (spike.number("time") - 2_451_545.0 - 47.0 / 86400.0).abs() < 7.0 / 86400.0,
        "{spike:?}"
    );
}

#[test]
fn a_passing_source_is_a_gaussian() {
    let source = Plant::Source { amplitude: 0.09, frequency: 250.0, drift: 0.13, at: 51.0 };
    let records = search(&[source], [0.15, 0.15]);
    let gaussian = strongest(&records, "gaussian");
    assert!((gaussian.number("chirp_rate") - 0.13).abs() < 0.06, "{gaussian:?}");
    assert!(
        (gaussian.number("detection_freq") - BASE - 250.0 - 0.13 * 51.0).abs() < 1.0,
        "{gaussian:?}"
    );
    assert!(
        (gaussian.number("time") - 2_451_545.0 - 51.0 / 86400.0).abs() < 3.0 / 86400.0,
        "{gaussian:?}"
    );
}

#[test]
fn a_train_is_a_pulse_and_three_of_it_are_a_triplet() {
    // One spectrum of 256 samples wide, 15 of them apart.
    let spectrum = 256.0 * 8.0 / 9765.625;
    let train = |amplitude, count| Plant::Pulses {
        amplitude,
        frequency: 32.0 / spectrum,
        drift: 0.0,
        begin: 136.0 * spectrum,
        period: 15.0 * spectrum,
        width: spectrum,
        count,
    };
    let records = search(&[train(0.3, 5)], [0.0, 0.0]);
    let pulse = strongest(&records, "pulse");
    assert!((pulse.number("period") - 15.0 * spectrum).abs() < 0.5 * spectrum, "{pulse:?}");
    let records = search(&[train(0.5, 3)], [0.0, 0.0]);
    let triplet = strongest(&records, "triplet");
    assert!((triplet.number("period") - 15.0 * spectrum).abs() < 2.0 * spectrum, "{triplet:?}");
    assert!((triplet.number("freq") - BASE - 32.0 / spectrum).abs() < 10.0, "{triplet:?}");
}

#[test]
fn an_echo_is_an_autocorrelation() {
    let records = search(&[Plant::Echo { amplitude: 0.08, delay: 3.1 }], [0.0, 0.0]);
    let echo = strongest(&records, "autocorr");
    assert!((echo.number("delay") - 3.1).abs() < 0.002, "{echo:?}");
}

/// All kinds in one unit, which the demo searches.
#[test]
fn all_that_a_showcase_hides_is_found() {
    for (seed, nsamples) in [(1, 1 << 16), (2, 1 << 17), (3, 1 << 17), (4, 1 << 18)] {
        let recipe = Recipe::showcase(seed, nsamples);
        let mut search =
            Search::new(&recipe.unit().unwrap(), |table| 0..table.pairs.len()).unwrap();
        while search.step(u64::MAX) {}
        let Output::Result(result) = search.finish() else { panic!() };
        let records = read_result(&result).unwrap();
        for plant in &recipe.plants {
            let found = records.iter().filter(|record| plant.shows_as(record)).count();
            assert!(0 < found, "{nsamples}: {plant:?} is not found");
        }
        // What is at another place is not taken for it.
        let elsewhere = |plant: &&Plant| records.iter().all(|record| !plant.shows_as(record));
        let others = [
            Plant::Tone { amplitude: 1.0, frequency: 20.0, drift: 0.1, begin: 5.0, end: 9.0 },
            Plant::Source { amplitude: 1.0, frequency: 20.0, drift: 0.1, at: 20.0 },
            Plant::Echo { amplitude: 1.0, delay: 5.0 },
        ];
        assert_eq!(others.iter().filter(elsewhere).count(), others.len(), "{nsamples}");
    }
}

#[test]
fn sizes_that_no_unit_can_have_are_refused() {
    let recipe = |nsamples| Recipe {
        seed: 1,
        nsamples,
        chirp_limits: [0.0, 0.0],
        max_signals: 30,
        plants: Vec::new(),
    };
    assert!(recipe(1 << 14).unit().is_ok());
    assert!(
        recipe(0).unit().is_err()
            && recipe(1000).unit().is_err()
            && recipe(1 << 21).unit().is_err()
    );
}
