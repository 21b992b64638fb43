//! What the walls around children cost: the start of a child, units that do nothing, such units with an input, and a long
//! unit, with all walls, with single ones, and with none, in turns.
//!
//! `cargo bench -p sandbox --bench walls -- [rounds]`
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "common/bench.rs"]
mod common;

use common::Result;
use kernel::{Contract, NanMode};
use sandbox::{
    Config, Event, Input, Kernel, Limits, Outcome, Pool, Priority, Segment, Unit, WallPlan,
    own_program,
};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Times that everything is measured.
const ROUNDS: usize = 15;
/// Children that are started for one measure.
const STARTS: u32 = 20;
/// Units that do nothing, for one measure.
const TRIVIAL: u64 = 20_000;
/// A range of exponents that takes about a second.
const PARAMS: &str = r#"{"p":{"end":9740,"first":9600}}"#;
/// A kernel that reads a byte of its input, if there is one, and is done.
const READER: &str = r#"(module
    (import "starling" "input_read" (func $read (param i32 i64 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "starling_abi_1"))
    (func (export "starling_start"))
    (func (export "starling_step") (result i32)
      (drop (call $read (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 1))) (i32.const 0)))"#;

fn main() -> ExitCode {
    common::run(ROUNDS, |rounds| Bench::new()?.all(rounds))
}

struct Bench {
    dir: tempfile::TempDir,
}

/// What is measured: its name, and how long it takes.
type Measure = (&'static str, fn(&Bench, WallPlan) -> Result<Duration>);

impl Bench {
    fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    fn all(&self, rounds: usize) -> Result<()> {
        let none = WallPlan { landlock: false, calls: false, namespaces: false, required: false };
        let plans = [
            ("none", none),
            ("all", WallPlan::default()),
            ("seccomp", WallPlan { calls: true, ..none }),
            ("Landlock", WallPlan { landlock: true, ..none }),
            ("namespaces", WallPlan { namespaces: true, ..none }),
        ];
        let measures: [Measure; 4] = [
            ("start of a child and one unit", Self::start),
            ("a unit that does nothing", |bench, plan| bench.many(plan, false)),
            ("a unit that reads an input", |bench, plan| bench.many(plan, true)),
            ("a long unit", Self::long),
        ];
        for (name, measure) in measures {
            // The first compiles.
            measure(self, none)?;
            let mut took = plans.map(|_| Vec::new());
            for _ in 0..rounds {
                for (took, (_, plan)) in took.iter_mut().zip(plans) {
                    took.push(measure(self, plan)?);
                }
            }
            let middle = took.map(|mut took| {
                took.sort();
                took[took.len() / 2]
            });
            for ((plan, _), middle_of) in plans.iter().zip(middle) {
                let more = (middle_of.as_secs_f64() / middle[0].as_secs_f64() - 1.0) * 100.0;
                println!("{name}, walls {plan}: {middle_of:?} ({more:+.1} %)");
            }
        }
        Ok(())
    }

    /// From nothing to the end of a unit that does nothing, in a new child.
    fn start(&self, plan: WallPlan) -> Result<Duration> {
        let begun = Instant::now();
        for _ in 0..STARTS {
            self.run(plan, vec![self.unit(READER.as_bytes(), b"{}")?])?;
        }
        Ok(begun.elapsed() / STARTS)
    }

    /// One of many units.
    fn many(&self, plan: WallPlan, reading: bool) -> Result<Duration> {
        let mut unit = self.unit(READER.as_bytes(), b"{}")?;
        if reading {
            let path = self.dir.path().join("input");
            std::fs::write(&path, [7; 4096])?;
            let segment = Segment { path, digest: [0; 32], offset: 0, len: 4096 };
            unit.inputs = vec![Input { segments: vec![segment] }];
        }
        let units = vec![unit; usize::try_from(TRIVIAL)?];
        Ok(self.run(plan, units)? / u32::try_from(TRIVIAL)?)
    }

    fn long(&self, plan: WallPlan) -> Result<Duration> {
        self.run(plan, vec![self.unit(shipped::MERSENNE, PARAMS.as_bytes())?])
    }

    /// Time that units take in one slot.
    fn run(&self, plan: WallPlan, units: Vec<Unit>) -> Result<Duration> {
        let mut config = Config::new(own_program()?, self.dir.path().join("cache"), 1);
        (config.priority, config.walls) = (Priority::Normal, plan);
        let (sender, events) = mpsc::sync_channel(1024);
        let begun = Instant::now();
        let pool = Pool::start(config, move |_, event| drop(sender.send(event)))?;
        let mut left = units.len();
        for (id, unit) in (0..).zip(units) {
            pool.submit(id, unit)?;
        }
        while 0 < left {
            if let Event::Finished(finished) = events.recv()? {
                left -= 1;
                if !matches!(finished.outcome, Outcome::Done { .. }) {
                    return Err(format!("{:?}", finished.outcome).into());
                }
            }
        }
        Ok(begun.elapsed())
    }

    fn unit(&self, module: &[u8], params: &[u8]) -> Result<Unit> {
        let bytes = wat::parse_bytes(module)?;
        let digest = blake3::hash(&bytes);
        let path = self.dir.path().join(digest.to_hex().as_str());
        if !path.exists() {
            std::fs::write(&path, &bytes)?;
        }
        Ok(Unit {
            kernel: Kernel {
                path,
                digest: digest.into(),
                nan: NanMode::Unchecked,
                contract: Contract::NEWEST,
            },
            params: params.to_vec(),
            inputs: Vec::new(),
            seed: [0; 32],
            limits: Limits { memory: 64 << 20, fuel: 1 << 50, output: 1 << 20, log: 0 },
            exit_codes: vec![0],
            time: Duration::from_secs(600),
            snapshot: None,
            trace: None,
        })
    }
}
