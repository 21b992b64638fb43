//! Real programs in real processes over loopback: coordinators, workers and the researcher's command.

use crate::netns::{Internet, Stay};
use crate::watchdog::Watched;
use anyhow::{Context, Result, bail, ensure};
use client::tls;
use proto::cut::Axis;
use proto::job::{JobSpec, Limits, Nan, VERSION};
use proto::join::Join;
use proto::log::Head;
use proto::{Digest, JobId, pb};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;

/// How long a program may take to start, answer or stop on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Port of a coordinator that has a machine to itself.
const MACHINE_PORT: u16 = 7700;

/// Which build of the programs to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The one that the tests were built with, beside them.
    Same,
    /// Release, built first.
    Release,
}

/// The path of one of the programs.
///
/// # Panics
/// When it is not there: `cargo test --workspace` builds them.
#[must_use]
pub fn program(profile: Profile, name: &str) -> PathBuf {
    let me = std::env::current_exe().expect("a test knows its own path");
    let mut folder = me.parent().expect("a file is in a folder").to_path_buf();
    if folder.ends_with("deps") {
        folder.pop();
    }
    if profile == Profile::Release && !folder.ends_with("release") {
        folder = folder.with_file_name("release");
    }
    if profile == Profile::Release {
        build_release();
    }
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not there: run `cargo test --workspace`, which builds it",
        path.display()
    );
    path
}

fn build_release() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let args =
            ["build", "--release", "--bins", "-p", "coordinator", "-p", "worker", "-p", "cli"];
        let mut command = Command::new(cargo);
        command.args(args);
        // What cargo tells a bench of its own package would have build scripts run again, and all that rests on them.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| name.starts_with(own)) {
                command.env_remove(&*name);
            }
        }
        let built = command.status().expect("cargo runs");
        assert!(built.success(), "cargo build --release failed");
    });
}

/// A process that ends with its handle, its words kept in a file.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
    _watched: Watched,
}

impl Program {
    /// Starts `command`, appending what it prints to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self { child, log: log.to_path_buf(), _watched: Watched::by_this_test() })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, then waits.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        let sent = Command::new("kill").arg(self.id().to_string()).status()?;
        ensure!(sent.success(), "kill failed");
        self.wait().await
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(started.elapsed() < PATIENCE, "it did not end; it said:\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the process cannot be asked.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let tail: Vec<&str> = said.lines().rev().take(40).collect();
            #[expect(clippy::print_stderr, reason = "for the reader of a failed test")]
            for line in tail.iter().rev() {
                eprintln!("    | {line}");
            }
        }
    }
}

/// A number in what a program told as JSON.
///
/// # Errors
/// When it is none.
pub fn number(value: &Value) -> Result<u64> {
    value.as_u64().with_context(|| format!("a number, not {value}"))
}

/// Tries `attempt` until it gives something, with [`PATIENCE`].
///
/// # Errors
/// With what was waited for, when it never does.
pub async fn until<T>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    until_within(PATIENCE, what, &mut attempt).await
}

