//! What metering costs and how far it can be fooled, by both contracts: CPU time of fourteen shapes of computing and of the
//! shipped kernels against the same modules unmetered, and fuel per CPU second of the worst modules that a search over
//! seeds finds, against theirs. Needs `rustc` with the target wasm32-unknown-unknown.
//!
//! `cargo bench -p sandbox --bench metering -- [repetitions [cost|search [seeds]]]`; what runs is the engine's code, so
//! that the build's own profile makes no difference but in compile time.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "common/bench.rs"]
mod common;

use common::Result;
use kernel::{Contract, FUEL_EXPORT, NanMode};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use wasmtime::{Caller, Config, Engine, Inlining, Linker, Memory, Module, Store, Val};

const REPETITIONS: usize = 15;
/// CPU seconds that a shape is to compute at a time: little, so that some of the times nobody else disturbs it.
const SLICE_S: f64 = 0.02;
/// Modules that the search makes, and changes of the worst that it tries then.
const SEEDS: u64 = 300;
const CHANGES: u64 = 150;
const SHAPES: [&str; 15] = [
    "fft",
    "fft4",
    "ntt",
    "limbs",
    "squaring",
    "sha256",
    "rc5",
    "molecules",
    "nbody",
    "montecarlo",
    "alignment",
    "sparse",
    "collatz",
    "sorting",
    "interpreter",
];
/// The contracts with none at all before them.
const VARIANTS: [Option<Contract>; 3] = [None, Some(Contract::One), Some(Contract::Two)];

fn main() -> ExitCode {
    common::run(REPETITIONS, |repetitions| {
        let only = common::words(2).next();
        let wanted = |part: &str| only.as_ref().is_none_or(|only| only == part);
        if wanted("cost") {
            cost(repetitions)?;
        }
        if wanted("search") {
            let seeds = common::words(3).next().and_then(|text| text.parse().ok());
            search(seeds.unwrap_or(SEEDS))?;
        }
        Ok(())
    })
}

/// What a kernel is given.
#[derive(Clone, Default)]
struct Supplied {
    params: &'static str,
    input: Vec<u8>,
    /// How often it is asked to compute all of it again, after the first time.
    again: u32,
}

struct Case {
    name: String,
    module: Vec<u8>,
    given: Supplied,
}

