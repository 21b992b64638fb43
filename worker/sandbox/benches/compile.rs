//! What compiling kernels costs, with functions inlined and without, each in a child as a worker compiles it: CPU time,
//! memory, size of the code; and how fast units of the shipped kernels then run. Runs alternate.
//!
//! `cargo bench -p sandbox --bench compile -- [REPETITIONS [FILE...]]`, where files are modules (`.wasm`), a recording
//! for the search for pulsars (`.tim`, `.fil`) and a work unit for that of SETI@home (`.sah`).
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "common/bench.rs"]
mod common;

use common::Result;
use kernel::{Contract, NanMode};
use sandbox::{
    Compilation, CompileCost, CompileLimits, CompileStop, Config, Input, Kernel, Limits, Outcome,
    Priority, Segment, Unit, WallPlan, own_program, run_once,
};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const REPETITIONS: usize = 3;
/// Far more than a worker gives, so that what needs more than that is seen too.
const LIMITS: CompileLimits = CompileLimits {
    cpu: Duration::from_secs(600),
    wall: Duration::from_secs(3600),
    memory: 16 << 30,
};

fn main() -> ExitCode {
    common::run(REPETITIONS, all)
}

fn all(repetitions: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = own_program()?;
    let given: Vec<PathBuf> = common::words(2).map(PathBuf::from).collect();
    let is = |path: &Path, kinds: &[&str]| {
        path.extension().is_some_and(|kind| kinds.iter().any(|other| kind == *other))
    };
    let mut files: Vec<PathBuf> =
        given.iter().filter(|path| is(path, &["wasm"])).cloned().collect();
    for kernel in shipped::ALL {
        let path = folder.path().join(kernel.name);
        std::fs::write(&path, kernel.wasm)?;
        files.push(path);
    }
    println!(
        "| kernel | bytes | functions | loops x locals | inlined | CPU s | memory MB | space MB | code KB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for file in files {
        one(&program, &file, repetitions)?;
    }
    println!("\n| unit | inlined, CPU s | not inlined, CPU s | ratio |\n| --- | --- | --- | --- |");
    let input = |kinds: &[&str]| given.iter().find(|path| is(path, kinds));
    let cases = [
        ("mersenne", r#"{"p":{"end":9740,"first":9600}}"#, Some(None)),
        ("collatz", r#"{"n":{"end":3000000,"first":1}}"#, Some(None)),
        ("pulsar", "{}", input(&["tim", "fil"]).map(Some)),
        ("seti", r#"{"share":{"end":100,"first":0}}"#, input(&["sah"]).map(Some)),
    ];
    for (name, params, input) in cases {
        match input {
            Some(input) => speed(&program, folder.path(), (name, params, input), repetitions)?,
            None => println!("| {name} | no input was given | | |"),
        }
    }
    Ok(())
}

/// CPU time of a unit compiled either way, the least of the repetitions in turn: others on the machine only ever add.
fn speed(
    program: &Path,
    folder: &Path,
    (name, params, input): (&str, &str, Option<&PathBuf>),
    repetitions: usize,
) -> Result<()> {
    let path = folder.join(name);
    let digest = blake3::hash(&std::fs::read(&path)?).into();
    let input = input.map(|path| -> Result<Input> {
        let content = std::fs::read(path)?;
        let (digest, len) = (blake3::hash(&content).into(), content.len() as u64);
        Ok(Input { segments: vec![Segment { path: path.clone(), digest, offset: 0, len }] })
    });
    let unit = Unit {
        exit_codes: vec![0],
        kernel: Kernel { path, digest, nan: NanMode::Canonical, contract: Contract::NEWEST },
        params: params.into(),
        inputs: input.into_iter().collect::<Result<_>>()?,
        seed: [0; 32],
        limits: Limits { memory: 1 << 30, fuel: 1 << 60, output: 1 << 20, log: 10_000 },
        time: Duration::from_secs(3600),
        snapshot: None,
        trace: None,
    };
    let (mut least, mut outcomes) = ([f64::INFINITY; 2], Vec::new());
    for _ in 0..repetitions {
        for (least, inlining) in least.iter_mut().zip([true, false]) {
            let cache = folder.join(if inlining { "inlined" } else { "plain" });
            let config = Config {
                priority: Priority::Normal,
                compile: LIMITS,
                inlining: Some(inlining),
                ..Config::new(program.to_owned(), cache, 1)
            };
            let finished = run_once(config, unit.clone(), |_| {})?;
            *least = least.min(finished.cpu.as_secs_f64());
            outcomes.push(finished.outcome);
        }
    }
    let Some(Outcome::Done { .. }) = outcomes.first() else {
        return Err(format!("{name}: {:?}", outcomes.first()).into());
    };
    if outcomes.iter().any(|outcome| *outcome != outcomes[0]) {
        return Err(format!("{name}: outputs or fuel differ with inlining and without").into());
    }
    let [inlined, plain] = least;
    println!("| {name} | {inlined:.3} | {plain:.3} | {:.3} |", plain / inlined);
    Ok(())
}

fn one(program: &Path, file: &Path, repetitions: usize) -> Result<()> {
    let module = std::fs::read(file)?;
    let name = file.file_stem().unwrap_or_default().display().to_string();
    let summary = kernel::inspect(&module)?;
    let all =
        summary.limits.iter().find(|limit| limit.what == "loops times locals of all functions");
    let all = all.map_or(0, |limit| limit.value);
    let kernel = Kernel {
        path: file.to_owned(),
        digest: blake3::hash(&module).into(),
        nan: NanMode::Canonical,
        contract: Contract::NEWEST,
    };
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..repetitions {
        for (costs, inlining) in costs.iter_mut().zip([Some(true), Some(false)]) {
            let compilation = Compilation {
                program,
                kernel: &kernel,
                cache: None,
                priority: Priority::Normal,
                limits: LIMITS,
                inlining,
                walls: WallPlan::default(),
            };
            match compilation.run(|| false) {
                Ok((cost, _)) => costs.push(cost),
                Err(CompileStop::Trouble(trouble)) => {
                    println!("| {name} | {inlining:?}: {trouble} |")
                }
                Err(CompileStop::Stopped) => return Err("stopped".into()),
            }
        }
    }
    for cost in costs.iter().filter_map(|costs| costs.iter().min_by_key(|cost| cost.cpu)) {
        let CompileCost { cpu, memory, space, bytes, inlined } = *cost;
        println!(
            "| {name} | {} | {} | {all} | {} | {:.2} | {} | {} | {} |",
            summary.bytes,
            summary.functions,
            if inlined { "yes" } else { "no" },
            cpu.as_secs_f64(),
            memory >> 20,
            space >> 20,
            bytes >> 10,
        );
    }
    Ok(())
}
