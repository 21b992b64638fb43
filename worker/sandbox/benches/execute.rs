//! What running a kernel as a unit costs: against bare wasmtime, with two slots against one, for snapshots, for traces
//! with kept states, for units that do nothing. Prints ratios and rates.
//!
//! `cargo bench -p sandbox --bench execute -- [repetitions [overhead|slots|snapshots|traces|traces-256|trivial]]`
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "common/bench.rs"]
mod common;

use common::Result;
use kernel::{Contract, NanMode};
use proto::trace::SPACING;
use rustix::time::{ClockId, clock_gettime};
use sandbox::{
    ArchivePlan, Begin, Config, Event, Finished, Kernel, Limits, Outcome, Pool, Priority,
    SnapshotPlan, TracePlan, Unit, Until, run_once,
};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use wasmtime::{
    Caller, Config as EngineConfig, Engine, Extern, Inlining, Linker, Module, Store, Val,
};

/// A range of exponents that takes about a second.
const PARAMS: &str = r#"{"p":{"end":9740,"first":9600}}"#;
const REPETITIONS: usize = 7;

fn main() -> ExitCode {
    common::run(REPETITIONS, |repetitions| Bench::new()?.all(repetitions))
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    fn all(&self, repetitions: usize) -> Result<()> {
        let only = common::words(2).next();
        let wanted = |part: &str| only.as_ref().is_none_or(|only| only == part);
        if wanted("overhead") {
            self.overhead(repetitions)?;
        }
        if wanted("slots") {
            self.slots()?;
        }
        if wanted("snapshots") {
            self.snapshots(16)?;
            self.snapshots(256)?;
        }
        if wanted("traces") {
            let long = r#"{"p":{"end":100004,"first":100003}}"#;
            let mersenne = self.unit(shipped::MERSENNE, NanMode::Unchecked)?;
            let mersenne = Unit { params: long.into(), ..mersenne };
            self.traces("mersenne, p = 100,003", &mersenne, SPACING, repetitions)?;
            // Many more points than usual, so that what one costs stands out of the noise.
            let name = "the same with points 64 times as dense";
            self.traces(name, &mersenne, SPACING / 64, repetitions)?;
        }
        if wanted("traces-256") {
            // All of 256 MB is in use, and each step changes a twentieth.
            let module = wat::parse_str(dirtying(256 * 16, 1500))?;
            let dirtying = self.unit(&module, NanMode::Unchecked)?;
            let name = "256 MB, 5 % of its pages new in each step";
            self.traces(name, &dirtying, SPACING / 32, repetitions)?;
        }
        if wanted("trivial") {
            self.trivial()?;
        }
        Ok(())
    }

    fn config(&self, slots: usize) -> Result<Config> {
        let config = Config::new(std::env::current_exe()?, self.dir.path().join("cache"), slots);
        Ok(Config { priority: Priority::Normal, ..config })
    }

    fn unit(&self, module: &[u8], nan: NanMode) -> Result<Unit> {
        let digest = blake3::hash(module);
        let path = self.dir.path().join(digest.to_hex().as_str());
        std::fs::write(&path, module)?;
        Ok(Unit {
            kernel: Kernel { path, digest: digest.into(), nan, contract: Contract::NEWEST },
            params: PARAMS.into(),
            inputs: Vec::new(),
            seed: [0; 32],
            limits: Limits { memory: 1 << 30, fuel: 1 << 60, output: 1 << 20, log: 10_000 },
            time: Duration::from_secs(3600),
            snapshot: None,
            exit_codes: vec![0],
            trace: None,
        })
    }

    fn run(&self, unit: &Unit) -> Result<(Finished, Vec<u8>)> {
        let finished = run_once(self.config(1)?, unit.clone(), |_| {})?;
        match finished.outcome.clone() {
            Outcome::Done { output, .. } => Ok((finished, output)),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// CPU time of prepared units against the same module as it is in bare wasmtime, one after the other in turn.
    fn overhead(&self, repetitions: usize) -> Result<()> {
        let bare = Bare::new(shipped::MERSENNE)?;
        let prepared = Bare::new(
            &kernel::prepare(shipped::MERSENNE, NanMode::Unchecked, Contract::NEWEST)?.wasm,
        )?;
        let unchecked = self.unit(shipped::MERSENNE, NanMode::Unchecked)?;
        let canonical = self.unit(shipped::MERSENNE, NanMode::Canonical)?;
        let mut ratios = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..=repetitions {
            let (bare_cpu, output) = bare.run()?;
            let (with_unchecked, same) = self.run(&unchecked)?;
            let (with_canonical, _) = self.run(&canonical)?;
            if output != same {
                return Err("the outputs differ".into());
            }
            let cpus = [prepared.run()?.0, with_unchecked.cpu, with_canonical.cpu];
            for (ratios, cpu) in ratios.iter_mut().zip(cpus) {
                ratios.push(cpu.as_secs_f64() / bare_cpu.as_secs_f64());
            }
        }
        // The first warms up and compiles.
        let [prepared, unchecked, canonical] = ratios.map(|mut ratios| median(&mut ratios[1..]));
        println!("mersenne against itself in bare wasmtime, CPU time, median of {repetitions}:");
        println!("  prepared, in bare wasmtime: {prepared:.3}");
        println!("  as a unit: nan unchecked {unchecked:.3}, canonical {canonical:.3}");
        Ok(())
    }

    fn slots(&self) -> Result<()> {
        let unit = self.unit(shipped::MERSENNE, NanMode::Unchecked)?;
        let mut ratios = Vec::new();
        for _ in 0..9 {
            let one = self.batch(&unit, 1, 2)?;
            let two = self.batch(&unit, 2, 2)?;
            ratios.push(one.as_secs_f64() / two.as_secs_f64());
        }
        let middle = median(&mut ratios);
        println!(
            "two slots against one, wall-clock time: {middle:.2} times as fast (median of 9), {:.2} at best",
            ratios.iter().copied().fold(0.0, f64::max)
        );
        Ok(())
    }

    /// Time for some equal units after a first one.
    fn batch(&self, unit: &Unit, slots: usize, n_units: u64) -> Result<Duration> {
        let (sender, events) = mpsc::channel();
        let pool = Pool::start(self.config(slots)?, move |_, event| {
            if let Event::Finished(finished) = event {
                // The receiver stays until all have come.
                let _ = sender.send(finished);
            }
        })?;
        for id in 0..slots as u64 {
            pool.submit(id, unit.clone())?;
        }
        for _ in 0..slots {
            events.recv()?;
        }
        let start = Instant::now();
        for id in 0..n_units {
            pool.submit(1000 + id, unit.clone())?;
        }
        for _ in 0..n_units {
            events.recv()?;
        }
        Ok(start.elapsed())
    }

    /// A kernel that changes a twentieth of its pages in each step, with a snapshot after each and without.
    fn snapshots(&self, megabytes: u32) -> Result<()> {
        let steps = 21;
        let module = wat::parse_str(dirtying(megabytes * 16, steps))?;
        let mut unit = self.unit(&module, NanMode::Unchecked)?;
        let start = Instant::now();
        let without = self.run(&unit)?.0.cpu;
        let wall_without = start.elapsed();
        let path = self.dir.path().join(format!("{megabytes}.snapshot"));
        unit.snapshot = Some(SnapshotPlan { path: path.clone(), interval: Duration::ZERO });
        let start = Instant::now();
        let finished = run_once(self.config(1)?, unit, |_| {})?;
        let wall = start.elapsed().saturating_sub(wall_without) / steps;
        let file = std::fs::metadata(&path)?.len();
        let cpu = finished.cpu.saturating_sub(without) / steps;
        println!(
            "snapshot of {megabytes} MB, 5 % of its pages new, mean of {steps}: {:.1} ms CPU, {:.1} ms wall, file {:.2} MB at its end",
            cpu.as_secs_f64() * 1e3,
            wall.as_secs_f64() * 1e3,
            file as f64 / 1e6,
        );
        Ok(())
    }

    /// CPU time with a trace and kept states against the same unit without, in turn. Others on the machine only ever add
    /// to it, so the least of each is compared.
    fn traces(&self, name: &str, unit: &Unit, spacing: u64, repetitions: usize) -> Result<()> {
        let path = self.dir.path().join("kept");
        let archive = ArchivePlan { path: path.clone(), bytes_max: 1 << 30 };
        let (begin, until) = (Begin::Start, Until::End);
        let plan = TracePlan { spacing, begin, until, archive: Some(archive) };
        let bare = TracePlan { archive: None, ..plan.clone() };
        let with = |plan| Unit { trace: Some(plan), ..unit.clone() };
        let mut least = [f64::INFINITY; 3];
        let (mut points, mut kept) = (0, 0);
        for _ in 0..repetitions {
            let plans = [unit.clone(), with(bare.clone()), with(plan.clone())];
            for (least, unit) in least.iter_mut().zip(&plans) {
                let (finished, _) = self.run(unit)?;
                *least = least.min(finished.cpu.as_secs_f64());
                if let Outcome::Done { trace: Some(trace), .. } = finished.outcome {
                    points = trace.points().len();
                }
            }
            kept = std::fs::metadata(&path).map_or(0, |file| file.len());
            // Each run keeps its own: one that finds the file of another keeps nothing.
            let _ = std::fs::remove_file(&path);
        }
        let [seconds, traced, keeping] = least;
        println!(
            "{name}, {seconds:.2} s, {points} points, {:.1} ms each: with trace {:.4}, with kept states too {:.4} ({kept} bytes), least of {repetitions} each",
            (traced - seconds) / points.max(1) as f64 * 1e3,
            traced / seconds,
            keeping / seconds,
        );
        Ok(())
    }

    fn trivial(&self) -> Result<()> {
        let module = wat::parse_str(TRIVIAL)?;
        let unit = self.unit(&module, NanMode::Canonical)?;
        for slots in [1, 2] {
            let n_units = 50_000;
            let time = self.batch(&unit, slots, n_units)?;
            println!(
                "trivial units, {slots} slots: {:.0} per second",
                n_units as f64 / time.as_secs_f64()
            );
        }
        Ok(())
    }
}

const TRIVIAL: &str = r#"(module (memory (export "memory") 1) (func (export "starling_abi_1"))
    (func (export "starling_start")) (func (export "starling_step") (result i32) (i32.const 0)))"#;

fn dirtying(pages: u32, steps: u32) -> String {
    format!(
        r#"(module (memory (export "memory") {pages}) (func (export "starling_abi_1"))
        (global $x (mut i64) (i64.const 88172645463325252)) (global $n (mut i32) (i32.const 0))
        (func $page (param $at i32) (local $end i32)
          (local.set $end (i32.add (local.get $at) (i32.const 65536)))
          (loop $again
            (global.set $x (i64.xor (global.get $x) (i64.shl (global.get $x) (i64.const 13))))
            (global.set $x (i64.xor (global.get $x) (i64.shr_u (global.get $x) (i64.const 7))))
            (global.set $x (i64.xor (global.get $x) (i64.shl (global.get $x) (i64.const 17))))
            (i64.store (local.get $at) (i64.and (global.get $x) (i64.const 0xffffffff)))
            (br_if $again (i32.ne (local.tee $at (i32.add (local.get $at) (i32.const 8))) (local.get $end)))))
        (func (export "starling_start") (local $i i32)
          (loop $again (call $page (i32.mul (local.get $i) (i32.const 65536)))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {pages})))))
        (func (export "starling_step") (result i32) (local $i i32)
          (loop $again
            (call $page (i32.mul (i32.const 65536) (i32.rem_u
              (i32.add (i32.mul (local.get $i) (i32.const 20)) (global.get $n)) (i32.const {pages}))))
            (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
              (i32.div_u (i32.const {pages}) (i32.const 20)))))
          (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (i32.lt_u (global.get $n) (i32.const {steps}))))"#
    )
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The module as it is, in wasmtime as it comes, with the least host that it can do with.
struct Bare {
    engine: Engine,
    module: Module,
}

