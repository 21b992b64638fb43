//! Runs units on this machine, in the same sandbox and to the same bytes as a worker.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::kernel::NanMode;
use proto::bounds::LINE_BYTES_MAX;
use proto::cut::{self, Axis};
use proto::job::{Extra, JobSpec, Nan, Segment, Unit, UnitInput};
use proto::report::{Failure, Output};
use proto::{Digest, UnitIndex};
use tempfile::TempDir;
use worker::execute::{self, Event, Finished, Outcome, Priority};

use crate::error::Error;
use crate::job_file::{Blob, Content};
use crate::profile;

/// Content by digest, and a sandbox.
#[derive(Debug)]
pub(crate) struct Local {
    config: execute::Config,
    scratch: TempDir,
    files: BTreeMap<Digest, PathBuf>,
}

/// What a unit came to here.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) result: Result<Vec<u8>, Failure>,
    pub(crate) fuel: u64,
    pub(crate) cpu: Duration,
    pub(crate) log: Vec<String>,
}

impl Run {
    /// What a report would say of it.
    pub(crate) fn digest(&self) -> Result<Digest, Failure> {
        match &self.result {
            Ok(output) => Ok(Digest::of(output)),
            Err(failure) => Err(*failure),
        }
    }
}

impl Local {
    /// A sandbox that keeps compiled kernels for the next time.
    pub(crate) fn new() -> Result<Self, Error> {
        let program = std::env::current_exe()
            .map_err(|error| Error::Failed(format!("this program cannot find itself: {error}")))?;
        let cache = profile::cache_path()?;
        fs::create_dir_all(&cache).map_err(Error::file("create", &cache))?;
        let mut config = execute::Config::new(program, cache, 1);
        config.priority = Priority::Normal;
        let scratch = tempfile::Builder::new().prefix("starling-").tempdir();
        let scratch = scratch.map_err(Error::file("create a folder in", &std::env::temp_dir()))?;
        Ok(Self { config, scratch, files: BTreeMap::new() })
    }

    pub(crate) fn config(&self) -> execute::Config {
        self.config.clone()
    }

    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Content that lies in a file.
    pub(crate) fn add_file(&mut self, digest: Digest, path: PathBuf) {
        self.files.insert(digest, path);
    }

    /// Content that lies in memory.
    pub(crate) fn add_bytes(&mut self, content: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(content);
        let path = self.scratch.path().join(digest.to_string());
        fs::write(&path, content).map_err(Error::file("write", &path))?;
        self.files.insert(digest, path);
        Ok(digest)
    }

    /// The content of a job.
    pub(crate) fn add_blobs(&mut self, blobs: &[Blob]) -> Result<(), Error> {
        for blob in blobs {
            match &blob.content {
                Content::File(path) => self.add_file(blob.digest, path.clone()),
                Content::Bytes(bytes) => drop(self.add_bytes(bytes)?),
            }
        }
        Ok(())
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.files.contains_key(digest)
    }

    /// Unit `unit` of a job, ready to be run; `merged` are the outputs that a merge unit takes.
    pub(crate) fn unit(
        &mut self,
        spec: &JobSpec,
        unit: UnitIndex,
        merged: Vec<Output>,
    ) -> Result<execute::Unit, Error> {
        let line = match spec.cut.iter().find_map(|axis| {
            if let Axis::Lines { digest, .. } = axis { Some(*digest) } else { None }
        }) {
            Some(digest) => {
                cut::line(spec, unit).map(|index| self.line(&digest, index)).transpose()?
            }
            None => None,
        };
        let unit = spec
            .unit(unit, &Extra { line, inputs: merged })
            .map_err(|error| Error::Usage(error.to_string()))?;
        self.prepare(unit)
    }

    fn line(&self, digest: &Digest, index: u64) -> Result<String, Error> {
        let path = self.path(digest)?;
        let file = File::open(&path).map_err(Error::file("read", &path))?;
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        for _ in 0..=index {
            line.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_line(&mut line);
            read.map_err(Error::file("read", &path))?;
        }
        Ok(line.trim_end_matches('\n').to_owned())
    }