fn cases(folder: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        let module = std::fs::read(compile(shape, folder)?)?;
        cases.push(Case { name: shape.to_owned(), module, given: Supplied::default() });
    }
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shipped: [(&str, &[u8], &'static str, &str); 5] = [
        ("mersenne, p about 9,700", shipped::MERSENNE, r#"{"p":{"end":9640,"first":9600}}"#, ""),
        ("mersenne, p = 44,497", shipped::MERSENNE, r#"{"p":{"end":44498,"first":44497}}"#, ""),
        ("pulsar, time series", shipped::PULSAR, "{}", "data/GBT_J1807-0847.tim"),
        (
            "pulsar, filterbank",
            shipped::PULSAR,
            r#"{"dm":{"count":6,"start":20.0,"step":1.0}}"#,
            "data/tutorial.fil",
        ),
        ("seti", shipped::SETI, r#"{"chirp_limit":0.2}"#, "seti/reference_work_unit.sah"),
    ];
    for (name, module, params, input) in shipped {
        let input =
            if input.is_empty() { Ok(Vec::new()) } else { std::fs::read(shared.join(input)) };
        match input {
            Ok(input) => {
                let given = Supplied { params, input, again: 0 };
                cases.push(Case { name: name.to_owned(), module: module.to_vec(), given });
            }
            Err(_) => println!("{name}: left out, its input is not there"),
        }
    }
    Ok(cases)
}

fn compile(shape: &str, folder: &Path) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/common/shapes.rs");
    let module = folder.join(format!("{shape}.wasm"));
    let status = Command::new("rustc")
        .args(["--edition=2024", "--crate-type=cdylib", "--target=wasm32-unknown-unknown"])
        .args(["-Copt-level=3", "-Cpanic=abort", "-Cstrip=symbols", "-Ctarget-feature=+simd128"])
        .args(["--cfg", &format!("shape={shape:?}"), "-Aunexpected-cfgs", "-o"])
        .args([&module, &source])
        .status()?;
    if status.success() { Ok(module) } else { Err(format!("{shape} does not compile").into()) }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]
fn cost(repetitions: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    println!(
        "CPU seconds, least of {repetitions}, in turn; Gfuel per CPU second; bytes of the prepared module"
    );
    println!(
        "{:<26} {:>9} {:>9} {:>9} {:>10} {:>10} {:>10} {:>8} {:>8}",
        "", "unmetered", "contract 1", "2", "Gfuel/s 1", "2", "fuel 2:1", "bytes 1", "2"
    );
    let (mut ratios, mut rates) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for mut case in cases(folder.path())? {
        let mut compiled = Vec::new();
        for variant in VARIANTS {
            compiled.push(Compiled::new(&case.module, variant)?);
        }
        if case.given.params.is_empty() {
            let once = compiled[0].run(&case.given, 0)?.cpu.as_secs_f64();
            case.given.again = (SLICE_S / once).min(1000.0) as u32;
        }
        let mut least = [f64::INFINITY; 3];
        let mut fuel = [0; 3];
        for _ in 0..repetitions {
            for (index, compiled) in compiled.iter().enumerate() {
                let run = compiled.run(&case.given, 1 << 62)?;
                if run.spent {
                    return Err(format!("{}: trapped", case.name).into());
                }
                least[index] = least[index].min(run.cpu.as_secs_f64());
                fuel[index] = run.fuel;
            }
        }
        let bytes: Vec<f64> = compiled
            .iter()
            .map(|compiled| compiled.bytes as f64 / case.module.len() as f64)
            .collect();
        let rate = |of: usize| fuel[of] as f64 / least[of] / 1e9;
        for of in [0, 1] {
            ratios[of].push(least[of + 1] / least[0]);
            rates[of].push(rate(of + 1));
        }
        println!(
            "{:<26} {:>9.3} {:>9.3}x {:>8.3}x {:>10.1} {:>10.1} {:>10.3} {:>8.2} {:>8.2}",
            case.name,
            least[0],
            least[1] / least[0],
            least[2] / least[0],
            rate(1),
            rate(2),
            fuel[2] as f64 / fuel[1] as f64,
            bytes[1],
            bytes[2],
        );
    }
    println!(
        "geometric means: {:.3}x, {:.3}x; {:.1}, {:.1} Gfuel/s",
        mean(&ratios[0]),
        mean(&ratios[1]),
        mean(&rates[0]),
        mean(&rates[1])
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

/// A module, compiled as workers do, metered by a contract or not at all.
struct Compiled {
    engine: Engine,
    module: Module,
    bytes: usize,
}

/// How a run went.
struct Run {
    cpu: Duration,
    fuel: i64,
    spent: bool,
}

struct Host {
    given: Supplied,
    memory: Option<Memory>,
}

impl Compiled {
    fn new(wasm: &[u8], contract: Option<Contract>) -> Result<Self> {
        let wasm = match contract {
            Some(contract) => kernel::prepare(wasm, NanMode::Unchecked, contract)?.wasm,
            None => wasm.to_vec(),
        };
        // As the sandbox has it: functions are inlined in modules up to this size.
        let inlining = if wasm.len() <= 256 << 10 { Inlining::Yes } else { Inlining::No };
        let mut config = Config::new();
        config.compiler_inlining(inlining).wasm_wide_arithmetic(true).native_unwind_info(false);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, &wasm)?;
        Ok(Self { engine, module, bytes: wasm.len() })
    }

    fn run(&self, given: &Supplied, budget: i64) -> Result<Run> {
        let mut linker: Linker<Host> = Linker::new(&self.engine);
        linker.func_wrap("starling", "params_len", |host: Caller<'_, Host>| {
            i32::try_from(host.data().given.params.len()).unwrap_or(0)
        })?;
        linker.func_wrap("starling", "input_count", |host: Caller<'_, Host>| {
            i32::from(!host.data().given.input.is_empty())
        })?;
        linker.func_wrap("starling", "input_len", |host: Caller<'_, Host>, _: i32| {
            i64::try_from(host.data().given.input.len()).unwrap_or(0)
        })?;
        let params_read = |mut host: Caller<'_, Host>, offset: i32, ptr: i32, len: i32| {
            copy(&mut host, false, i64::from(offset), ptr, len)
        };
        linker.func_wrap("starling", "params_read", params_read)?;
        let input_read = |mut host: Caller<'_, Host>, _: i32, offset: i64, ptr: i32, len: i32| {
            copy(&mut host, true, offset, ptr, len)
        };
        linker.func_wrap("starling", "input_read", input_read)?;
        linker.func_wrap("starling", "output_write", |_: i32, _: i32| {})?;
        linker.func_wrap("starling", "progress", |_: i64, _: i64| {})?;
        linker.func_wrap("starling", "log", |_: i32, _: i32, _: i32| {})?;
        let mut store = Store::new(&self.engine, Host { given: given.clone(), memory: None });
        let instance = linker.instantiate(&mut store, &self.module)?;
        store.data_mut().memory = instance.get_memory(&mut store, kernel::MEMORY_EXPORT);
        let fuel = instance.get_global(&mut store, FUEL_EXPORT);
        if let Some(fuel) = fuel {
            fuel.set(&mut store, Val::I64(budget))?;
        }
        let start = instance.get_typed_func::<(), ()>(&mut store, "starling_start")?;
        let step = instance.get_typed_func::<(), i32>(&mut store, "starling_step")?;
        let before = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))?;
        let mut run = || -> wasmtime::Result<()> {
            start.call(&mut store, ())?;
            for _ in 0..=given.again {
                while step.call(&mut store, ())? == 1 {}
            }
            Ok(())
        };
        let spent = run().is_err();
        let cpu =
            Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))?.saturating_sub(before);
        let left = fuel.and_then(|fuel| fuel.get(&mut store).i64()).unwrap_or(budget);
        Ok(Run { cpu, fuel: budget - left, spent })
    }
}

