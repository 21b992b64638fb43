//! `starling kernel check`: what a module is, and that it gives the same bytes and fuel however it is run.

use crate::amount;
use crate::args::Check;
use crate::error::Error;
use crate::job_file;
use crate::local::{Local, Run};
use crate::output::{Output, excerpt};
use ::kernel::{Kind, Summary};
use program::error::chain;
use proto::job::{Nan, Segment, Unit, UnitInput};
use proto::{Digest, json as canonical};
use sandbox::{CompileCost, Event, Outcome, Pool, SnapshotPlan};
use serde_json::json;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Of an output, what is shown.
const SHOWN_BYTES_MAX: usize = 1024;
/// A unit that ends before it can be stopped is stopped sooner the next time, this often.
const CUTS_MAX: u32 = 4;
/// No snapshot but the one that is asked for.
const NEVER: Duration = Duration::from_secs(365 * 86_400);

pub(super) fn run(args: Check, output: Output) -> Result<(), Error> {
    let wasm = match shipped::find(&args.kernel) {
        Some(shipped) => shipped.wasm.to_vec(),
        None => {
            let path = PathBuf::from(&args.kernel);
            std::fs::read(&path).map_err(Error::file("read", &path))?
        }
    };
    let summary = look(&args.kernel, &wasm)?;
    output.say(&described(&summary))?;
    if args.no_run {
        output.answer(&json!({ "kernel": summary }), || "admissible; not run".into())?;
        return Ok(());
    }
    let mut local = Local::new()?;
    let unit = unit(&args, &wasm, &mut local)?;
    let cost = local.compile(&unit)?;
    output.say(&compiled(&cost))?;
    let started = Instant::now();
    let first = local.run(unit.clone())?;
    let took = started.elapsed();
    let second = local.run(unit.clone())?;
    same(&first, &second, "the second run")?;
    let cut =
        if summary.kind == Kind::Step { cut(&local, &unit, &first, took)? } else { Cut::NoSteps };
    let result = match &first.result {
        Ok(content) => json!({ "bytes": content.len(), "digest": Digest::of(content) }),
        Err(failure) => json!({ "failure": failure.to_string() }),
    };
    let answer = json!({
        "kernel": summary, "fuel": first.fuel, "cpu_s": first.cpu.as_secs_f64(), "result": result, "log": first.log,
        "runs_agree": true, "cut": cut.name(),
        "compile": { "cpu_s": cost.cpu.as_secs_f64(), "memory_bytes": cost.memory, "inlined": cost.inlined },
    });
    let written = output.answer(&answer, || told(&first, &cut));
    match &first.result {
        Ok(_) => written,
        Err(failure) => Err(Error::Failed(format!("with these parameters and inputs: {failure}"))),
    }
}

/// What the module is.
pub(super) fn look(name: &str, wasm: &[u8]) -> Result<Summary, Error> {
    ::kernel::inspect(wasm).map_err(|refusal| {
        Error::Failed(format!("{name} is no admissible kernel: {}", chain(&refusal)))
    })
}

pub(super) fn described(summary: &Summary) -> String {
    let kind = match summary.kind {
        Kind::Step => "a step kernel",
        Kind::Wasi => "a WASI command",
    };
    let mut names: Vec<&str> = summary.imports.iter().map(|import| import.name.as_str()).collect();
    names.sort_unstable();
    let imports = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let nearest = summary.limits.iter().max_by(|a, b| (a.value * b.max).cmp(&(b.value * a.max)));
    let nearest = nearest.map(|limit| {
        format!("\n  nearest to a limit: {}, {} of at most {}", limit.what, limit.value, limit.max)
    });
    format!(
        "{kind} of {}, {} functions, memory from {}\n  imports: {imports}{}",
        amount::size(summary.bytes),
        summary.functions,
        amount::size(summary.memory_min_pages << 16),
        nearest.unwrap_or_default()
    )
}

fn compiled(cost: &CompileCost) -> String {
    format!(
        "compiled within what every worker has for it: {} CPU, {} of memory, {} of code{}",
        amount::duration(cost.cpu),
        amount::size(cost.memory),
        amount::size(cost.bytes),
        if cost.inlined { "" } else { "; too large for functions to be inlined" }
    )
}