/// Like [`until`], for as long as `patience`.
///
/// # Errors
/// With what was waited for, when it never comes.
pub async fn until_within<T>(
    patience: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let last = match tokio::time::timeout(patience, attempt()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => bail!("waited in vain for {what}: an attempt did not end"),
        };
        if patience < started.elapsed() {
            match last {
                Some(error) => return Err(error.context(format!("waited in vain for {what}"))),
                None => bail!("waited in vain for {what}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A loopback address that stays free while its program is down: its port is below those that the system gives to
/// outgoing connections.
fn free_address() -> Result<SocketAddr> {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = std::process::id().wrapping_mul(97).wrapping_add(next);
        let port = u16::try_from(FIRST + number % COUNT)?;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port from {FIRST} on is free")
}

/// A coordinator process with its folder.
#[derive(Debug)]
pub struct Coordinator {
    /// Where it listens; the same after a restart.
    pub address: SocketAddr,
    /// What volunteers paste.
    pub join: Join,
    /// An operator's token.
    pub token: String,
    /// Its folder.
    pub data: PathBuf,
    /// Further arguments of `run`.
    pub arguments: Vec<String>,
    /// Whether it has its own referee: most tests are about other things, and count every worker.
    pub referee: bool,
    program: Option<Program>,
    profile: Profile,
    folder: TempDir,
}

impl Coordinator {
    /// Starts one in a new folder.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(profile: Profile) -> Result<Self> {
        let folder = TempDir::new()?;
        let data = folder.path().join("project");
        Self::start_in(profile, folder, data).await
    }

    /// Starts one on a machine of its own, with a line of `mbit` Mbit/s if given. The thread stays on that machine.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_on_machine(
        profile: Profile,
        internet: &mut Internet,
        mbit: Option<u32>,
    ) -> Result<(Stay, Self)> {
        let machine = internet.add_machine(mbit)?;
        let stay = Stay::enter(&machine.namespace)?;
        let folder = TempDir::new()?;
        let data = folder.path().join("project");
        let address = (machine.address, MACHINE_PORT).into();
        Ok((stay, Self::new(profile, folder, data, address).await?))
    }

    /// Starts one whose data is at `data`; `folder` holds its log.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_in(profile: Profile, folder: TempDir, data: PathBuf) -> Result<Self> {
        Self::new(profile, folder, data, free_address()?).await
    }

    async fn new(
        profile: Profile,
        folder: TempDir,
        data: PathBuf,
        address: SocketAddr,
    ) -> Result<Self> {
        let placeholder = Join {
            address: address.to_string(),
            project: proto::ProjectKey([0; 32]),
            ca: Digest([0; 32]),
            invitation: None,
        };
        let mut coordinator = Self {
            address,
            join: placeholder,
            token: String::new(),
            data,
            arguments: Vec::new(),
            referee: false,
            program: None,
            profile,
            folder,
        };
        coordinator.restart().await?;
        Ok(coordinator)
    }

    /// The command that starts it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(program(self.profile, "starling-coordinator"));
        command
            .arg("--data")
            .arg(&self.data)
            .arg("run")
            .args(["--listen", &self.address.to_string()])
            .args((!self.referee).then_some("--no-referee"))
            .args(&self.arguments);
        command
    }

    /// Starts it again, after [`Self::kill`] or at first.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<()> {
        let command = self.command();
        self.restart_as(command).await
    }

    /// Starts it by a command of the test's own making.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart_as(&mut self, mut command: Command) -> Result<()> {
        let log = self.folder.path().join("coordinator.log");
        fs::write(&log, "")?;
        let mut program = Program::start(&mut command, &log)?;
        let join = until("the coordinator's join string", async || {
            ensure!(program.runs()?, "the coordinator ended; it said:\n{}", program.said());
            let said = program.said();
            let join = said
                .split_whitespace()
                .map(|word| word.trim_matches('\''))
                .find(|word| word.starts_with("starling://") && word.len() > 140);
            Ok(join.map(str::to_owned))
        })
        .await?;
        self.join = join.parse()?;
        self.program = Some(program);
        self.token = fs::read_to_string(self.data.join("operator.token"))?.trim().to_owned();
        until("the coordinator's first answer", async || {
            pb::admin_client::AdminClient::new(self.channel().await?)
                .status(self.with_token(pb::StatusRequest {}))
                .await?;
            Ok(Some(()))
        })
        .await
    }

    /// The process.
    ///
    /// # Panics
    /// When it was killed and not restarted.
    pub fn program(&mut self) -> &mut Program {
        self.program.as_mut().expect("it runs")
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.program.take().map_or(Ok(()), |mut program| program.kill())
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// When it does not stop in time, or with a failure.
    pub async fn stop(mut self) -> Result<()> {
        let status = self.program().terminate().await?;
        ensure!(
            status.success(),
            "the coordinator ended with {status}:\n{}",
            self.program().said()
        );
        Ok(())
    }

    /// Stops it, then has it check all that it stored.
    ///
    /// # Errors
    /// With what `starling-coordinator check` says when anything is wrong.
    pub async fn stop_and_check(mut self) -> Result<()> {
        let status = self.program().terminate().await?;
        ensure!(
            status.success(),
            "the coordinator ended with {status}:\n{}",
            self.program().said()
        );
        self.operate(["check".as_ref()])
    }

    /// Runs one of the operator's commands on its folder.
    ///
    /// # Errors
    /// With what the command says when it fails.
    pub fn operate<const N: usize>(&self, arguments: [&OsStr; N]) -> Result<()> {
        let mut command = Command::new(program(self.profile, "starling-coordinator"));
        let output = command.arg("--data").arg(&self.data).args(arguments).output()?;
        ensure!(
            output.status.success(),
            "{arguments:?}: {}\n{}",
            utf8(&output.stdout),
            utf8(&output.stderr)
        );
        Ok(())
    }

    /// A new connection.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn channel(&self) -> Result<Channel> {
        Ok(tls::connect(&self.join).await?)
    }

    /// `message` with the operator's token.
    ///
    /// # Panics
    /// When the token is no header value.
    pub fn with_token<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let value = MetadataValue::try_from(format!("Bearer {}", self.token))
            .expect("tokens are plain text");
        request.metadata_mut().insert("authorization", value);
        request
    }

    /// Puts a blob.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn put(&self, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        let head = pb::PutRequest {
            digest: digest.0.to_vec().into(),
            len: content.len() as u64,
            ..Default::default()
        };
        let chunks = content
            .chunks(proto::bounds::CHUNK_BYTES_MAX)
            .map(|chunk| pb::PutRequest { data: chunk.to_vec().into(), ..Default::default() });
        let messages: Vec<_> = std::iter::once(head).chain(chunks).collect();
        let request = self.with_token(tokio_stream::iter(messages));
        pb::blobs_client::BlobsClient::new(self.channel().await?).put(request).await?;
        Ok(digest)
    }

    /// A job over the axis whose units mean nothing, with a kernel that is stored here.
    ///
    /// # Errors
    /// When the kernel is refused.
    pub async fn trivial_spec(&self, axis: Axis, copies: u32) -> Result<JobSpec> {
        let kernel = self.put(shipped::MERSENNE).await?;
        Ok(JobSpec {
            version: VERSION,
            name: "trivial".into(),
            kernel,
            contract: proto::job::CONTRACT,
            nan: Nan::Canonical,
            numbers: proto::job::Numbers::Binary,
            params: proto::json::Object::new(),
            inputs: vec![],
            cut: vec![axis],
            merge: None,
            limits: Limits {
                memory_bytes: 64 << 20,
                fuel: 1 << 40,
                output_bytes: 1 << 20,
                log_bytes: 1 << 16,
                time_s: 600,
            },
            copies,
            confidence: None,
            lease_s: 600,
            attempts_max: 20,
            priority: 0,
            exit_codes: proto::job::success(),
            seed: Digest([0; 32]),
            trace_fuel: proto::trace::SPACING,
        })
    }

    /// Submits a job.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn submit(&self, spec: &JobSpec) -> Result<pb::JobStatus> {
        let submission_id = blake3::hash(format!("{:?}", Instant::now()).as_bytes()).as_bytes()
            [..16]
            .to_vec()
            .into();
        let request =
            self.with_token(pb::SubmitRequest { spec: spec.encode().into(), submission_id });
        Ok(self.jobs().await?.submit(request).await?.into_inner())
    }

    /// The researcher's calls.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn jobs(&self) -> Result<pb::jobs_client::JobsClient<Channel>> {
        Ok(pb::jobs_client::JobsClient::new(self.channel().await?))
    }

    /// How a job stands.
    ///
    /// # Errors
    /// When there is no such job, or no answer.
    pub async fn job(&self, job_id: u64) -> Result<pb::JobStatus> {
        Ok(self.jobs().await?.get(self.with_token(pb::JobRequest { job_id })).await?.into_inner())
    }

    /// Why a job or a unit is not done.
    ///
    /// # Errors
    /// When there is no such job or unit, or no answer.
    pub async fn why(&self, job_id: u64, unit: Option<u64>) -> Result<Vec<String>> {
        let request = self.with_token(pb::WhyRequest { job_id, unit });
        Ok(self.jobs().await?.why(request).await?.into_inner().reasons)
    }

    /// How everything stands.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self) -> Result<pb::StatusReply> {
        let mut admin = pb::admin_client::AdminClient::new(self.channel().await?);
        Ok(admin.status(self.with_token(pb::StatusRequest {})).await?.into_inner())
    }

    /// Bytes of a blob that it has given out, if it is among those of which most was.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn given(&self, digest: &Digest) -> Result<u64> {
        let most = self.status().await?.given_most;
        let of_blob = most.iter().find(|blob| blob.digest == digest.0.as_slice());
        Ok(of_blob.map_or(0, |blob| blob.given_bytes))
    }

    /// The project's log as it is now.
    ///
    /// # Errors
    /// When it cannot be had, or the project did not sign it.
    pub async fn log_head(&self) -> Result<Head> {
        let mut log = pb::log_client::LogClient::new(self.channel().await?);
        let head = log.head(self.with_token(pb::LogHeadRequest {})).await?.into_inner();
        Ok(Head::verify(&head, &self.join.project)?)
    }

    /// All results of a job so far, by unit.
    ///
    /// # Errors
    /// When they cannot be had.
    pub async fn results(&self, job_id: JobId) -> Result<Vec<pb::UnitResult>> {
        let request = self.with_token(pb::FetchRequest { job_id: job_id.0, ..Default::default() });
        let mut replies = self.jobs().await?.fetch(request).await?.into_inner();
        let mut results = Vec::new();
        while let Some(reply) = replies.message().await? {
            results.extend(reply.results);
        }
        results.sort_by_key(|result| result.unit);
        Ok(results)
    }

    /// Resident memory in MB and CPU seconds used since its start, from `/proc`.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn usage(&self) -> Result<(u64, f64)> {
        let id = self.program.as_ref().context("it does not run")?.id();
        usage(id)
    }
}