/// Copies from what the kernel is given into its memory; the bytes copied.
fn copy(host: &mut Caller<'_, Host>, input: bool, offset: i64, ptr: i32, len: i32) -> i32 {
    let Some(memory) = host.data().memory else { return 0 };
    let (bytes, data) = memory.data_and_store_mut(host);
    let from = if input { data.given.input.as_slice() } else { data.given.params.as_bytes() };
    let from =
        usize::try_from(offset).ok().and_then(|offset| from.get(offset..)).unwrap_or_default();
    let n = from.len().min(len.cast_unsigned() as usize);
    let at = ptr.cast_unsigned() as usize;
    let Some(to) = bytes.get_mut(at..at + n) else { return 0 };
    to.copy_from_slice(&from[..n]);
    i32::try_from(n).unwrap_or(0)
}

/// One of the ways to be charged for what costs no time, with how many operators.
#[derive(Clone, Copy, Debug)]
struct Trick {
    kind: usize,
    filler: usize,
    operators: usize,
    times: usize,
}

const KINDS: usize = 12;
const FILLERS: usize = 10;
/// Around every threshold of contract 2, and large.
const SIZES: [usize; 17] = [3, 8, 12, 16, 18, 20, 22, 34, 36, 38, 40, 62, 66, 74, 78, 500, 3_000];

impl Trick {
    fn random(random: &mut StdRng) -> Self {
        Self {
            kind: random.random_range(0..KINDS),
            filler: random.random_range(0..FILLERS),
            operators: SIZES[random.random_range(0..SIZES.len())],
            times: [1, 1, 2, 4, 12, 30][random.random_range(0..6)],
        }
    }

    /// Operators that a compiler removes.
    fn filler(self) -> String {
        let (one, costs) = match self.filler {
            0 => ("nop ", 1),
            1 => ("local.get $x drop ", 2),
            2 => ("i64.const 7 drop ", 2),
            3 => ("local.get $x local.get $y i64.mul drop ", 4),
            4 => ("local.get $x i64.const 1 i64.add local.set $x ", 4),
            5 => ("local.get $x local.get $y i64.xor local.set $x ", 4),
            6 => ("local.get $y local.get $z i64.mul local.get $z i64.add local.set $w ", 6),
            7 => ("block end ", 2),
            8 => ("local.get $x local.set $x ", 2),
            _ => ("local.get $y local.get $y f64.convert_i64_s f64.sqrt drop i64.eqz drop ", 7),
        };
        one.repeat((self.operators / costs).max(1))
    }