    pub(crate) fn path(&self, digest: &Digest) -> Result<PathBuf, Error> {
        let missing = || Error::Failed(format!("the content {digest} is not on this machine"));
        let path = self.files.get(digest).ok_or_else(missing)?;
        std::path::absolute(path).map_err(Error::file("find", path))
    }

    /// A unit in the sandbox's words.
    pub(crate) fn prepare(&mut self, unit: Unit) -> Result<execute::Unit, Error> {
        let nan = match unit.nan {
            Nan::Canonical => NanMode::Canonical,
            Nan::Unchecked => NanMode::Unchecked,
        };
        let kernel = execute::Kernel { path: self.path(&unit.kernel)?, digest: unit.kernel.0, nan };
        let inputs =
            unit.inputs.into_iter().map(|input| self.input(input)).collect::<Result<_, _>>()?;
        let limits = execute::Limits {
            memory: unit.limits.memory_bytes,
            fuel: unit.limits.fuel,
            output: unit.limits.output_bytes,
            log: unit.limits.log_bytes,
        };
        let time = Duration::from_secs(unit.limits.time_s);
        Ok(execute::Unit {
            kernel,
            params: unit.params.into_bytes(),
            inputs,
            seed: unit.seed,
            limits,
            time,
            snapshot: None,
            trace: None,
        })
    }

    fn input(&mut self, input: UnitInput) -> Result<execute::Input, Error> {
        let segments = match input {
            UnitInput::Segments(segments) => segments,
            UnitInput::Inline(content) => {
                let digest = self.add_bytes(&content)?;
                vec![Segment { digest, offset: 0, len: content.len() as u64 }]
            }
        };
        let segment = |Segment { digest, offset, len }| {
            Ok(execute::Segment { path: self.path(&digest)?, digest: digest.0, offset, len })
        };
        Ok(execute::Input {
            segments: segments.into_iter().map(segment).collect::<Result<_, Error>>()?,
        })
    }

    /// Runs a unit, or a part of it, to the end that was asked for.
    pub(crate) fn finish(&self, unit: execute::Unit) -> Result<Finished, Error> {
        Ok(execute::run_once(self.config(), unit, |_| {})?)
    }

    /// Runs a unit to its end.
    pub(crate) fn run(&self, unit: execute::Unit) -> Result<Run, Error> {
        let mut log = Vec::new();
        let finished = execute::run_once(self.config(), unit, |event| match event {
            Event::Log(line) => log.push(line.text),
            Event::Warning(text) => log.push(format!("warning: {text}")),
            Event::Started { .. } | Event::Progress { .. } | Event::Finished(_) => {}
        })?;
        outcome(finished, log)
    }
}

/// What came out, unless it was this machine's fault.
pub(crate) fn outcome(finished: Finished, log: Vec<String>) -> Result<Run, Error> {
    let cpu = finished.cpu;
    match finished.outcome {
        Outcome::Done { output, fuel, .. } => Ok(Run { result: Ok(output), fuel, cpu, log }),
        Outcome::Failed { reason, fuel, .. } => {
            Ok(Run { result: Err(failure(reason)), fuel, cpu, log })
        }
        Outcome::Infrastructure { reason } => Err(Error::Failed(reason.to_string())),
        // No unit here has an end of its own.
        Outcome::Interrupted { .. } | Outcome::Reached(_) => {
            Err(Error::Failed("the unit was interrupted".into()))
        }
    }
}

fn failure(reason: execute::Failure) -> Failure {
    match reason {
        execute::Failure::Unreachable => Failure::Unreachable,
        execute::Failure::FuelSpent => Failure::FuelSpent,
        execute::Failure::OutOfBounds => Failure::OutOfBounds,
        execute::Failure::Division => Failure::Division,
        execute::Failure::BadConversion => Failure::BadConversion,
        execute::Failure::BadCall => Failure::BadCall,
        execute::Failure::OutputTooLarge => Failure::OutputTooLarge,
        execute::Failure::BadStep(value) => Failure::BadStep(value),
        execute::Failure::Exit(code) => Failure::Exit(code),
    }
}