/// Resident memory in MB and CPU seconds of a process, from `/proc`.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn usage(id: u32) -> Result<(u64, f64)> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let memory = resident.trim().trim_end_matches(" kB").parse::<u64>()? / 1024;
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("stat")?.1.split(' ').collect();
    let ticks = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok((memory, ticks / 100.0)) // USER_HZ is 100 on every Linux that Rust runs on
}

fn utf8(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// A worker process with its folder.
#[derive(Debug)]
pub struct Worker {
    /// Its folder.
    pub data: PathBuf,
    /// Arguments of `run`.
    pub arguments: Vec<String>,
    /// The network namespace in which it runs; the test's own when absent.
    pub namespace: Option<String>,
    name: String,
    program: Option<Program>,
    profile: Profile,
    folder: TempDir,
}

impl Worker {
    /// Joins the project as worker and account `name`; does not run yet.
    ///
    /// # Errors
    /// When it cannot join.
    pub fn join(profile: Profile, join: &Join, name: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let data = folder.path().join("worker");
        let mut command = Command::new(program(profile, "starling-worker"));
        command.arg("--data").arg(&data).args([
            "join",
            &join.to_string(),
            "--name",
            name,
            "--account-name",
            name,
        ]);
        let output = command.output()?;
        ensure!(
            output.status.success(),
            "join: {}\n{}",
            utf8(&output.stdout),
            utf8(&output.stderr)
        );
        // At the usual priority, whatever else a busy machine does would decide how long a test takes.
        // Peers are for tests that are about them.
        let arguments =
            ["--cores", "1", "--snapshot-interval", "1s", "--priority", "normal", "--no-peers"];
        let arguments = arguments.map(str::to_owned).to_vec();
        let name = name.to_owned();
        Ok(Self { data, arguments, namespace: None, name, program: None, profile, folder })
    }

    /// Has it take part in the peer network, found through nothing but the coordinator and peers: on loopback, or in the
    /// namespace if it has one.
    pub fn with_peers(&mut self) {
        self.arguments.retain(|argument| argument != "--no-peers");
        if self.namespace.is_none() {
            self.arguments.extend(["--peer-listen", "127.0.0.1:0"].map(str::to_owned));
        }
        self.arguments.extend(["--no-lan", "--no-port-mapping"].map(str::to_owned));
    }

    /// Has it bring soon what it holds for others, and follow the log closely.
    pub fn with_haste(&mut self) {
        let soon = ["--held-patience", "2s", "--log-every", "500ms"];
        self.arguments.extend(soon.map(str::to_owned));
    }

    /// What `starling-worker VERB` tells of it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn told(&self, verb: &str) -> Result<Value> {
        let mut command = Command::new(program(self.profile, "starling-worker"));
        let output =
            command.arg("--data").arg(&self.data).args(["--output", "json", verb]).output()?;
        ensure!(output.status.success(), "{}", utf8(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Resident memory in MB and CPU seconds used since its start, from `/proc`.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn usage(&self) -> Result<(u64, f64)> {
        usage(self.program.as_ref().context("it does not run")?.id())
    }

    /// Joins and runs on one core.
    ///
    /// # Errors
    /// When it cannot join or start.
    pub fn start(profile: Profile, join: &Join, name: &str) -> Result<Self> {
        let mut worker = Self::join(profile, join, name)?;
        worker.restart()?;
        Ok(worker)
    }

    /// The command that runs it.
    #[must_use]
    pub fn command(&self) -> Command {
        let program = program(self.profile, "starling-worker");
        let mut command = match &self.namespace {
            Some(namespace) => crate::netns::command(namespace, &program),
            None => Command::new(program),
        };
        command.arg("--data").arg(&self.data).arg("run").args(&self.arguments);
        command
    }

    /// Runs it, after [`Self::kill`] or at first.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn restart(&mut self) -> Result<()> {
        let mut command = self.command();
        self.restart_as(&mut command)
    }

    /// Runs it by a command of the test's own making.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn restart_as(&mut self, command: &mut Command) -> Result<()> {
        let log = self.folder.path().join(format!("{}.log", self.name));
        self.program = Some(Program::start(command, &log)?);
        Ok(())
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.program.take().map_or(Ok(()), |mut program| program.kill())
    }

    /// The process.
    ///
    /// # Panics
    /// When it was killed and not restarted.
    pub fn program(&mut self) -> &mut Program {
        self.program.as_mut().expect("it runs")
    }

    /// What it has printed over all its runs.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join(format!("{}.log", self.name)))
            .unwrap_or_default()
    }
}
