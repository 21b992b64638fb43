//! `starling try`: runs units of a job here and tells what the whole would take.

mod screen;

use super::Context;
use super::view::counted;
use crate::amount;
use crate::args::Try;
use crate::error::Error;
use crate::forecast::{self, Forecast, Part, Sample};
use crate::local::{Local, Run};
use crate::output::{Output, excerpt};
use crate::results;
use program::stdout;
use proto::UnitIndex;
use proto::job::JobSpec;
use screen::Screen;
use serde_json::{Value, json};
use signal_hook::consts::SIGINT;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Of an output, what is shown.
const SHOWN_BYTES_MAX: usize = 1024;

pub(super) fn run(args: Try, context: &Context) -> Result<(), Error> {
    let job = args.job.read(context.output)?;
    let chosen = chosen(&args, job.spec.cut_units())?;
    let mut local = Local::new()?;
    local.add_blobs(&job.blobs)?;
    if let Some(folder) = &args.to {
        fs::create_dir_all(folder.join("outputs")).map_err(Error::file("create", folder))?;
    }
    let mut trial = Trial {
        judge: Judge::new(&job.spec, args.cores.unwrap_or_else(cores)),
        stop: Stop::new(args.time)?,
        output: context.output,
        failed: 0,
    };
    for index in chosen.into_iter().map(UnitIndex) {
        let unit = local.unit(&job.spec, index, Vec::new())?;
        if !trial.unit(&local, index, unit, args.to.as_deref())? {
            return trial.verdict();
        }
    }
    trial.tell(None)?;
    trial.verdict()
}

fn chosen(args: &Try, units: u64) -> Result<Vec<u64>, Error> {
    match args.unit {
        Some(unit) if units <= unit.0 => {
            let message =
                format!("--unit: the job is cut into {units} units, u0 to u{}", units - 1);
            Err(Error::Usage(message))
        }
        Some(unit) => Ok(vec![unit.0]),
        None => Ok(forecast::spread(units, args.units)),
    }
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).try_into().unwrap_or(u32::MAX)
}

/// Judges the whole job by what is known so far.
#[derive(Debug)]
struct Judge {
    units: u64,
    copies: u32,
    cores: u32,
    samples: Vec<Sample>,
}

impl Judge {
    fn new(spec: &JobSpec, cores: u32) -> Self {
        Self { units: spec.cut_units(), copies: spec.copies, cores, samples: Vec::new() }
    }

    /// The forecast, with what is known of a unit that still runs.
    fn forecast(&self, part: Option<&Part>) -> Option<Forecast> {
        let samples = self.with(part);
        forecast::forecast(&samples, self.units, self.copies, self.cores)
    }

    fn with(&self, part: Option<&Part>) -> Vec<Sample> {
        self.samples.iter().copied().chain(part.and_then(Part::whole)).collect()
    }
}

/// When to end early.
#[derive(Debug)]
struct Stop {
    interrupted: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

/// Why it ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Early {
    Interrupted,
    Time,
    Closed,
}

impl Stop {
    /// Counts the time from now on; a second Ctrl-C ends the program at once.
    fn new(time: Option<Duration>) -> Result<Self, Error> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let code = i32::from(Error::Interrupted.exit_code());
        signal_hook::flag::register_conditional_shutdown(SIGINT, code, Arc::clone(&interrupted))
            .and_then(|_| signal_hook::flag::register(SIGINT, Arc::clone(&interrupted)))
            .map_err(|error| Error::Failed(format!("could not listen for Ctrl-C: {error}")))?;
        Ok(Self { interrupted, deadline: time.and_then(|time| Instant::now().checked_add(time)) })
    }

    fn wanted(&self) -> Option<Early> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Some(Early::Interrupted);
        }
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Some(Early::Time);
        }
        stdout::is_closed().then_some(Early::Closed)
    }
}

/// The units that are run, and what they told.
#[derive(Debug)]
struct Trial {
    judge: Judge,
    stop: Stop,
    output: Output,
    failed: u64,
}

impl Trial {
    /// Runs a unit; `false` when no other one is wanted.
    fn unit(
        &mut self,
        local: &Local,
        index: UnitIndex,
        unit: sandbox::Unit,
        to: Option<&Path>,
    ) -> Result<bool, Error> {
        let mut screen = Screen::new(self.output, index);
        let (mut last, mut early, mut written) = (None::<Part>, None, Ok(()));
        let run = local.watch(unit, |part| {
            last = part.or(last);
            written = screen.show(last.as_ref(), &self.judge);
            early = self.stop.wanted();
            early.is_none() && written.is_ok()
        })?;
        screen.clear();
        written?;
        let Some(run) = run else { return self.stopped(index, last, early) };
        show(index, &run, self.output)?;
        self.judge.samples.push(Sample { fuel: run.fuel, cpu: run.cpu });
        match (&run.result, to) {
            (Ok(output), Some(folder)) => keep(folder, index, output)?,
            (Ok(_), None) => {}
            (Err(_), _) => self.failed += 1,
        }
        Ok(true)
    }

