//! A coordinator in a folder of its own, and raw clients.

use anyhow::{Context, Result, bail, ensure};
use client::tls;
use coordinator::grpc::Timeouts;
use coordinator::{Config, Coordinator};
use ed25519_dalek::SigningKey;
use proto::cut::Axis;
use proto::job::{JobSpec, Limits, Nan, VERSION};
use proto::pb::coordinator_message::Kind as Said;
use proto::pb::worker_message::Kind as Say;
use proto::report::{Ack, Batch, JobRef, Outcome, Output, Report};
use proto::{AccountKey, Digest, JobId, LeaseId, UnitIndex, WorkerKey, hello, pb, version};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// Longer than anything here takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The coordinator's program, whose children compile kernels.
pub(super) const PROGRAM: &str = env!("CARGO_BIN_EXE_starling-coordinator");

/// A kernel that does nothing: memory, the ABI's three functions, done at the first step.
pub(super) const KERNEL: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x08\x02\x60\0\0\x60\0\x01\x7f\
    \x03\x04\x03\0\0\x01\
    \x05\x03\x01\0\x01\
    \x07\x3c\x04\x06memory\x02\0\x0estarling_abi_1\0\0\x0estarling_start\0\x01\x0dstarling_step\0\x02\
    \x0a\x0c\x03\x02\0\x0b\x02\0\x0b\x04\0\x41\0\x0b";

pub(super) struct Project {
    pub(super) dir: TempDir,
    pub(super) coordinator: Coordinator,
}

/// The folder of the project within the temporary one.
pub(super) fn data(dir: &TempDir) -> PathBuf {
    dir.path().join("project")
}

impl Project {
    pub(super) async fn start() -> Result<Self> {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(change: impl FnOnce(&mut Config)) -> Result<Self> {
        let dir = TempDir::new()?;
        let mut config = Config::new(data(&dir), PROGRAM);
        config.reserve_bytes = 1 << 20;
        change(&mut config);
        Ok(Self { coordinator: Coordinator::start(config).await?, dir })
    }

    pub(super) async fn stop(self) -> TempDir {
        self.coordinator.shutdown(PATIENCE).await;
        self.dir
    }

    pub(super) async fn channel(&self) -> Result<Channel> {
        Ok(tls::connect(self.coordinator.join()).await?)
    }

    /// `message` with the operator's token.
    pub(super) fn operator<T>(&self, message: T) -> Request<T> {
        bearer(self.coordinator.operator_token(), message)
    }

    pub(super) async fn token(
        &self,
        account: &str,
        role: pb::issue_token_request::Role,
    ) -> Result<String> {
        let request =
            pb::IssueTokenRequest { account: account.into(), role: role.into(), accounts: 0 };
        let mut admin = pb::admin_client::AdminClient::new(self.channel().await?);
        Ok(admin.issue_token(self.operator(request)).await?.into_inner().token)
    }

    pub(super) async fn put(&self, token: &str, content: &[u8]) -> Result<Digest, Status> {
        let channel = self.channel().await.map_err(|error| Status::unknown(error.to_string()))?;
        put(channel, token, Digest::of(content), content.len() as u64, content).await
    }

    pub(super) async fn submit(
        &self,
        token: &str,
        spec: &JobSpec,
    ) -> Result<pb::JobStatus, Status> {
        let channel = self.channel().await.map_err(|error| Status::unknown(error.to_string()))?;
        let submission_id = Digest::of(&spec.encode()).0[..16].to_vec().into();
        let request = pb::SubmitRequest { spec: spec.encode().into(), submission_id };
        Ok(pb::jobs_client::JobsClient::new(channel)
            .submit(bearer(token, request))
            .await?
            .into_inner())
    }

    /// A job of so many units, submitted by the operator with its kernel.
    pub(super) async fn job(&self, units: u64, copies: u32) -> Result<(pb::JobStatus, JobSpec)> {
        let token = self.coordinator.operator_token();
        self.put(token, KERNEL).await?;
        let spec =
            spec(vec![Axis::Range { name: "n".into(), first: 0, end: units, per_unit: 1 }], copies);
        Ok((self.submit(token, &spec).await?, spec))
    }
}

pub(super) fn bearer<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().expect("plain text"));
    request
}

/// Puts a blob under any name, in chunks.
pub(super) async fn put(
    channel: Channel,
    token: &str,
    digest: Digest,
    len: u64,
    content: &[u8],
) -> Result<Digest, Status> {
    let head = pb::PutRequest { digest: digest.0.to_vec().into(), len, data: Default::default() };
    let chunks = content.chunks(proto::bounds::CHUNK_BYTES_MAX);
    let chunks =
        chunks.map(|chunk| pb::PutRequest { data: chunk.to_vec().into(), ..Default::default() });
    let messages: Vec<_> = std::iter::once(head).chain(chunks).collect();
    let request = bearer(token, tokio_stream::iter(messages));
    pb::blobs_client::BlobsClient::new(channel).put(request).await?;
    Ok(digest)
}

