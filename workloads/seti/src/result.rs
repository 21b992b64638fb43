//! The result file: printing a part that is the whole, and reading the signals of any result.

mod read;

pub use read::{Error, Record, read};

use crate::header::body;
use crate::number::print as number;
use crate::part::Part;
use crate::signal::{Shape, Signal};

/// Columns of a list of numbers, with its indent.
const COLUMNS: usize = 75;

/// The result file of the whole table.
pub fn print(part: &Part) -> String {
    let mut text = format!("<result>\n{}", part.header);
    part.signals.iter().for_each(|signal| print_signal(signal, "", &mut text));
    if part.overflows() {
        return text;
    }
    let none = no_gaussian();
    let gaussian = Some(part.gaussian().map_or(&none, |best| &best.signal));
    let pulse = part.best_pulse.as_ref().map(|best| &best.signal);
    let bests = [
        part.best_spike.as_ref(),
        part.best_autocorr.as_ref(),
        gaussian,
        pulse,
        part.best_triplet.as_ref(),
    ];
    bests.into_iter().flatten().for_each(|signal| print_signal(signal, "best_", &mut text));
    text += "<setiathome_version>8.00</setiathome_version>\n</result>";
    text
}

/// What the original writes as the best Gaussian of a search that fitted none: every number 0, and no points. Of the other
/// kinds it writes no best signal then.
fn no_gaussian() -> Signal {
    let shape = Shape::Gaussian {
        sigma: 0.0,
        chisqr: 0.0,
        null_chisqr: 0.0,
        max_power: 0.0,
        pot: Vec::new(),
    };
    Signal {
        peak_power: 0.0,
        mean_power: 0.0,
        time: 0.0,
        ra: 0.0,
        dec: 0.0,
        freq: 0.0,
        detection_freq: 0.0,
        fft_len: 0,
        chirp_rate: 0.0,
        shape,
    }
}

fn print_signal(signal: &Signal, prefix: &str, text: &mut String) {
    let name = signal.shape.name();
    *text += &format!("<{prefix}{name}>\n");
    for (name, value) in fields(signal) {
        *text += &format!("  <{name}>{}</{name}>\n", number(value));
    }
    if let Shape::Gaussian { pot, .. } | Shape::Pulse { pot, .. } = &signal.shape
        && signal.fft_len != 0
    {
        *text += &format!("  <pot length={}</pot>\n", body(&wrap(pot), 2));
    }
    *text += &format!("</{prefix}{name}>\n");
    if matches!(signal.shape, Shape::Gaussian { .. }) && prefix.is_empty() {
        // The original leaves a line free behind each.
        text.push('\n');
    }
}

/// The numbers of a signal, by their names in the file, in its order.
pub(crate) fn fields(signal: &Signal) -> Vec<(&'static str, f64)> {
    let mut fields = vec![
        ("peak_power", signal.peak_power.into()),
        ("mean_power", signal.mean_power.into()),
        ("time", signal.time),
        ("ra", signal.ra),
        ("decl", signal.dec),
        ("q_pix", 0.0),
    ];
    if let Shape::Autocorr { delay } = signal.shape {
        fields.push(("delay", delay));
    }
    fields.extend([
        ("freq", signal.freq),
        ("detection_freq", signal.detection_freq),
        ("barycentric_freq", 0.0),
        ("fft_len", signal.fft_len.into()),
        ("chirp_rate", signal.chirp_rate),
        ("rfi_checked", 0.0),
        ("rfi_found", 0.0),
        ("reserved", 0.0),
    ]);
    match signal.shape {
        Shape::Spike | Shape::Autocorr { .. } => {}
        Shape::Triplet { period } => fields.push(("period", period.into())),
        Shape::Gaussian { sigma, chisqr, null_chisqr, max_power, .. } => fields.extend([
            ("sigma", sigma.into()),
            ("chisqr", chisqr.into()),
            ("null_chisqr", null_chisqr.into()),
            ("score", 0.0),
            ("max_power", max_power.into()),
        ]),
        Shape::Pulse { period, snr, thresh, len_prof, .. } => fields.extend([
            ("period", period.into()),
            ("snr", snr.into()),
            ("thresh", thresh.into()),
            ("score", 0.0),
            ("len_prof", len_prof.into()),
        ]),
    }
    fields
}

/// A list of numbers as indented lines.
fn wrap(values: &[u8]) -> String {
    let mut lines = vec![String::from("    ")];
    for (index, value) in values.iter().enumerate() {
        let comma = if index + 1 < values.len() { "," } else { "" };
        let word = format!("{value}{comma}");
        match lines.last_mut() {
            Some(line) if line.len() + word.len() <= COLUMNS => *line += &word,
            _ => lines.push(format!("    {word}")),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests;
