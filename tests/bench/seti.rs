//! The sky search of the reference work unit, natively and in the sandbox (metered, NaN bits unchecked).
//!
//! - `cargo bench -p tests --bench seti`: the short unit (limits of 1 and 2 Hz/s) by phase; a phase is what a run takes
//!   less when the header leaves that search out.
//! - `-- whole`: the short unit alone, canonical NaN bits too.
//! - `-- full`: the unit as it is, against the reference result; about 20 minutes.
//! - `-- traces`: the short unit with a trace, and with kept states too, against the same without, in turn.
//! - `-- job`: the same as a job of 60 units through a real coordinator and two workers of one core; `-- job short`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what is printed is for the reader of a bench, and a failed expectation is its result"
)]

#[path = "seti/job.rs"]
mod job;
#[path = "seti/reference.rs"]
mod reference;

use anyhow::{Context, Result, ensure};
use kernel::{Contract, NanMode};
use proto::trace::SPACING;
use sandbox::{
    self, ArchivePlan, Begin, Config, Event, Input, Kernel, Limits, Outcome, Priority, Segment,
    TracePlan, Unit, Until,
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const SHORT: &str = r#"{"chirp_limits":[1.0,2.0]}"#;
/// Next to nothing of the table: what each unit of a job pays before it searches.
const NOTHING: &str = r#"{"chirp_limits":[1.0,2.0],"share":{"end":30000,"first":29999}}"#;
/// The phases in the order in which they are left out, by fields of the header that change nothing else.
const PHASES: [(&str, &[(&str, &str)]); 5] = [
    ("pulses", &[("pulse_fft_max", "0")]),
    ("triplets", &[("triplet_max", "0")]),
    ("Gaussians", &[("gauss_power_thresh", "1000000")]),
    ("autocorrelation", &[("autocorr_fftlen", "0")]),
    ("spikes", &[("spike_thresh", "1000000")]),
];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(sandbox::CHILD_VERB) {
        return sandbox::child_main();
    }
    match all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn all() -> Result<()> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/seti/reference_work_unit.sah");
    let unit = std::fs::read(&path).with_context(|| format!("{} is missing", path.display()))?;
    let folder = tempfile::tempdir()?;
    let says = |word: &str| std::env::args().any(|argument| argument == word);
    if says("job") {
        let runtime = tokio::runtime::Runtime::new()?;
        return runtime.block_on(job::measure(&path, says("short")));
    }
    if says("full") {
        return reference::check(&whole(&unit, "{}", folder.path())?);
    }
    if says("traces") {
        traces(&unit, SPACING, folder.path())?;
        // Many more points than usual, so that what one costs stands out of the noise.
        return traces(&unit, SPACING / 64, folder.path());
    }
    if says("whole") {
        return whole(&unit, SHORT, folder.path()).map(drop);
    }
    let mut unit = String::from_utf8(unit)?;
    let mut before = measure("all", unit.as_bytes(), SHORT, folder.path())?;
    println!("{:<28} {:>8} {:>8} {:>6}", "CPU seconds, short unit", "native", "sandbox", "ratio");
    line("all", before);
    for (name, fields) in PHASES {
        for (field, value) in fields {
            unit = with(&unit, field, value)?;
        }
        let after = measure(name, unit.as_bytes(), SHORT, folder.path())?;
        line(name, [0, 1].map(|at| before[at].saturating_sub(after[at])));
        before = after;
    }
    let nothing = measure("reading", unit.as_bytes(), NOTHING, folder.path())?;
    line("dechirping and transforms", [0, 1].map(|at| before[at].saturating_sub(nothing[at])));
    line("reading and smoothing", nothing);
    Ok(())
}

fn line(name: &str, [native, sandbox]: [Duration; 2]) {
    let (native, sandbox) = (native.as_secs_f64(), sandbox.as_secs_f64());
    println!("{name:<28} {native:>8.2} {sandbox:>8.2} {:>6.2}", sandbox / native);
}

/// The unit with another value of a field of its header.
fn with(unit: &str, field: &str, value: &str) -> Result<String> {
    let open = format!("<{field}>");
    let from = unit.find(&open).with_context(|| format!("no {field}"))? + open.len();
    let to = from + unit[from..].find('<').context("an open field")?;
    Ok(format!("{}{value}{}", &unit[..from], &unit[to..]))
}

/// Native and sandboxed time of a run, whose bytes must be the same.
fn measure(what: &str, unit: &[u8], params: &str, folder: &Path) -> Result<[Duration; 2]> {
    let (native, expected) = natively(unit, params)?;
    let sandboxed = sandbox(unit, params, NanMode::Unchecked, None, folder)?;
    ensure!(sandboxed.output == expected, "{what}: the sandbox gives other bytes than native code");
    Ok([native, sandboxed.cpu])
}

