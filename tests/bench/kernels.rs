//! The shipped kernels in the sandbox, with canonical and with unchecked NaN bits, against the same code as a native
//! program for x86-64-v3 (the machine's own processor elsewhere), which this builds; runs of the three alternate.
//! `cargo bench -p tests --bench kernels`
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what is printed is for the reader of a test or bench, and a failed expectation is its result"
)]

use anyhow::{Context, Result, ensure};
use kernel::{Contract, NanMode};
use sandbox::{Config, Input, Kernel, Limits, Outcome, Priority, Segment, Unit};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

const REPETITIONS: usize = 5;

struct Case {
    name: &'static str,
    module: &'static [u8],
    params: &'static str,
    input: Option<PathBuf>,
    /// The package whose example `PACKAGE_native` is the same kernel.
    package: &'static str,
}

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
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let cases = [
        Case {
            name: "mersenne, p about 9,700 (limbs or transform as the kernel chooses)",
            module: shipped::MERSENNE,
            params: r#"{"p":{"end":9740,"first":9600}}"#,
            input: None,
            package: "mersenne",
        },
        Case {
            name: "mersenne, p = 44,497",
            module: shipped::MERSENNE,
            params: r#"{"p":{"end":44498,"first":44497}}"#,
            input: None,
            package: "mersenne",
        },
        Case {
            name: "pulsar, 131,072 samples",
            module: shipped::PULSAR,
            params: "{}",
            input: Some(data.join("GBT_J1807-0847.tim")),
            package: "pulsar",
        },
        Case {
            name: "pulsar, filterbank of 64 channels, 20 dispersion measures",
            module: shipped::PULSAR,
            params: r#"{"dm":{"count":20,"start":20.0,"step":1.0}}"#,
            input: Some(data.join("tutorial.fil")),
            package: "pulsar",
        },
    ];
    println!("CPU seconds, median of {REPETITIONS}, compiled before; ratios to native");
    println!(
        "{:<58} {:>8} {:>10} {:>6} {:>10} {:>6} {:>11}",
        "kernel", "native", "unchecked", "", "canonical", "", "Gfuel/s"
    );
    for case in cases {
        match &case.input {
            Some(input) if !input.exists() => {
                println!("{:<58} left out: {} is not there", case.name, input.display())
            }
            _ => measure(&case)?,
        }
    }
    Ok(())
}

/// Builds a kernel as a native program, in a folder of its own so that other builds stay as they are.
fn build(package: &str) -> Result<PathBuf> {
    let cpu = if cfg!(target_arch = "x86_64") { "x86-64-v3" } else { "native" };
    let example = format!("{package}_native");
    let target = std::env::current_exe()?.with_file_name("native");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--example", &example, "-p", package])
        .env("RUSTFLAGS", format!("-C target-cpu={cpu}"))
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()?;
    ensure!(status.success(), "{package} cannot be built natively");
    Ok(target.join("release/examples").join(example))
}

/// Runs a unit natively: its output and the CPU seconds it took.
fn native(program: &Path, case: &Case) -> Result<(Vec<u8>, Duration)> {
    let output = Command::new(program).arg(case.params).args(&case.input).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{said}");
    Ok((output.stdout, Duration::from_secs_f64(said.trim().parse()?)))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn measure(case: &Case) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = build(case.package)?;
    let units = [NanMode::Unchecked, NanMode::Canonical].map(|nan| unit(case, folder.path(), nan));
    let (mut times, mut fuels) = (vec![Vec::new(); 3], [0; 2]);
    for repetition in 0..=REPETITIONS {
        let (expected, seconds) = native(&program, case)?;
        let mut seconds = vec![seconds];
        for (unit, fuel) in units.iter().zip(&mut fuels) {
            let config = Config::new(std::env::current_exe()?, folder.path().join("cache"), 1);
            let config = Config { priority: Priority::Normal, ..config };
            let finished =
                sandbox::run_once(config, unit.as_ref().ok().context("no unit")?.clone(), |_| {})?;
            let Outcome::Done { output, fuel: burnt, .. } = finished.outcome else {
                anyhow::bail!("{:?}", finished.outcome)
            };
            ensure!(
                output == expected,
                "{}: the sandbox gives other bytes than native code",
                case.name
            );
            *fuel = burnt;
            seconds.push(finished.cpu);
        }
        if repetition > 0 {
            times.iter_mut().zip(seconds).for_each(|(times, seconds)| times.push(seconds));
        }
    }
    let [native, unchecked, canonical] = [0, 1, 2].map(|index| {
        times[index].sort();
        times[index][REPETITIONS / 2].as_secs_f64()
    });
    let rate = fuels[0] as f64 / unchecked / 1e9;
    println!(
        "{:<58} {native:>8.3} {unchecked:>10.3} {:>5.2}x {canonical:>10.3} {:>5.2}x {rate:>11.1}",
        case.name,
        unchecked / native,
        canonical / native
    );
    Ok(())
}

fn unit(case: &Case, folder: &Path, nan: NanMode) -> Result<Unit> {
    let digest = proto::Digest::of(case.module);
    let path = folder.join(digest.to_string());
    std::fs::write(&path, case.module)?;
    let whole = |path: &PathBuf| -> Result<Input> {
        let content = std::fs::read(path)?;
        let digest = proto::Digest::of(&content);
        Ok(Input {
            segments: vec![Segment {
                path: path.clone(),
                digest: digest.0,
                offset: 0,
                len: content.len() as u64,
            }],
        })
    };
    Ok(Unit {
        kernel: Kernel { path, digest: digest.0, nan, contract: Contract::NEWEST },
        params: case.params.into(),
        inputs: case.input.iter().map(whole).collect::<Result<_>>()?,
        seed: [0; 32],
        limits: Limits { memory: 1 << 30, fuel: 1 << 60, output: 1 << 20, log: 10_000 },
        time: Duration::from_secs(3600),
        snapshot: None,
        exit_codes: vec![0],
        trace: None,
    })
}
