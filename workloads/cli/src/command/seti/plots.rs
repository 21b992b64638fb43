//! `starling seti plots`: one picture for each signal, one of all, and a page that shows them.

use super::draw::{self, Panel};
use super::{page, read, records};
use crate::args::SetiPlots;
use crate::command::Context;
use crate::command::view::counted;
use crate::error::Error;
use ::seti::{Record, View};
use serde_json::json;
use std::fs;
use std::path::Path;

/// Most signals that are drawn: a result that overflows has no more, and a page of more is no page.
const SIGNALS_MAX: usize = 200;
/// Bins to either side of a signal's.
const REACH: usize = 24;
/// Rows of a waterfall.
const ROWS: usize = 80;
/// Delays to either side of an echo's, samples.
const DELAYS: usize = 120;

/// A picture on the page.
#[derive(Debug)]
pub(in crate::command) struct Picture {
    /// Its name, in the folder of the page.
    pub(super) file: String,
    /// What it shows.
    pub(super) title: String,
}

pub(super) fn run(args: &SetiPlots, context: &Context) -> Result<(), Error> {
    let view = View::new(&read(&args.unit)?)
        .map_err(|error| Error::Failed(format!("{}: {error}", args.unit.display())))?;
    let records = drawable(records(&args.result)?);
    let pictures = draw_all(&view, &records, &args.to)?;
    let answer = json!({
        "page": args.to.join("index.html"), "signals": records.len(),
        "pictures": pictures.iter().map(|picture| args.to.join(&picture.file)).collect::<Vec<_>>(),
    });
    context.output.answer(&answer, || {
        format!(
            "{} of {}: {}",
            counted(pictures.len() as u64, "picture"),
            counted(records.len() as u64, "signal"),
            args.to.join("index.html").display()
        )
    })?;
    Ok(())
}

/// The signals of a result without what stands for none.
pub(in crate::command) fn drawable(mut records: Vec<Record>) -> Vec<Record> {
    records.retain(|record| !record.is_none());
    records
}

/// Draws everything into a folder.
pub(in crate::command) fn draw_all(
    view: &View,
    records: &[Record],
    folder: &Path,
) -> Result<Vec<Picture>, Error> {
    fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
    let mut pictures = vec![Picture {
        file: "signals.svg".to_owned(),
        title: "all signals over frequency and drift".to_owned(),
    }];
    draw::overview(&folder.join("signals.svg"), view, records).map_err(Error::Failed)?;
    for (index, record) in records.iter().take(SIGNALS_MAX).enumerate() {
        let file = format!("{:03}-{}.svg", index + 1, record.kind);
        let title = title(index + 1, record);
        let panels = panels(view, record);
        draw::signal(&folder.join(&file), &title, &panels).map_err(Error::Failed)?;
        pictures.push(Picture { file, title });
    }
    let html = folder.join("index.html");
    fs::write(&html, page::html(&pictures, records.len())).map_err(Error::file("write", &html))?;
    Ok(pictures)
}

fn title(number: usize, record: &Record) -> String {
    let rest = match record.kind.trim_start_matches("best_") {
        "autocorr" => format!(", delay {:.4} s", record.number("delay")),
        "pulse" => format!(
            ", period {:.4} s, score {:.4}",
            record.number("period"),
            record.number("snr") / record.number("thresh").max(f64::MIN_POSITIVE)
        ),
        "triplet" => format!(", period {:.4} s", record.number("period")),
        "gaussian" => format!(
            ", fit {:.3}, no signal {:.3}",
            record.number("chisqr"),
            record.number("null_chisqr")
        ),
        _ => String::new(),
    };
    format!(
        "{number}: {}, power {:.2}, {:.2} Hz, {:.4} Hz/s{rest}",
        record.kind.replace('_', " "),
        record.number("peak_power"),
        record.number("detection_freq"),
        record.number("chirp_rate")
    )
}

