//! How far the unit is that runs: a bar, lines, or JSON.

use super::Judge;
use crate::amount;
use crate::error::Error;
use crate::forecast::{Forecast, Part, speed};
use crate::output::Output;
use indicatif::ProgressBar;
use proto::UnitIndex;
use serde_json::json;
use std::time::{Duration, Instant};

/// When the first line is written where no bar can be drawn: short units need none.
const FIRST_LINE: Duration = Duration::from_secs(1);
/// How often another one follows.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows one unit.
pub(super) struct Screen {
    output: Output,
    unit: UnitIndex,
    bar: ProgressBar,
    began: Instant,
    due: Instant,
    /// Whether a forecast was told.
    forecast: bool,
}

impl Screen {
    pub(super) fn new(output: Output, unit: UnitIndex) -> Self {
        let began = Instant::now();
        let bar = output.bar(0, "[{bar:20}] {msg}");
        Self { output, unit, bar, began, due: began + FIRST_LINE, forecast: false }
    }

    /// Shows how far the unit is and what that makes of the whole, if something is known already.
    pub(super) fn show(&mut self, part: Option<&Part>, judge: &Judge) -> Result<(), Error> {
        let forecast = judge.forecast(part);
        if self.output.is_live() {
            self.bar.set_message(self.line(part, forecast.as_ref()));
            let part = part.copied().unwrap_or_default();
            self.bar.set_length(part.total.max(1));
            self.bar.set_position(part.done.min(part.total));
            return Ok(());
        }
        let first = forecast.is_some() && !self.forecast && FIRST_LINE <= self.began.elapsed();
        if Instant::now() < self.due && !first {
            return Ok(());
        }
        self.forecast = forecast.is_some();
        self.due = Instant::now() + LINE_INTERVAL;
        if !self.output.is_json() {
            self.output.note(&self.line(part, forecast.as_ref()));
            return Ok(());
        }
        let part = part.copied().unwrap_or_default();
        let value = json!({ "progress": {
            "unit": self.unit.0, "done": part.done, "total": part.total, "fuel": part.fuel,
            "cpu_s": part.cpu.as_secs_f64(), "fuel_per_second": speed(part.fuel, part.cpu),
            "elapsed_s": self.began.elapsed().as_secs_f64(), "forecast": forecast,
        } });
        self.output.answer(&value, String::new)
    }

    fn line(&self, part: Option<&Part>, forecast: Option<&Forecast>) -> String {
        let forecast = forecast.map(|forecast| {
            format!(
                "; the job: {} CPU, {} on {} cores",
                amount::duration(Duration::from_secs(forecast.cpu_s)),
                amount::duration(Duration::from_secs(forecast.time_s)),
                forecast.cores
            )
        });
        format!(
            "{}: {}, {}{}",
            self.unit,
            part.map_or_else(|| "the kernel is prepared".into(), place),
            amount::duration(Duration::from_secs(self.began.elapsed().as_secs())),
            forecast.unwrap_or_default()
        )
    }

    pub(super) fn clear(self) {
        self.bar.finish_and_clear();
    }
}

/// How far a unit is, in words.
pub(super) fn place(part: &Part) -> String {
    let fuel = match part.fuel {
        0 => "no step has ended yet".to_owned(),
        fuel => format!(
            "fuel {} at {}/s",
            amount::count(fuel),
            amount::count(speed(part.fuel, part.cpu))
        ),
    };
    match part.percent() {
        Some(percent) => format!("{percent} % ({} of {}), {fuel}", part.done, part.total),
        None => fuel,
    }
}
