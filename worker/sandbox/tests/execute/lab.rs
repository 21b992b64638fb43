//! A directory with a program, a cache and kernels, and pools whose events are gathered.

use kernel::{Contract, NanMode};
use sandbox::{
    Config, Event, Finished, Input, Kernel, Limits, Pool, Priority, Segment, SnapshotPlan, Unit,
};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// Longest wait for anything: the machine may be busy with all the other tests.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Lab {
    dir: tempfile::TempDir,
}

/// A pool and what it says.
pub(super) struct Slots {
    pub(super) pool: Pool,
    pub(super) events: Receiver<(u64, Event)>,
}

/// Whether a unit has logged this.
pub(super) fn logged(events: &[Event], level: u8, text: &str) -> bool {
    let is_it = |event: &Event| matches!(event, Event::Log(line) if line.level == level && line.text == text);
    events.iter().any(is_it)
}

impl Lab {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A name of its own, by which this lab's children are known among those of other tests.
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sandbox-child"), dir.path().join("program"))
            .unwrap();
        Self { dir }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn config(&self, slots: usize) -> Config {
        let config = Config::new(self.path("program"), self.path("cache"), slots);
        Config { priority: Priority::Normal, ..config }
    }

    pub(super) fn file(&self, bytes: &[u8]) -> (PathBuf, [u8; 32]) {
        let digest = blake3::hash(bytes);
        let path = self.path(&digest.to_hex());
        // Not twice: a child may be reading it.
        if !path.exists() {
            fs::write(&path, bytes).unwrap();
        }
        (path, digest.into())
    }

    pub(super) fn input(&self, bytes: &[u8]) -> Input {
        let (path, digest) = self.file(bytes);
        Input { segments: vec![Segment { path, digest, offset: 0, len: bytes.len() as u64 }] }
    }

    /// A unit of a kernel in text or bytes, with limits that no honest kernel of these tests meets.
    pub(super) fn unit(&self, module: impl AsRef<[u8]>) -> Unit {
        let module = match module.as_ref() {
            text if text.starts_with(b"(module") => wat::parse_bytes(text).unwrap().into_owned(),
            bytes => bytes.to_vec(),
        };
        let (path, digest) = self.file(&module);
        Unit {
            kernel: Kernel { path, digest, nan: NanMode::Canonical, contract: Contract::NEWEST },
            params: b"{}".to_vec(),
            inputs: Vec::new(),
            seed: [7; 32],
            limits: Limits { memory: 64 << 20, fuel: 1 << 40, output: 1 << 20, log: 10_000 },
            time: PATIENCE,
            snapshot: None,
            exit_codes: vec![0],
            trace: None,
        }
    }

    /// A plan that takes a snapshot after every step.
    pub(super) fn snapshot(&self) -> Option<SnapshotPlan> {
        Some(SnapshotPlan { path: self.path("unit.snapshot"), interval: Duration::ZERO })
    }

    pub(super) fn run(&self, unit: Unit) -> (Finished, Vec<Event>) {
        let mut events = Vec::new();
        let finished = sandbox::run_once(self.config(1), unit, |event| events.push(event)).unwrap();
        (finished, events)
    }

    pub(super) fn slots(&self, config: Config) -> Slots {
        let (sender, events) = mpsc::sync_channel(100_000);
        let sink = move |id, event| drop(sender.send((id, event)));
        Slots { pool: Pool::start(config, sink).unwrap(), events }
    }

    /// Process ids of this lab's children.
    pub(super) fn children(&self) -> Vec<String> {
        let program = self.path("program").into_os_string().into_encoded_bytes();
        let processes = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        processes
            .filter(|pid| {
                fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| line.starts_with(&program))
            })
            .collect()
    }

    pub(super) fn signal(&self, signal: &str) -> usize {
        let children = self.children();
        for child in &children {
            Command::new("kill").args([signal, child]).output().unwrap();
        }
        children.len()
    }
}

