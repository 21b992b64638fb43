//! `starling try`: runs units of a job here and tells what the whole would take.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use proto::UnitIndex;
use serde_json::json;

use super::Context;
use super::view::counted;
use crate::amount;
use crate::args::Try;
use crate::error::Error;
use crate::forecast::{self, Forecast, Sample};
use crate::local::{Local, Run};
use crate::output::{Output, excerpt};
use crate::results;

/// Of an output, what is shown.
const SHOWN_BYTES_MAX: usize = 1024;

pub(super) fn run(args: Try, context: &Context) -> Result<(), Error> {
    let job = args.job.read(context.output)?;
    let units = job.spec.cut_units();
    let chosen = match args.unit {
        Some(unit) if units <= unit.0 => {
            let message =
                format!("--unit: the job is cut into {units} units, u0 to u{}", units - 1);
            return Err(Error::Usage(message));
        }
        Some(unit) => vec![unit.0],
        None => forecast::spread(units, args.units),
    };
    let mut local = Local::new()?;
    local.add_blobs(&job.blobs)?;
    if let Some(folder) = &args.to {
        fs::create_dir_all(folder.join("outputs")).map_err(Error::file("create", folder))?;
    }
    let (mut samples, mut failed) = (Vec::new(), 0_u64);
    for index in chosen.into_iter().map(UnitIndex) {
        let unit = local.unit(&job.spec, index, Vec::new())?;
        let run = local.run(unit)?;
        show(index, &run, context.output);
        samples.push(Sample { fuel: run.fuel, cpu: run.cpu });
        match (&run.result, &args.to) {
            (Ok(output), Some(folder)) => keep(folder, index, output)?,
            (Ok(_), None) => {}
            (Err(_), _) => failed += 1,
        }
    }
    let cores = args.cores.unwrap_or_else(cores);
    if let Some(forecast) = forecast::forecast(&samples, units, job.spec.copies, cores) {
        context.output.answer(&json!({ "forecast": forecast }), || described(&forecast, &samples));
    }
    if 0 < failed {
        return Err(Error::Failed(format!(
            "{} of {} failed, as they would on every machine",
            failed,
            counted(samples.len() as u64, "unit")
        )));
    }
    Ok(())
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).try_into().unwrap_or(u32::MAX)
}

fn keep(folder: &Path, unit: UnitIndex, output: &[u8]) -> Result<(), Error> {
    let path = folder.join(results::output_name(unit));
    fs::write(&path, output).map_err(Error::file("write", &path))
}

fn show(unit: UnitIndex, run: &Run, output: Output) {
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
            });
        }
        Err(failure) => {
            let failure = failure.to_string();
            let value = json!({ "unit": unit.0, "fuel": run.fuel, "cpu_s": cpu_s, "failure": failure, "log": run.log });
            output.answer(&value, || body(&head(unit, &failure, run), "", &run.log));
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
        longest if longest < Duration::from_secs(1) => {
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