pub(super) fn spec(cut: Vec<Axis>, copies: u32) -> JobSpec {
    JobSpec {
        version: VERSION,
        name: "test".into(),
        kernel: Digest::of(KERNEL),
        contract: proto::job::CONTRACT,
        nan: Nan::Canonical,
        numbers: proto::job::Numbers::Binary,
        params: Default::default(),
        inputs: vec![],
        cut,
        merge: None,
        limits: Limits {
            memory_bytes: 1 << 20,
            fuel: 1 << 30,
            output_bytes: 1 << 20,
            log_bytes: 0,
            time_s: 60,
        },
        copies,
        confidence: None,
        lease_s: 600,
        attempts_max: 3,
        priority: 0,
        exit_codes: proto::job::success(),
        seed: Digest([0; 32]),
        trace_fuel: proto::trace::SPACING,
    }
}

pub(super) fn key(number: u64) -> SigningKey {
    SigningKey::from_bytes(&Digest::of(&number.to_le_bytes()).0)
}

/// Short waits, for tests of what happens when somebody stalls.
pub(super) fn impatient() -> Timeouts {
    Timeouts {
        hello: Duration::from_millis(300),
        silence: Duration::from_millis(500),
        stall: Duration::from_millis(500),
        ..Timeouts::default()
    }
}

/// One worker's stream.
pub(super) struct Worker {
    pub(super) key: SigningKey,
    pub(super) channel: Channel,
    pub(super) session_token: String,
    project: proto::ProjectKey,
    sequence: u64,
    pub(super) say: mpsc::Sender<pb::WorkerMessage>,
    pub(super) said: Streaming<pb::CoordinatorMessage>,
}

/// A stream before its hello.
pub(super) struct Stranger {
    pub(super) challenge: pb::Challenge,
    pub(super) say: mpsc::Sender<pb::WorkerMessage>,
    pub(super) said: Streaming<pb::CoordinatorMessage>,
    channel: Channel,
}

impl Stranger {
    pub(super) async fn attach(project: &Project) -> Result<Self> {
        let channel = project.channel().await?;
        let (say, queue) = mpsc::channel(64);
        let mut client =
            pb::grid_client::GridClient::new(channel.clone()).max_encoding_message_size(64 << 20);
        let mut said = client.attach(ReceiverStream::new(queue)).await?.into_inner();
        let Some(Said::Challenge(challenge)) = next(&mut said).await? else {
            bail!("no challenge")
        };
        Ok(Self { challenge, say, said, channel })
    }

    pub(super) fn hello(&self, worker: &SigningKey, account: &SigningKey) -> Result<pb::Hello> {
        let (worker_key, account_key) = (WorkerKey::from(worker), AccountKey::from(account));
        let project = proto::ProjectKey::try_from(self.challenge.project_key.as_ref())?;
        let answer = hello::sign_challenge(worker, &account_key, &project, &self.challenge.nonce);
        Ok(pb::Hello {
            version: Some(version::ours("test")),
            worker_key: worker_key.0.to_vec().into(),
            account_key: account_key.0.to_vec().into(),
            account_signature: hello::sign_ownership(account, &worker_key).to_vec().into(),
            worker_signature: answer.to_vec().into(),
            cores: 64,
            memory_bytes: 1 << 30,
            name: "machine".into(),
            account_name: "owner".into(),
            log_head: None,
            contract: proto::job::CONTRACT,
            invitation: String::new(),
            work: 0,
        })
    }

    pub(super) async fn say(&self, kind: Say) -> Result<()> {
        Ok(self.say.send(pb::WorkerMessage { kind: Some(kind) }).await?)
    }

    /// The refusal with which the stream ends.
    pub(super) async fn refusal(&mut self) -> Result<pb::Refusal> {
        refusal(&mut self.said).await
    }
}

/// The next message.
pub(super) async fn next(said: &mut Streaming<pb::CoordinatorMessage>) -> Result<Option<Said>> {
    let message = timeout(PATIENCE, said.message()).await.context("nothing came")??;
    Ok(message.and_then(|message| message.kind))
}

async fn refusal(said: &mut Streaming<pb::CoordinatorMessage>) -> Result<pb::Refusal> {
    loop {
        match next(said).await? {
            Some(Said::Refusal(refusal)) => {
                ensure!(next(said).await?.is_none(), "the stream goes on after a refusal");
                return Ok(refusal);
            }
            Some(_) => {}
            None => bail!("the stream ended without a refusal"),
        }
    }
}