fn unit(args: &Check, wasm: &[u8], local: &mut Local) -> Result<sandbox::Unit, Error> {
    let text = args.params.as_deref().unwrap_or("{}");
    let wrong = |error: &dyn std::error::Error| {
        Error::Usage(format!("--params: give a JSON object, as in '{{\"n\": 5}}': {error}"))
    };
    let mut params: canonical::Object =
        serde_json::from_str(text).map_err(|error| wrong(&error))?;
    // As a unit of a job would see them.
    if canonical::look(text).map_err(|error| wrong(&error))?.is_none() {
        for value in params.values_mut() {
            *value = value.canonical().map_err(|error| wrong(&error))?;
        }
    }
    let mut inputs = Vec::new();
    for path in &args.input {
        let mut hasher = blake3::Hasher::new();
        let file = std::fs::File::open(path).map_err(Error::file("read", path))?;
        hasher.update_reader(file).map_err(Error::file("read", path))?;
        let digest = Digest(*hasher.finalize().as_bytes());
        local.add_file(digest, path.clone());
        inputs.push(UnitInput::Segments(vec![Segment { digest, offset: 0, len: hasher.count() }]));
    }
    let kernel = local.add_bytes(wasm)?;
    let params = canonical::write(&params);
    let limits = job_file::standard_limits();
    local.prepare(Unit {
        kernel,
        contract: proto::job::CONTRACT,
        nan: Nan::Canonical,
        params,
        inputs,
        seed: Digest::of(b"starling").0,
        limits,
        exit_codes: proto::job::success(),
    })
}

fn same(first: &Run, other: &Run, which: &str) -> Result<(), Error> {
    let told = |run: &Run| match run.digest() {
        Ok(digest) => format!("output {digest}, fuel {}", run.fuel),
        Err(failure) => format!("{failure}, fuel {}", run.fuel),
    };
    if (first.digest(), first.fuel) == (other.digest(), other.fuel) {
        return Ok(());
    }
    Err(Error::Unverified(format!(
        "the first run came to: {}; {which} to: {}",
        told(first),
        told(other)
    )))
}

/// How the run that was to be cut went.
#[derive(Debug)]
enum Cut {
    /// Stopped, kept, taken up again: the same result.
    Agrees,
    /// It ends before it can be stopped.
    TooShort,
    /// A command has no steps to stop between.
    NoSteps,
}

impl Cut {
    fn name(&self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::TooShort => "too short",
            Self::NoSteps => "no steps",
        }
    }
}

/// Stops the unit in its middle, goes on from its snapshot, and compares.
fn cut(local: &Local, unit: &sandbox::Unit, first: &Run, took: Duration) -> Result<Cut, Error> {
    let path = local.scratch().join("snapshot");
    let mut unit = unit.clone();
    unit.snapshot = Some(SnapshotPlan { path, interval: NEVER });
    for cut in 1..=CUTS_MAX {
        if !stop_after(local, &unit, took.min(first.cpu) / (1 << cut))? {
            continue;
        }
        let mut resumed = false;
        let finished = sandbox::run_once(local.config(), unit, |event| {
            resumed |= matches!(event, Event::Started { resumed: true });
        })?;
        if !resumed {
            return Err(Error::Failed("the snapshot was not taken up again".into()));
        }
        same(
            first,
            &crate::local::outcome(finished, Vec::new())?,
            "the run that was stopped and taken up again",
        )?;
        return Ok(Cut::Agrees);
    }
    Ok(Cut::TooShort)
}

/// Whether the unit was stopped with a snapshot, some time after its start.
fn stop_after(local: &Local, unit: &sandbox::Unit, wait: Duration) -> Result<bool, Error> {
    let (sender, events) = mpsc::channel();
    let pool = Pool::start(local.config(), move |_, event| {
        // Nobody listens any more once the pool has stopped.
        let _ = sender.send(event);
    })?;
    pool.submit(0, unit.clone())?;
    let mut stopped = false;
    loop {
        match events.recv() {
            Ok(Event::Started { .. }) => {
                std::thread::sleep(wait);
                pool.stop();
                stopped = true;
            }
            Ok(Event::Finished(finished)) => {
                return Ok(stopped && finished.outcome == Outcome::Interrupted { saved: true });
            }
            Ok(_) => {}
            Err(mpsc::RecvError) => return Ok(false),
        }
    }
}

fn told(run: &Run, cut: &Cut) -> String {
    let result = match &run.result {
        Ok(content) => {
            let text = excerpt(content, SHOWN_BYTES_MAX);
            let lines: String = text.lines().map(|line| format!("\n  | {line}")).collect();
            format!("output {}{lines}", amount::size(content.len() as u64))
        }
        Err(failure) => failure.to_string(),
    };
    let log: String = run
        .log
        .iter()
        .map(|line| format!("\n  log: {}", excerpt(line.as_bytes(), SHOWN_BYTES_MAX)))
        .collect();
    let cut = match cut {
        Cut::Agrees => "stopped in the middle and taken up again from its snapshot: the same",
        Cut::TooShort => {
            "too short to be stopped in the middle: give it more work to check that too"
        }
        Cut::NoSteps => {
            "a command is one step: it is never stopped in the middle, and starts anew after a stop"
        }
    };
    format!(
        "run twice: the same bytes and fuel {} ({} CPU)\n{cut}\n{result}{log}",
        amount::count(run.fuel),
        amount::duration(run.cpu)
    )
}
