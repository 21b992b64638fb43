//! A folder of its own for each test, the program, and a grid to speak with.

use coordinator::Coordinator;
use proto::join::Join;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use worker::Worker;
use worker::folder::{Folder, Project};

const PROGRAM: &str = env!("CARGO_BIN_EXE_starling");

/// A user's home.
pub(crate) struct World {
    home: TempDir,
}

/// How a call ended.
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(args).current_dir(self.home.path());
        command.env("HOME", self.home.path()).env("STARLING_PROFILE", self.path("profile.json"));
        // Compiled kernels are shared by all tests of a run.
        command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        self.command(args).output().unwrap().into()
    }

    /// Runs and expects success; the standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let answer = self.run(args);
        assert_eq!(answer.code, Some(0), "{args:?}: {}{}", answer.stdout, answer.stderr);
        answer.stdout
    }

    /// Runs and expects an exit code; the standard error.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let answer = self.run(args);
        assert_eq!(answer.code, Some(code), "{args:?}: {}{}", answer.stdout, answer.stderr);
        answer.stderr
    }

    /// Starts it with its standard output and standard error led into pipes.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs with its standard output led elsewhere; the exit code and what it complained of.
    pub(crate) fn run_to(&self, args: &[&str], to: Stdio) -> (Option<i32>, String) {
        let mut command = self.command(args);
        let child = command.stdout(to).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Runs with `--output json` and expects success; the objects.
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        let text = self.ok(&[&["--output", "json"], args].concat());
        text.lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// A coordinator with workers of different owners, in this process.
pub(crate) struct Grid {
    runtime: tokio::runtime::Runtime,
    /// None while it is away.
    coordinator: Option<Coordinator>,
    join: Join,
    token: String,
    workers: Vec<Worker>,
}

impl Grid {
    pub(crate) fn start(world: &World) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let config = coordinator::Config::new(world.path("coordinator"), PROGRAM);
        let coordinator = runtime.block_on(Coordinator::start(config)).unwrap();
        let (join, token) = (coordinator.join().clone(), coordinator.operator_token().to_owned());
        Self { runtime, coordinator: Some(coordinator), join, token, workers: Vec::new() }
    }

    pub(crate) fn join(&self) -> Join {
        self.join.clone()
    }

    /// The coordinator goes away.
    pub(crate) fn part(&mut self) {
        if let Some(coordinator) = self.coordinator.take() {
            self.runtime.block_on(coordinator.shutdown(Duration::from_secs(5)));
        }
    }

    /// It comes back where it was.
    pub(crate) fn come_back(&mut self, world: &World) {
        let (_, port) = self.join.address.rsplit_once(':').unwrap();
        let listen = ([127, 0, 0, 1], port.parse().unwrap()).into();
        let usual = coordinator::Config::new(world.path("coordinator"), PROGRAM);
        let config = coordinator::Config { listen, ..usual };
        let started = self.runtime.block_on(Coordinator::start(config)).unwrap();
        self.coordinator = Some(started);
    }

    /// Stops the workers.
    pub(crate) fn stop_workers(&mut self) {
        for worker in std::mem::take(&mut self.workers) {
            self.runtime.block_on(worker.shutdown());
        }
    }

    /// Reports that the workers hold.
    pub(crate) fn unreported(&self) -> u64 {
        let of = |worker: &Worker| {
            let report = self.runtime.block_on(worker.status()).unwrap();
            report.status.unreported
        };
        self.workers.iter().map(of).sum()
    }

    pub(crate) fn token(&self) -> String {
        self.token.clone()
    }

    pub(crate) fn login(&self, world: &World) {
        world.ok(&["login", &self.join().to_string(), "--token", &self.token]);
    }

    pub(crate) fn add_worker(&mut self, world: &World, owner: &str) {
        let folder = Folder::take(&world.path(owner)).unwrap();
        let project = Project { join: self.join(), name: owner.into(), account_name: owner.into() };
        folder.join(&project).unwrap();
        let mut config = worker::Config::new(PROGRAM.into());
        config.slots = 1;
        config.memory_bytes = 1 << 30;
        config.buffer = Duration::from_secs(2);
        let _entered = self.runtime.enter();
        self.workers.push(Worker::start(folder, config).unwrap());
    }

    pub(crate) fn stop(mut self) {
        self.stop_workers();
        self.part();
    }
}