impl Worker {
    pub(super) async fn connect(project: &Project, worker: u64, account: u64) -> Result<Self> {
        let mut stranger = Stranger::attach(project).await?;
        let hello = stranger.hello(&key(worker), &key(account))?;
        stranger.say(Say::Hello(hello)).await?;
        let Some(Said::Welcome(welcome)) = next(&mut stranger.said).await? else {
            bail!("not welcome")
        };
        let Stranger { say, said, channel, .. } = stranger;
        Ok(Self {
            key: key(worker),
            session_token: welcome.session_token,
            project: project.coordinator.join().project,
            sequence: welcome.sequence,
            channel,
            say,
            said,
        })
    }

    pub(super) async fn say(&self, kind: Say) -> Result<()> {
        Ok(self.say.send(pb::WorkerMessage { kind: Some(kind) }).await?)
    }

    pub(super) async fn refusal(&mut self) -> Result<pb::Refusal> {
        refusal(&mut self.said).await
    }

    /// Asks for work and waits until it has come, or there is no more.
    pub(super) async fn lease(&mut self, units: u32) -> Result<Vec<pb::Lease>> {
        let want = pb::Want {
            units,
            seconds: 1 << 30,
            fuel_per_second: 1 << 30,
            memory_bytes: 1 << 30,
            kernels: vec![],
        };
        self.say(Say::Want(want)).await?;
        let (mut leases, mut lent) = (Vec::new(), 0);
        while lent < units {
            let quiet = if lent == 0 { PATIENCE } else { Duration::from_millis(200) };
            let Ok(message) = timeout(quiet, self.said.message()).await else { break };
            match message?.and_then(|message| message.kind) {
                Some(Said::Leases(more)) => {
                    lent += more.leases.iter().map(|lease| lease.count).sum::<u32>();
                    leases.extend(more.leases);
                }
                Some(Said::Job(_)) => {}
                Some(Said::Idle(_)) if 0 < lent => break,
                Some(Said::Idle(idle)) => bail!("idle: {}", idle.reason),
                other => bail!("{other:?} instead of leases"),
            }
        }
        ensure!(0 < lent, "no lease came");
        Ok(leases)
    }

    /// A signed batch that says of every unit of the leases what `outcome` says.
    pub(super) fn batch(
        &mut self,
        spec: &JobSpec,
        leases: &[pb::Lease],
        outcome: impl Fn(u64) -> Outcome,
    ) -> pb::SignedReports {
        let jobs = vec![JobRef { id: JobId(leases[0].job_id), spec: Digest::of(&spec.encode()) }];
        let units = leases.iter().flat_map(|lease| {
            (lease.first..lease.first + u64::from(lease.count)).map(|unit| (lease.lease_id, unit))
        });
        let reports = units.map(|(lease, unit)| Report {
            job: 0,
            lease: LeaseId(lease),
            unit: UnitIndex(unit),
            outcome: outcome(unit),
            fuel: 1_000 + unit,
            trace_root: None,
        });
        self.sequence += 1;
        let batch = Batch::new(
            self.project,
            WorkerKey::from(&self.key),
            self.sequence,
            jobs,
            reports.collect(),
        );
        batch.sign(&self.key)
    }

    /// Sends a batch and waits for its acknowledgement.
    pub(super) async fn report(&mut self, signed: pb::SignedReports) -> Result<Vec<Ack>> {
        self.say(Say::Reports(signed)).await?;
        loop {
            match next(&mut self.said).await? {
                Some(Said::Acks(acks)) => {
                    return Ok(acks
                        .status
                        .iter()
                        .map(|byte| Ack::try_from(*byte))
                        .collect::<Result<_, _>>()?);
                }
                Some(Said::Leases(_) | Said::Job(_) | Said::Idle(_)) => {}
                other => bail!("{other:?} instead of acks"),
            }
        }
    }

    /// Leases so many units and reports them all.
    pub(super) async fn work(&mut self, spec: &JobSpec, units: u32) -> Result<usize> {
        let leases = self.lease(units).await?;
        let signed = self.batch(spec, &leases, inline);
        let acks = self.report(signed).await?;
        ensure!(acks.iter().all(|ack| *ack == Ack::Accepted), "{acks:?}");
        Ok(acks.len())
    }
}

/// What an honest worker would say of a unit.
pub(super) fn inline(unit: u64) -> Outcome {
    Outcome::Done(Output::Inline(unit.to_le_bytes().to_vec()))
}