impl Slots {
    pub(super) fn next(&self) -> (u64, Event) {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    /// The end of the next unit that ends.
    pub(super) fn finished(&self) -> (u64, Finished) {
        loop {
            if let (id, Event::Finished(finished)) = self.next() {
                return (id, finished);
            }
        }
    }

    /// Waits until a unit runs.
    pub(super) fn started(&self) -> bool {
        loop {
            match self.next().1 {
                Event::Started { resumed } => return resumed,
                Event::Finished(finished) => panic!("ended before it started: {finished:?}"),
                _ => {}
            }
        }
    }
}

/// A step kernel in text around what is particular to it, with every import of the contract.
pub(super) fn step_kernel(rest: &str) -> String {
    format!(
        r#"(module
        (import "starling" "params_len" (func $params_len (result i32)))
        (import "starling" "params_read" (func $params_read (param i32 i32 i32) (result i32)))
        (import "starling" "input_count" (func $input_count (result i32)))
        (import "starling" "input_len" (func $input_len (param i32) (result i64)))
        (import "starling" "input_read" (func $input_read (param i32 i64 i32 i32) (result i32)))
        (import "starling" "output_write" (func $output_write (param i32 i32)))
        (import "starling" "progress" (func $progress (param i64 i64)))
        (import "starling" "log" (func $log (param i32 i32 i32)))
        (func (export "starling_abi_1"))
        {rest})"#
    )
}

/// A step kernel whose step is this body and whose start does nothing.
pub(super) fn stepping(body: &str) -> String {
    step_kernel(&format!(
        r#"(memory (export "memory") 1) (func (export "starling_start"))
        (func (export "starling_step") (result i32) {body})"#
    ))
}

/// A kernel that walks over memory by a generator of its own for so many steps, grows, writes output now and then, and
/// keeps state in globals of every type. Its whole state shows in its output.
pub(super) fn walker(steps: u32) -> String {
    step_kernel(&format!(
        r#"(memory (export "memory") 4 64)
        (data (i32.const 70000) "what instantiation writes")
        (global $x (mut i64) (i64.const 88172645463325252))
        (global $f (mut f64) (f64.const 1))
        (global $s (mut f32) (f32.const 1))
        (global $v (mut v128) (v128.const i32x4 1 2 3 4))
        (global $n (mut i32) (i32.const 0))
        (func (export "starling_start") (memory.fill (i32.const 70000) (i32.const 0) (i32.const 10)))
        (func (export "starling_step") (result i32)
          (local $i i32) (local $at i32)
          (loop $again
            (global.set $x (i64.xor (global.get $x) (i64.shl (global.get $x) (i64.const 13))))
            (global.set $x (i64.xor (global.get $x) (i64.shr_u (global.get $x) (i64.const 7))))
            (global.set $x (i64.xor (global.get $x) (i64.shl (global.get $x) (i64.const 17))))
            (local.set $at (i32.rem_u (i32.wrap_i64 (global.get $x)) (i32.mul (memory.size) (i32.const 65528))))
            (i64.store (local.get $at) (i64.add (i64.load (local.get $at)) (global.get $x)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 2000))))
          (global.set $f (f64.div (f64.add (global.get $f) (f64.convert_i64_s (global.get $x))) (f64.const 1e9)))
          (global.set $s (f32.demote_f64 (global.get $f)))
          (global.set $v (i64x2.add (global.get $v) (i64x2.splat (global.get $x))))
          (global.set $n (i32.add (global.get $n) (i32.const 1)))
          (if (i32.eqz (i32.rem_u (global.get $n) (i32.const 50)))
            (then (drop (memory.grow (i32.const 1)))))
          (if (i32.eqz (i32.rem_u (global.get $n) (i32.const 8)))
            (then (call $output_write (local.get $at) (i32.const 8))))
          (if (result i32) (i32.lt_u (global.get $n) (i32.const {steps}))
            (then (i32.const 1))
            (else
              (f64.store (i32.const 0) (global.get $f))
              (f32.store (i32.const 8) (global.get $s))
              (v128.store (i32.const 16) (global.get $v))
              (call $output_write (i32.const 0) (i32.const 262144))
              (i32.const 0))))"#
    ))
}