/// The whole search, whose bytes must be the same however it is run: they are returned.
fn whole(unit: &[u8], params: &str, folder: &Path) -> Result<Vec<u8>> {
    let (native, expected) = natively(unit, params)?;
    println!("native                     {:>8.2} CPU s", native.as_secs_f64());
    for (name, nan) in [
        ("sandbox, NaN unchecked", NanMode::Unchecked),
        ("sandbox, NaN canonical", NanMode::Canonical),
    ] {
        if nan == NanMode::Canonical && params == "{}" {
            continue;
        }
        let run = sandbox(unit, params, nan, None, folder)?;
        ensure!(run.output == expected, "{name}: other bytes than native code");
        println!(
            "{name:<26} {:>8.2} CPU s, fuel {}, longest step {:.2} s, {} steps",
            run.cpu.as_secs_f64(),
            run.fuel,
            run.longest.as_secs_f64(),
            run.steps
        );
    }
    Ok(expected)
}

/// CPU time with a trace, and with kept states, against none: the least of each.
fn traces(unit: &[u8], spacing: u64, folder: &Path) -> Result<()> {
    let archive = ArchivePlan { path: folder.join("kept"), bytes_max: 1 << 30 };
    let plan =
        TracePlan { spacing, begin: Begin::Start, until: Until::End, archive: Some(archive) };
    let plans = [None, Some(TracePlan { archive: None, ..plan.clone() }), Some(plan)];
    let (mut least, mut points) = ([f64::INFINITY; 3], 0);
    for _ in 0..2 {
        for (least, plan) in least.iter_mut().zip(&plans) {
            let run = sandbox(unit, SHORT, NanMode::Unchecked, plan.clone(), folder)?;
            // Each run keeps its own: one that finds the file of another keeps nothing.
            let _ = std::fs::remove_file(folder.join("kept"));
            *least = least.min(run.cpu.as_secs_f64());
            points = points.max(run.points);
        }
    }
    let [seconds, traced, keeping] = least;
    println!(
        "{seconds:.2} CPU s, {points} points: with trace {:.4}, with kept states too {:.4}, least of 2 each",
        traced / seconds,
        keeping / seconds
    );
    Ok(())
}

/// CPU time of this thread's process: nothing else runs here.
fn natively(unit: &[u8], params: &str) -> Result<(Duration, Vec<u8>)> {
    let before = cpu()?;
    let run = starling_sdk::native::run::<seti::Seti>(params, &[unit]);
    let run = run.map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok((cpu()?.saturating_sub(before), run.output))
}

fn cpu() -> Result<Duration> {
    let (_, seconds) = tests::grid::usage(std::process::id())?;
    Ok(Duration::from_secs_f64(seconds))
}

struct Run {
    output: Vec<u8>,
    fuel: u64,
    cpu: Duration,
    steps: u64,
    longest: Duration,
    points: usize,
}

fn sandbox(
    unit: &[u8],
    params: &str,
    nan: NanMode,
    trace: Option<TracePlan>,
    folder: &Path,
) -> Result<Run> {
    let file = |content: &[u8]| -> Result<(PathBuf, [u8; 32])> {
        let digest = proto::Digest::of(content);
        let path = folder.join(digest.to_string());
        std::fs::write(&path, content)?;
        Ok((path, digest.0))
    };
    let (path, digest) = file(shipped::SETI)?;
    let kernel = Kernel { path, digest, nan, contract: Contract::NEWEST };
    let (path, digest) = file(unit)?;
    let input =
        Input { segments: vec![Segment { path, digest, offset: 0, len: unit.len() as u64 }] };
    let unit = Unit {
        exit_codes: vec![0],
        kernel,
        params: params.into(),
        inputs: vec![input],
        seed: [0; 32],
        limits: Limits { memory: 256 << 20, fuel: 1 << 60, output: 1 << 20, log: 10_000 },
        time: Duration::from_secs(7200),
        snapshot: None,
        trace,
    };
    let config = Config::new(std::env::current_exe()?, folder.join("cache"), 1);
    let config = Config { priority: Priority::Normal, ..config };
    let (mut steps, mut longest, mut last) = (0, Duration::ZERO, None::<Instant>);
    let finished = sandbox::run_once(config, unit, |event| {
        if let Event::Progress { .. } = event {
            steps += 1;
            longest = longest.max(last.map_or(Duration::ZERO, |last| last.elapsed()));
            last = Some(Instant::now());
        }
    })?;
    let Outcome::Done { output, fuel, trace, .. } = finished.outcome else {
        anyhow::bail!("{:?}", finished.outcome)
    };
    let points = trace.map_or(0, |trace| trace.points().len());
    Ok(Run { output, fuel, cpu: finished.cpu, steps, longest, points })
}