    /// Tells how far the unit was that did not end, and forecasts with it.
    fn stopped(
        &self,
        unit: UnitIndex,
        part: Option<Part>,
        early: Option<Early>,
    ) -> Result<bool, Error> {
        if early == Some(Early::Closed) {
            return Err(Error::Closed);
        }
        let part = part.unwrap_or_default();
        let value = json!({ "stopped": {
            "unit": unit.0, "units_done": self.judge.samples.len(), "done": part.done, "total": part.total,
            "fuel": part.fuel, "cpu_s": part.cpu.as_secs_f64(),
        } });
        self.output.answer(&value, || {
            let ended = counted(self.judge.samples.len() as u64, "unit");
            match part.fuel {
                0 => format!("stopped after {ended}"),
                _ => format!("stopped after {ended}; {unit} was at {}", screen::place(&part)),
            }
        })?;
        self.tell(Some(&part))?;
        match early {
            Some(Early::Time) => Ok(false),
            _ => Err(Error::Interrupted),
        }
    }

    fn verdict(&self) -> Result<(), Error> {
        if 0 < self.failed {
            return Err(Error::Failed(format!(
                "{} of {} failed, as they would on every machine",
                self.failed,
                counted(self.judge.samples.len() as u64, "unit")
            )));
        }
        Ok(())
    }

    /// Tells the forecast, if there is one.
    fn tell(&self, part: Option<&Part>) -> Result<(), Error> {
        let samples = self.judge.with(part);
        match self.judge.forecast(part) {
            Some(forecast) => self
                .output
                .answer(&json!({ "forecast": forecast }), || described(&forecast, &samples)),
            None => self.output.answer(&json!({ "forecast": Value::Null }), || {
                "no forecast yet: no unit has ended, and the kernel has not told how far it is (progress)"
                    .to_owned()
            }),
        }
    }
}

fn keep(folder: &Path, unit: UnitIndex, output: &[u8]) -> Result<(), Error> {
    let path = folder.join(results::output_name(unit));
    fs::write(&path, output).map_err(Error::file("write", &path))
}

fn show(unit: UnitIndex, run: &Run, output: Output) -> Result<(), Error> {
    let cpu_s = run.cpu.as_secs_f64();
    match &run.result {
        Ok(content) => {
            let shown = results::Output::inline(content);
            let value = json!({ "unit": unit.0, "fuel": run.fuel, "cpu_s": cpu_s, "output": shown, "log": run.log });
            output.answer(&value, || {
                let head = format!(
                    "{}, output {} ({})",
                    head(unit, "done", run),
                    amount::size(shown.bytes),
                    short(&shown.digest.to_string())
                );
                body(&head, &excerpt(content, SHOWN_BYTES_MAX), &run.log)
            })
        }
        Err(failure) => {
            let failure = failure.to_string();
            let value = json!({ "unit": unit.0, "fuel": run.fuel, "cpu_s": cpu_s, "failure": failure, "log": run.log });
            output.answer(&value, || body(&head(unit, &failure, run), "", &run.log))
        }
    }
}

fn head(unit: UnitIndex, what: &str, run: &Run) -> String {
    format!("{unit}: {what}, fuel {}, CPU {}", amount::count(run.fuel), amount::duration(run.cpu))
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn body(head: &str, output: &str, log: &[String]) -> String {
    let log =
        log.iter().map(|line| format!("  log: {}", excerpt(line.as_bytes(), SHOWN_BYTES_MAX)));
    let output = output.lines().map(|line| format!("  | {line}"));
    [head.to_owned()].into_iter().chain(log).chain(output).collect::<Vec<_>>().join("\n")
}

fn described(forecast: &Forecast, samples: &[Sample]) -> String {
    let Forecast { units, copies, cores, fuel, cpu_s, time_s, fuel_per_second } = *forecast;
    let shortest = samples.iter().map(|sample| sample.cpu).min().unwrap_or_default();
    let longest = samples.iter().map(|sample| sample.cpu).max().unwrap_or_default();
    let hint = match longest {
        longest if longest < Duration::from_millis(500) => {
            "\n  units this short cost more to hand out than to compute: give each more (per_unit)"
        }
        longest if Duration::from_secs(4 * 3_600) < longest => {
            "\n  units this long are lost more easily: give each less (per_unit)"
        }
        _ => "",
    };
    format!(
        "forecast: {} of {} to {} CPU each, fuel {} in all at {}/s; computed {}: {} CPU, {} on {}{hint}",
        counted(units, "unit"),
        amount::duration(shortest),
        amount::duration(longest),
        amount::count(fuel),
        amount::count(fuel_per_second),
        if copies == 1 { "once".to_owned() } else { format!("{copies} times") },
        amount::duration(Duration::from_secs(cpu_s)),
        amount::duration(Duration::from_secs(time_s)),
        counted(cores.into(), "core"),
    )
}
