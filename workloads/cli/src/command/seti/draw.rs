//! Draws waterfalls, profiles and the map of all signals as SVG.
#![expect(clippy::cast_precision_loss, reason = "positions in a picture")]

use ::seti::{Record, View, Waterfall};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (1100, 460);
const MAP_SIZE: (u32, u32) = (1100, 620);
const INK: RGBColor = RGBColor(31, 58, 95);
const MARK: RGBColor = RGBColor(214, 92, 47);
/// Shades of a waterfall: so few that neighbours often have the same and are drawn as one.
const SHADES: u8 = 20;
/// The kinds of signals, each with its colour.
const KINDS: [(&str, RGBColor); 5] = [
    ("spike", RGBColor(31, 58, 95)),
    ("autocorr", RGBColor(122, 82, 160)),
    ("gaussian", RGBColor(214, 92, 47)),
    ("pulse", RGBColor(34, 139, 87)),
    ("triplet", RGBColor(184, 134, 11)),
];

type Drawn = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One part of a signal's picture.
#[derive(Debug)]
pub(super) enum Panel {
    /// Around the signal, and when it is.
    Waterfall(Waterfall, f64),
    /// One spectrum around a spike.
    Spectrum(Waterfall),
    /// Power over time of one bin, and the times that count.
    Column(Waterfall, Vec<f64>),
    /// Squared autocorrelation over the delay, and the delay that was found.
    Delays(Vec<(f64, f64)>, f64),
    /// Points, a curve through them, and a level to reach.
    Profile {
        x: &'static str,
        y: &'static str,
        points: Vec<(f64, f64)>,
        fit: Vec<(f64, f64)>,
        level: Option<f64>,
    },
}

/// The picture of one signal, its panels side by side.
pub(super) fn signal(path: &Path, title: &str, panels: &[Panel]) -> Result<(), String> {
    let draw = || -> Drawn {
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let root = root.titled(title, ("sans-serif", 20).into_font().color(&BLACK))?;
        for (panel, area) in panels.iter().zip(root.split_evenly((1, panels.len().max(1)))) {
            panel.draw(&area)?;
        }
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| format!("could not draw {}: {error}", path.display()))
}

impl Panel {
    fn draw(&self, area: &Area<'_>) -> Drawn {
        match self {
            Self::Waterfall(waterfall, seconds) => draw_waterfall(area, waterfall, *seconds),
            Self::Spectrum(waterfall) => {
                let row = waterfall.rows.first().map_or(&[][..], Vec::as_slice);
                let points: Vec<(f64, f64)> = row
                    .iter()
                    .enumerate()
                    .map(|(bin, power)| (offset(waterfall, bin), f64::from(*power)))
                    .collect();
                curve(area, ("Hz from the signal", "power over the mean"), &points, &[0.0])
            }
            Self::Column(waterfall, marks) => {
                let points: Vec<(f64, f64)> = waterfall
                    .rows
                    .iter()
                    .enumerate()
                    .map(|(row, powers)| {
                        let at = waterfall.begin_s + (row as f64 + 0.5) * waterfall.row_s;
                        (at, f64::from(powers.first().copied().unwrap_or(0.0)))
                    })
                    .collect();
                curve(area, ("seconds", "power over the mean"), &points, marks)
            }
            Self::Delays(points, delay) => curve(
                area,
                ("delay, seconds", "squared correlation over the mean"),
                points,
                &[*delay],
            ),
            Self::Profile { x, y, points, fit, level } => {
                profile(area, (*x, *y), points, fit, *level)
            }
        }
    }
}

fn offset(waterfall: &Waterfall, bin: usize) -> f64 {
    (bin as f64 - waterfall.reach as f64) * waterfall.bin_hz
}

/// Time goes upwards, as on the screens of the time.
fn draw_waterfall(area: &Area<'_>, waterfall: &Waterfall, seconds: f64) -> Drawn {
    let half = waterfall.bin_hz / 2.0;
    let width = waterfall.reach as f64 * waterfall.bin_hz + half;
    let end = waterfall.begin_s + waterfall.rows.len() as f64 * waterfall.row_s;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(-width..width, waterfall.begin_s..end)?;
    let all = || waterfall.rows.iter().flatten().copied();
    let span = (all().fold(f32::INFINITY, f32::min), all().fold(0.0, f32::max));
    let cells = waterfall.rows.iter().enumerate().flat_map(|(row, powers)| {
        let low = waterfall.begin_s + row as f64 * waterfall.row_s;
        let shades: Vec<u8> = powers.iter().map(|power| shade(*power, span)).collect();
        let mut cells = Vec::new();
        let mut from = 0;
        for run in shades.chunk_by(|a, b| a == b) {
            let (left, right) =
                (offset(waterfall, from) - half, offset(waterfall, from + run.len()) - half);
            from += run.len();
            let corners = [(left, low), (right, low + waterfall.row_s)];
            cells.push(Rectangle::new(corners, colour(run[0]).filled()));
        }
        cells
    });
    let cells: Vec<_> = cells.collect();
    chart.draw_series(cells)?;
    for side in [-1.0, 1.0] {
        // Two marks beside the signal, which is not covered.
        let line = [(side * width, seconds), (side * width * 0.9, seconds)];
        chart.draw_series([PathElement::new(line, MARK.stroke_width(3))])?;
    }
    let text = if waterfall.spectra == 1 {
        "Hz from the signal".to_owned()
    } else {
        format!("Hz from the signal (rows: the largest of {} spectra)", waterfall.spectra)
    };
    chart.configure_mesh().disable_mesh().x_desc(text).y_desc("seconds").draw()?;
    Ok(())
}

