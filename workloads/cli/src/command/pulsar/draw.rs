//! Draws a periodogram and a folded profile as SVG.
#![expect(clippy::cast_precision_loss, reason = "positions in a picture")]

use super::Signal;
use plotters::prelude::*;
use pulsar::Spectrum;
use std::path::Path;

const SIZE: (u32, u32) = (1000, 560);
const INK: RGBColor = RGBColor(31, 58, 95);
const MARK: RGBColor = RGBColor(214, 92, 47);
/// Harmonics that are in the picture.
const HARMONICS: u32 = 20;
/// Columns of the picture: of the powers in each, the largest is drawn.
const COLUMNS: usize = 1600;

/// Power against frequency, up to some harmonics of the signal.
pub(super) fn periodogram(path: &Path, spectrum: &Spectrum, signal: &Signal) -> Result<(), String> {
    let frequency = 1.0 / signal.period_s;
    let highest_hz = (frequency * (f64::from(HARMONICS) + 0.5))
        .min(spectrum.step_hz * spectrum.powers.len() as f64);
    let powers = columns(spectrum, highest_hz);
    let top = powers.iter().map(|(_, power)| *power).fold(1.0, f64::max) * 1.08;
    let sigma = signal.sigma.map_or_else(String::new, |sigma| format!(", {sigma:.1} sigma"));
    let title = format!(
        "{}: {frequency:.4} Hz (period {:.6} s), DM {}{sigma}",
        signal.source, signal.period_s, signal.dm
    );
    let harmonics = (1..=HARMONICS)
        .map(|harmonic| frequency * f64::from(harmonic))
        .filter(|hz| *hz < highest_hz);
    let marks: Vec<f64> = harmonics.collect();
    chart(
        path,
        &title,
        "frequency, Hz",
        "power, whitened (mean of noise: 1)",
        (0.0..highest_hz, 0.0..top),
        |chart| {
            chart.draw_series(
                marks.iter().map(|hz| PathElement::new([(*hz, 0.0), (*hz, top)], MARK.mix(0.25))),
            )?;
            chart.draw_series(LineSeries::new(powers.iter().copied(), &INK))?;
            Ok(())
        },
    )
}

/// The largest power of each column of the picture.
fn columns(spectrum: &Spectrum, highest_hz: f64) -> Vec<(f64, f64)> {
    let powers = spectrum
        .powers
        .iter()
        .enumerate()
        .map(|(at, power)| (at as f64 * spectrum.step_hz, f64::from(*power)));
    let powers: Vec<_> = powers.take_while(|(hz, _)| *hz <= highest_hz).collect();
    let largest = |column: &[(f64, f64)]| column.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    powers.chunks(powers.len().div_ceil(COLUMNS).max(1)).filter_map(largest).collect()
}

/// Two turns of the folded profile, in standard deviations from its mean.
pub(super) fn profile(path: &Path, profile: &[f64], signal: &Signal) -> Result<(), String> {
    let count = profile.len() as f64;
    let mean = profile.iter().sum::<f64>() / count;
    let deviation =
        (profile.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let scale = if 0.0 < deviation { deviation } else { 1.0 };
    let steps = profile.iter().chain(profile).enumerate().flat_map(|(bin, value)| {
        let value = (value - mean) / scale;
        [(bin as f64 / count, value), ((bin + 1) as f64 / count, value)]
    });
    let steps: Vec<(f64, f64)> = steps.collect();
    let low = steps.iter().map(|(_, value)| *value).fold(-1.0, f64::min) - 0.3;
    let high = steps.iter().map(|(_, value)| *value).fold(1.0, f64::max) + 0.3;
    let title = format!(
        "{}: folded at {:.6} s, DM {}, two turns",
        signal.source, signal.period_s, signal.dm
    );
    chart(
        path,
        &title,
        "phase, turns",
        "mean intensity, standard deviations",
        (0.0..2.0, low..high),
        |chart| {
            let area = [(0.0, low)].into_iter().chain(steps.iter().copied()).chain([(2.0, low)]);
            chart.draw_series([Polygon::new(area.collect::<Vec<_>>(), INK.mix(0.15).filled())])?;
            chart.draw_series(LineSeries::new(steps.iter().copied(), INK.stroke_width(2)))?;
            Ok(())
        },
    )
}

type Area<'a> = ChartContext<
    'a,
    SVGBackend<'a>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;
type Ranges = (std::ops::Range<f64>, std::ops::Range<f64>);
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn chart(
    path: &Path,
    title: &str,
    x: &str,
    y: &str,
    ranges: Ranges,
    series: impl FnOnce(&mut Area<'_>) -> Drawn,
) -> Result<(), String> {
    let draw = || -> Drawn {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut builder = ChartBuilder::on(&root);
        builder
            .caption(title, ("sans-serif", 22))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(64);
        let mut chart = builder.build_cartesian_2d(ranges.0, ranges.1)?;
        chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(TRANSPARENT).draw()?;
        series(&mut chart)?;
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| format!("could not draw {}: {error}", path.display()))
}
