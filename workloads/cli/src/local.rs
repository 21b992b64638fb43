//! Runs units on this machine, in the same sandbox and to the same bytes as a worker.

use crate::error::Error;
use crate::forecast::Part;
use crate::job_file::{Blob, Content};
use crate::line_file::LineFile;
use crate::profile;
use ::kernel::{Contract, NanMode};
use proto::cut;
use proto::job::{Extra, Input, JobSpec, Nan, Segment, Unit, UnitInput};
use proto::report::{Failure, Output};
use proto::{Digest, UnitIndex};
use sandbox::{
    self, Compilation, CompileCost, CompileLimits, CompileStop, Event, Finished, Outcome, Priority,
    WallPlan,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Content by digest, and a sandbox.
#[derive(Debug)]
pub(crate) struct Local {
    config: sandbox::Config,
    scratch: TempDir,
    files: BTreeMap<Digest, PathBuf>,
    lines: BTreeMap<Digest, LineFile>,
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
    /// A sandbox that keeps compiled kernels for the next time, where the user's home lets it.
    pub(crate) fn new() -> Result<Self, Error> {
        let program = sandbox::own_program()
            .map_err(|error| Error::Failed(format!("this program cannot find itself: {error}")))?;
        let scratch = tempfile::Builder::new().prefix("starling-").tempdir();
        let scratch =
            scratch.map_err(|source| Error::NoScratch { path: std::env::temp_dir(), source })?;
        let cache = cache().unwrap_or_else(|| scratch.path().join("kernels"));
        let mut config = sandbox::Config::new(program, cache, 1);
        config.priority = Priority::Normal;
        Ok(Self { config, scratch, files: BTreeMap::new(), lines: BTreeMap::new() })
    }

    pub(crate) fn config(&self) -> sandbox::Config {
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
    ) -> Result<sandbox::Unit, Error> {
        let line = self.line(spec, unit)?;
        let unit = spec
            .unit(unit, &Extra { line, inputs: merged })
            .map_err(|error| Error::Usage(error.to_string()))?;
        self.prepare(unit)
    }

    /// The line that a unit of the cut takes, if it takes one.
    fn line(&mut self, spec: &JobSpec, unit: UnitIndex) -> Result<Option<String>, Error> {
        let (Some((digest, ..)), Some(index)) = (spec.line_file(), cut::line(spec, unit)) else {
            return Ok(None);
        };
        if !self.lines.contains_key(&digest) {
            self.lines.insert(digest, LineFile::open(&self.path(&digest)?)?);
        }
        self.lines.get_mut(&digest).map(|file| file.line(index)).transpose()
    }

    /// The file that a unit of the cut has of the job's list, if there is one.
    pub(crate) fn listed(
        &mut self,
        spec: &JobSpec,
        unit: UnitIndex,
    ) -> Result<Option<Input>, Error> {
        if spec.list().is_none() {
            return Ok(None);
        }
        let listed = self.line(spec, unit)?.map(|line| cut::listed(&line)).transpose();
        listed.map_err(|invalid| Error::Failed(format!("the job's list of files: {invalid}")))
    }

    pub(crate) fn path(&self, digest: &Digest) -> Result<PathBuf, Error> {
        let missing = || Error::Failed(format!("the content {digest} is not on this machine"));
        let path = self.files.get(digest).ok_or_else(missing)?;
        std::path::absolute(path).map_err(Error::file("find", path))
    }

    /// A unit in the sandbox's words.
    pub(crate) fn prepare(&mut self, unit: Unit) -> Result<sandbox::Unit, Error> {
        let nan = match unit.nan {
            Nan::Canonical => NanMode::Canonical,
            Nan::Unchecked => NanMode::Unchecked,
        };
        let contract = Contract::of(unit.contract).ok_or_else(|| {
            Error::Failed(format!(
                "contract {} is not known to this release: install a newer one",
                unit.contract
            ))
        })?;
        let (path, digest) = (self.path(&unit.kernel)?, unit.kernel.0);
        let kernel = sandbox::Kernel { path, digest, nan, contract };
        let inputs =
            unit.inputs.into_iter().map(|input| self.input(input)).collect::<Result<_, _>>()?;
        let limits = sandbox::Limits {
            memory: unit.limits.memory_bytes,
            fuel: unit.limits.fuel,
            output: unit.limits.output_bytes,
            log: unit.limits.log_bytes,
        };
        let time = Duration::from_secs(unit.limits.time_s);
        Ok(sandbox::Unit {
            kernel,
            params: unit.params.into_bytes(),
            inputs,
            seed: unit.seed,
            limits,
            time,
            snapshot: None,
            exit_codes: unit.exit_codes,
            trace: None,
        })
    }

    fn input(&mut self, input: UnitInput) -> Result<sandbox::Input, Error> {
        let segments = match input {
            UnitInput::Segments(segments) => segments,
            UnitInput::Inline(content) => {
                let digest = self.add_bytes(&content)?;
                vec![Segment { digest, offset: 0, len: content.len() as u64 }]
            }
        };
        let segment = |Segment { digest, offset, len }| {
            Ok(sandbox::Segment { path: self.path(&digest)?, digest: digest.0, offset, len })
        };
        Ok(sandbox::Input {
            segments: segments.into_iter().map(segment).collect::<Result<_, Error>>()?,
        })
    }

    /// Compiles a unit's kernel as the coordinator does when a job is submitted.
    pub(crate) fn compile(&self, unit: &sandbox::Unit) -> Result<CompileCost, Error> {
        let compilation = Compilation {
            program: &self.config.program,
            kernel: &unit.kernel,
            cache: None,
            priority: Priority::Normal,
            limits: CompileLimits::at_submission(unit.limits.memory),
            inlining: None,
            walls: WallPlan::default(),
        };
        compilation.run(|| false).map(|(cost, _)| cost).map_err(|stop| match stop {
            CompileStop::Trouble(trouble) => Error::Failed(trouble.to_string()),
            CompileStop::Stopped => Error::Failed("stopped".into()),
        })
    }

    /// Runs a unit, or a part of it, to the end that was asked for.
    pub(crate) fn finish(&self, unit: sandbox::Unit) -> Result<Finished, Error> {
        Ok(sandbox::run_once(self.config(), unit, |_| {})?)
    }

    /// Runs a unit to its end.
    pub(crate) fn run(&self, unit: sandbox::Unit) -> Result<Run, Error> {
        let run = self.watch(unit, |_| true)?;
        run.ok_or_else(|| Error::Failed("the unit was interrupted".into()))
    }

    /// Runs a unit and hands on how far it is, nowhere at first, or a `None` now and then and while the kernel is prepared; when `each` answers `false` the unit ends where it
    /// is, and nothing is returned.
    pub(crate) fn watch(
        &self,
        unit: sandbox::Unit,
        mut each: impl FnMut(Option<Part>) -> bool,
    ) -> Result<Option<Run>, Error> {
        let mut log = Vec::new();
        let finished = sandbox::run_watched(self.config(), unit, |event| {
            let part = match event {
                Some(Event::Progress { done, total, fuel, cpu }) => {
                    Some(Part { done, total, fuel, cpu })
                }
                Some(Event::Log(line)) => {
                    log.push(line.text);
                    None
                }
                Some(Event::Warning(text)) => {
                    log.push(format!("warning: {text}"));
                    None
                }
                Some(Event::Started { .. }) => Some(Part::default()),
                Some(Event::Finished(_)) | None => None,
            };
            each(part)
        })?;
        finished.map(|finished| outcome(finished, log)).transpose()
    }
}

/// A folder for compiled kernels that outlives this process. A home that cannot be written costs a compilation, no more.
fn cache() -> Option<PathBuf> {
    let cache = profile::cache_path().ok()?;
    fs::create_dir_all(&cache).ok()?;
    tempfile::tempfile_in(&cache).ok()?;
    Some(cache)
}

/// What came out, unless it was this machine's fault.
pub(crate) fn outcome(finished: Finished, log: Vec<String>) -> Result<Run, Error> {
    let cpu = finished.cpu;
    match finished.outcome {
        Outcome::Done { output, fuel, .. } => Ok(Run { result: Ok(output), fuel, cpu, log }),
        Outcome::Failed { reason, fuel, .. } => Ok(Run { result: Err(reason), fuel, cpu, log }),
        Outcome::Infrastructure { reason } => Err(Error::Failed(reason.to_string())),
        // No unit here has an end of its own.
        Outcome::Interrupted { .. } | Outcome::Reached(_) => {
            Err(Error::Failed("the unit was interrupted".into()))
        }
    }
}