/// The shade of a power between the least and the most, by its root: noise stays dark.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and is of a number from 0 to SHADES"
)]
fn shade(power: f32, (least, most): (f32, f32)) -> u8 {
    let part = ((power - least).max(0.0) / (most - least).max(f32::MIN_POSITIVE)).sqrt();
    (part * f32::from(SHADES)) as u8
}

/// From deep blue over orange to white.
fn colour(shade: u8) -> RGBColor {
    let part = f64::from(shade.min(SHADES)) / f64::from(SHADES);
    let stops =
        [(8.0, 12.0, 40.0), (30.0, 60.0, 120.0), (214.0, 92.0, 47.0), (255.0, 250.0, 220.0)];
    let place = part * 3.0;
    let index = [0usize, 1, 2][usize::from(1.0 <= place) + usize::from(2.0 <= place)];
    let (a, b, t) = (stops[index], stops[index + 1], place - index as f64);
    let mix = |a: f64, b: f64| byte(a + (b - a) * t);
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates"
)]
fn byte(value: f64) -> u8 {
    value as u8
}

/// The smallest and the largest of some numbers, never the same.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    match low <= high {
        true if low < high => (low, high),
        true => (low - 1.0, high + 1.0),
        false => (0.0, 1.0),
    }
}

fn curve(area: &Area<'_>, (x, y): (&str, &str), points: &[(f64, f64)], marks: &[f64]) -> Drawn {
    let (left, right) = range(points.iter().map(|point| point.0));
    let top = range(points.iter().map(|point| point.1)).1.max(1.0) * 1.08;
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(left..right, 0.0..top)?;
    chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(TRANSPARENT).draw()?;
    chart.draw_series(marks.iter().filter(|mark| (left..=right).contains(mark)).map(|mark| {
        PathElement::new([(*mark, 0.0), (*mark, top)], MARK.mix(0.4).stroke_width(2))
    }))?;
    chart.draw_series(LineSeries::new(points.iter().copied(), INK.stroke_width(2)))?;
    Ok(())
}

fn profile(
    area: &Area<'_>,
    (x, y): (&str, &str),
    points: &[(f64, f64)],
    fit: &[(f64, f64)],
    level: Option<f64>,
) -> Drawn {
    let all = || points.iter().chain(fit);
    let (left, right) = range(all().map(|point| point.0));
    let (low, high) = range(all().map(|point| point.1).chain(level));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(left..right, low.min(0.0)..high * 1.08)?;
    chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(TRANSPARENT).draw()?;
    chart.draw_series(LineSeries::new(points.iter().copied(), INK.mix(0.5)))?;
    chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, INK.filled())))?;
    chart.draw_series(LineSeries::new(fit.iter().copied(), MARK.stroke_width(2)))?;
    if let Some(level) = level {
        let line = [(left, level), (right, level)];
        chart.draw_series([PathElement::new(line, MARK.mix(0.5))])?;
        let style = ("sans-serif", 13).into_font().color(&MARK);
        chart.draw_series([Text::new("needed for a report", (left, level * 1.02), style)])?;
    }
    Ok(())
}

/// All signals over frequency and drift; the best ones in a ring.
pub(super) fn overview(path: &Path, view: &View, records: &[Record]) -> Result<(), String> {
    let place = |record: &Record| {
        ((record.number("detection_freq") - view.setup.base) / 1e3, record.number("chirp_rate"))
    };
    let (low, high) = range(records.iter().map(|record| place(record).1));
    let pad = (high - low) * 0.08;
    let (left, right) = range(records.iter().map(|record| place(record).0));
    let side = (right - left) * 0.05;
    let draw = || -> Drawn {
        let root = SVGBackend::new(path, MAP_SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(
                "all signals over frequency and drift; best ones in a ring",
                ("sans-serif", 20),
            )
            .margin(14)
            .x_label_area_size(48)
            .y_label_area_size(64)
            // To the right is room for the legend.
            .build_cartesian_2d(left - side..right + 4.0 * side, low - pad..high + pad)?;
        let from = format!("kHz above {:.3} Hz", view.setup.base);
        chart
            .configure_mesh()
            .x_desc(from)
            .y_desc("drift, Hz/s")
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (kind, colour) in KINDS {
            let of_kind =
                |best: bool| records.iter().filter(move |record| is(record, kind, best)).map(place);
            let count = of_kind(false).count();
            chart
                .draw_series(of_kind(false).map(|at| Circle::new(at, 5, colour.mix(0.8).filled())))?
                .label(format!("{kind}: {count}"))
                .legend(move |(x, y)| Circle::new((x + 8, y), 5, colour.filled()));
            let rings = of_kind(true).map(|at| Circle::new(at, 9, colour.stroke_width(2)));
            chart.draw_series(rings)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.85))
            .border_style(INK.mix(0.4))
            .draw()?;
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| format!("could not draw {}: {error}", path.display()))
}

/// Whether a record is of this kind, best or not.
fn is(record: &Record, kind: &str, best: bool) -> bool {
    match record.kind.strip_prefix("best_") {
        Some(name) => best && name == kind,
        None => !best && record.kind == kind,
    }
}