/// What is drawn of a signal.
fn panels(view: &View, record: &Record) -> Vec<Panel> {
    let seconds = (record.number("time") - view.setup.time_recorded_jd) * 86400.0;
    let length = length(record);
    let period = record.number("period");
    let kind = record.kind.trim_start_matches("best_");
    let span = match kind {
        "triplet" => (seconds - 2.0 * period)..(seconds + 2.0 * period),
        "pulse" => (seconds - 4.0 * period)..(seconds + 4.0 * period),
        _ => 0.0..view.seconds(),
    };
    let span = span.start.max(0.0)..span.end.min(view.seconds());
    let place = (record.number("freq"), record.number("chirp_rate"));
    // An echo is in the whole band: its spectrogram is of short spectra, so that the band fits.
    let shown = if kind == "autocorr" { 64 } else { length };
    let waterfall = view.waterfall(place, shown, span.clone(), REACH, ROWS);
    let mut panels: Vec<Panel> =
        waterfall.map(|waterfall| Panel::Waterfall(waterfall, seconds)).into_iter().collect();
    match kind {
        "spike" => {
            let at = seconds..seconds + 1e-9;
            panels.extend(view.waterfall(place, length, at, REACH, 1).map(Panel::Spectrum));
        }
        "autocorr" => {
            let delay = record.number("delay");
            let scale = record.number("peak_power");
            let points = view.delays(place.1, seconds, delay, DELAYS);
            let points = points.into_iter().map(|(delay, part)| (delay, part * scale)).collect();
            panels.push(Panel::Delays(points, delay));
        }
        "gaussian" => panels.push(gaussian(view, record, seconds)),
        "pulse" => panels.push(pulse(record)),
        "triplet" => {
            let column = view.waterfall(place, length, span, 0, 400);
            let marks = [-1.0, 0.0, 1.0].map(|turn| seconds + turn * period).to_vec();
            panels.extend(column.map(|column| Panel::Column(column, marks)));
        }
        _ => {}
    }
    panels
}

/// The FFT length of a signal; 0 for what is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and what is no length of the unit is not drawn"
)]
fn length(record: &Record) -> usize {
    record.number("fft_len") as usize
}

/// Points over the mean, and the Gaussian that was fitted to them.
#[expect(clippy::cast_precision_loss, reason = "a few points of a picture")]
fn gaussian(view: &View, record: &Record, seconds: f64) -> Panel {
    let (count, sigma) = (record.pot.len() as f64, f64::from(view.sigma()));
    let scale = record.number("max_power") / 255.0;
    let points: Vec<(f64, f64)> = record
        .pot
        .iter()
        .enumerate()
        .map(|(index, level)| {
            ((index as f64 + 0.5) * view.seconds() / count.max(1.0), f64::from(*level) * scale)
        })
        .collect();
    let (peak, mean) = (record.number("peak_power"), record.number("mean_power"));
    let fit = (0..=400).map(|step| {
        let at = f64::from(step) * view.seconds() / 400.0;
        let off = (at - seconds) * count / view.seconds();
        (at, mean + peak * (-0.693 * off * off / (sigma * sigma)).exp())
    });
    Panel::Profile {
        x: "seconds",
        y: "power over the mean",
        points,
        fit: fit.collect(),
        level: None,
    }
}

/// The folded profile over the mean, which is taken for 1, and what a report needs.
#[expect(clippy::cast_precision_loss, reason = "a few points of a picture")]
fn pulse(record: &Record) -> Panel {
    let (power, period) = (record.number("peak_power"), record.number("period"));
    let mean = record.pot.iter().map(|level| f64::from(*level)).sum::<f64>()
        / (record.pot.len() as f64).max(1.0);
    let height = |level: u8| 1.0 + (f64::from(level) - mean) * power / (255.0 - mean).max(1.0);
    let count = record.pot.len() as f64;
    // Two turns, so that a pulse at the edge is seen whole.
    let twice = record.pot.iter().chain(&record.pot).enumerate();
    let points =
        twice.map(|(index, level)| ((index as f64 + 0.5) * period / count, height(*level)));
    let snr = record.number("snr");
    let needed = if 0.0 < snr { 1.0 + power * record.number("thresh") / snr } else { 1.0 };
    Panel::Profile {
        x: "seconds (two periods)",
        y: "folded power over the mean",
        points: points.collect(),
        fit: vec![(0.0, 1.0), (2.0 * period, 1.0)],
        level: Some(needed),
    }
}