    fn write(self, text: &mut String, functions: &mut String, label: usize) {
        let filler = self.filler();
        for time in 0..self.times {
            let label = format!("{label}_{time}");
            let written = match self.kind {
                0 => write!(text, "{filler}"),
                1 => write!(text, "local.get $zero if {filler} end "),
                2 => write!(text, "local.get $zero if nop else {filler} end "),
                3 => write!(text, "block $b{label} local.get $one br_if $b{label} {filler} end "),
                4 => write!(text, "block $b{label} {filler} br $b{label} {filler} end "),
                5 => write!(
                    text,
                    "block $o{label} block $b{label} local.get $zero br_table $o{label} $b{label} $o{label} end {filler} end "
                ),
                6 => write!(text, "loop $l{label} {filler} local.get $zero br_if $l{label} end "),
                7 => write!(text, "loop $l{label} {filler} end "),
                8 => {
                    if time == 0 {
                        let _ = write!(
                            functions,
                            "(func $f{label} (local $x i64) (local $y i64) (local $z i64) (local $w i64) {filler}) "
                        );
                    }
                    write!(text, "call $f{} ", label.replace(&format!("_{time}"), "_0"))
                }
                9 => {
                    // A loop inside, of a few turns, whose content does not change.
                    write!(
                        text,
                        "i32.const 8 local.set $n loop $l{label} {filler} local.get $n i32.const 1 i32.sub local.tee $n br_if $l{label} end "
                    )
                }
                10 => {
                    let arms: String =
                        (0..20).map(|arm| format!("block $a{label}_{arm} ")).collect();
                    let ends = format!("end {filler} br $o{label} ").repeat(19);
                    let names: String = (0..20).map(|arm| format!("$a{label}_{arm} ")).collect();
                    write!(
                        text,
                        "block $o{label} {arms} local.get $nineteen br_table {names} {ends} end end "
                    )
                }
                _ => write!(
                    text,
                    "block $b{label} local.get $zero if {filler} br $b{label} end local.get $zero br_if $b{label} end "
                ),
            };
            written.expect("a string takes all");
        }
    }
}

/// A kernel that never ends, of some tricks.
fn module(tricks: &[Trick]) -> String {
    let (mut text, mut functions) = (String::new(), String::new());
    for (label, trick) in tricks.iter().enumerate() {
        trick.write(&mut text, &mut functions, label);
    }
    format!(
        r#"(module (memory (export "memory") 1) (global $g (mut i32) (i32.const 0)) {functions}
        (func (export "starling_abi_1")) (func (export "starling_start"))
        (func (export "starling_step") (result i32) (local $x i64) (local $y i64) (local $z i64) (local $w i64)
            (local $zero i32) (local $one i32) (local $nineteen i32) (local $n i32)
            (local.set $zero (i32.load (i32.const 64))) (local.set $one (i32.add (local.get $zero) (i32.const 1)))
            (local.set $nineteen (i32.add (local.get $zero) (i32.const 19)))
            (local.set $y (i64.load (i32.const 72))) (local.set $z (i64.load (i32.const 80)))
            (loop $again {text} br $again) unreachable))"#
    )
}

/// Fuel per CPU second of an endless kernel: the budget grows until it takes long enough to be measured.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn rate(wasm: &[u8], contract: Contract) -> Result<f64> {
    let compiled = Compiled::new(wasm, Some(contract))?;
    let mut budget = 1 << 26;
    loop {
        let run = compiled.run(&Supplied::default(), budget)?;
        if Duration::from_millis(30) < run.cpu {
            return Ok(run.fuel as f64 / run.cpu.as_secs_f64());
        }
        budget = budget.checked_mul(4).ok_or("it takes no time at all")?;
    }
}

fn search(seeds: u64) -> Result<()> {
    for contract in [Contract::One, Contract::Two] {
        let mut random = StdRng::seed_from_u64(1);
        let mut worst: (f64, Vec<Trick>) = (0.0, Vec::new());
        for seed in 0..seeds + CHANGES {
            let mut tricks = worst.1.clone();
            if seed < seeds {
                random = StdRng::seed_from_u64(seed);
                let n = random.random_range(1..4);
                tricks = (0..n).map(|_| Trick::random(&mut random)).collect();
            } else {
                let changed = random.random_range(0..=tricks.len());
                match tricks.get_mut(changed) {
                    Some(trick) => *trick = Trick::random(&mut random),
                    None => tricks.push(Trick::random(&mut random)),
                }
            }
            let wasm = wat::parse_str(module(&tricks))?;
            if 128 << 10 < wasm.len() {
                continue;
            }
            let rate = rate(&wasm, contract)?;
            if worst.0 < rate {
                println!(
                    "contract {}, {seed}: {:.1} Gfuel/s {tricks:?}",
                    contract.number(),
                    rate / 1e9
                );
                worst = (rate, tricks);
            }
        }
    }
    Ok(())
}