impl Bare {
    fn new(wasm: &[u8]) -> Result<Self> {
        let mut config = EngineConfig::new();
        config.compiler_inlining(Inlining::Yes).wasm_wide_arithmetic(true);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, wasm)?;
        Ok(Self { engine, module })
    }

    fn run(&self) -> Result<(Duration, Vec<u8>)> {
        let before = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))?;
        let mut linker: Linker<Vec<u8>> = Linker::new(&self.engine);
        linker.func_wrap("starling", "params_len", || i32::try_from(PARAMS.len()).unwrap_or(0))?;
        linker.func_wrap(
            "starling",
            "params_read",
            |mut caller: Caller<'_, Vec<u8>>, offset: i32, ptr: i32, len: i32| {
                let Some(Extern::Memory(memory)) = caller.get_export("memory") else { return 0 };
                let rest =
                    PARAMS.as_bytes().get(offset.cast_unsigned() as usize..).unwrap_or_default();
                let n = rest.len().min(len.cast_unsigned() as usize);
                match memory.write(&mut caller, ptr.cast_unsigned() as usize, &rest[..n]) {
                    Ok(()) => i32::try_from(n).unwrap_or(0),
                    Err(_) => 0,
                }
            },
        )?;
        linker.func_wrap(
            "starling",
            "output_write",
            |mut caller: Caller<'_, Vec<u8>>, ptr: i32, len: i32| {
                let Some(Extern::Memory(memory)) = caller.get_export("memory") else { return };
                let (bytes, output) = memory.data_and_store_mut(&mut caller);
                let start = ptr.cast_unsigned() as usize;
                output.extend_from_slice(
                    bytes.get(start..start + len.cast_unsigned() as usize).unwrap_or_default(),
                );
            },
        )?;
        linker.func_wrap("starling", "progress", |_: i64, _: i64| {})?;
        linker.define_unknown_imports_as_traps(&self.module)?;
        let mut store = Store::new(&self.engine, Vec::new());
        let instance = linker.instantiate(&mut store, &self.module)?;
        if let Some(fuel) = instance.get_global(&mut store, kernel::FUEL_EXPORT) {
            fuel.set(&mut store, Val::I64(i64::MAX))?;
        }
        instance.get_typed_func::<(), ()>(&mut store, "starling_start")?.call(&mut store, ())?;
        let step = instance.get_typed_func::<(), i32>(&mut store, "starling_step")?;
        while step.call(&mut store, ())? == 1 {}
        let cpu =
            Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))?.saturating_sub(before);
        Ok((cpu, store.into_data()))
    }
}
