//! A volunteer without a sandbox: speaks the protocol honestly or not, as a test or a bench wants.

use crate::grid::PATIENCE;
use anyhow::{Context, Result, bail, ensure};
use client::tls;
use ed25519_dalek::SigningKey;
use proto::job::JobSpec;
use proto::join::Join;
use proto::pb::coordinator_message::Kind as Said;
use proto::pb::worker_message::Kind as Say;
use proto::report::{Batch, JobRef, Outcome, Output, Report};
use proto::{AccountKey, Digest, JobId, LeaseId, UnitIndex, WorkerKey, hello, pb, version};
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Messages that may wait to be sent: a test that says more waits too.
const QUEUE: usize = 16;

/// One worker's stream to a coordinator.
#[derive(Debug)]
pub struct Volunteer {
    /// The worker's key.
    pub key: SigningKey,
    /// What the coordinator welcomed it with.
    pub welcome: pb::Welcome,
    /// The specifications that came, by job.
    pub jobs: BTreeMap<JobId, (JobSpec, Digest)>,
    /// The connection, for other calls.
    pub channel: Channel,
    project: proto::ProjectKey,
    sequence: u64,
    say: mpsc::Sender<pb::WorkerMessage>,
    said: Streaming<pb::CoordinatorMessage>,
    waiting: VecDeque<Said>,
}

/// A key made of a number, so that tests can name theirs.
#[must_use]
pub fn key(number: u64) -> SigningKey {
    SigningKey::from_bytes(blake3::hash(&number.to_le_bytes()).as_bytes())
}

impl Volunteer {
    /// Connects as worker number `worker` of account number `account`.
    ///
    /// # Errors
    /// When the coordinator does not answer or refuses.
    pub async fn connect(join: &Join, worker: u64, account: u64) -> Result<Self> {
        let channel = tls::connect(join).await.context("connecting")?;
        Self::attach(channel, join, &key(worker), &key(account)).await
    }

    /// Opens a stream on a connection.
    ///
    /// # Errors
    /// When the coordinator refuses.
    pub async fn attach(
        channel: Channel,
        join: &Join,
        worker: &SigningKey,
        account: &SigningKey,
    ) -> Result<Self> {
        Self::attach_as(channel, join, worker, account, |_| {}).await
    }

    /// Opens a stream with a hello that `change` has changed.
    ///
    /// # Errors
    /// When the coordinator refuses.
    pub async fn attach_as(
        channel: Channel,
        join: &Join,
        worker: &SigningKey,
        account: &SigningKey,
        change: impl FnOnce(&mut pb::Hello),
    ) -> Result<Self> {
        let (say, queue) = mpsc::channel(QUEUE);
        let mut client = pb::grid_client::GridClient::new(channel.clone())
            .max_decoding_message_size(proto::bounds::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(64 << 20);
        let mut said = client.attach(ReceiverStream::new(queue)).await?.into_inner();
        let Some(Said::Challenge(challenge)) = next(&mut said).await? else {
            bail!("no challenge came first")
        };
        let (worker_key, account_key) = (WorkerKey::from(worker), AccountKey::from(account));
        let project = proto::ProjectKey::try_from(challenge.project_key.as_ref())?;
        ensure!(project == join.project, "the coordinator names another project");
        let mut hello = pb::Hello {
            version: Some(version::ours("test volunteer")),
            worker_key: worker_key.0.to_vec().into(),
            account_key: account_key.0.to_vec().into(),
            account_signature: hello::sign_ownership(account, &worker_key).to_vec().into(),
            worker_signature: hello::sign_challenge(
                worker,
                &account_key,
                &project,
                &challenge.nonce,
            )
            .to_vec()
            .into(),
            cores: 64, // so that a job whose units have not been measured yet is lent in more than a few at a time
            memory_bytes: 8 << 30,
            name: "volunteer".into(),
            account_name: String::new(),
            log_head: None,
            contract: proto::job::CONTRACT,
            invitation: join.invitation.clone().unwrap_or_default(),
            work: 0,
        };
        change(&mut hello);
        say.send(pb::WorkerMessage { kind: Some(Say::Hello(hello)) }).await?;
        match next(&mut said).await? {
            Some(Said::Welcome(welcome)) => Ok(Self {
                key: worker.clone(),
                sequence: welcome.sequence,
                welcome,
                jobs: BTreeMap::new(),
                channel,
                project,
                say,
                said,
                waiting: VecDeque::new(),
            }),
            Some(Said::Refusal(refusal)) => {
                bail!("refused ({:?}): {}", refusal.code(), refusal.message)
            }
            other => bail!("neither welcome nor refusal but {other:?}"),
        }
    }

    /// Sends anything.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn say(&self, kind: Say) -> Result<()> {
        self.say.send(pb::WorkerMessage { kind: Some(kind) }).await.context("the stream has ended")
    }

    /// Asks for work.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn want(&self, units: u32) -> Result<()> {
        let want = pb::Want {
            units,
            seconds: 1 << 30,
            fuel_per_second: 1 << 30,
            memory_bytes: 8 << 30,
            kernels: vec![],
        };
        self.say(Say::Want(want)).await
    }

    /// The next thing that the coordinator says, specifications of jobs apart: they are kept in [`Self::jobs`].
    ///
    /// # Errors
    /// When the stream has ended or the message is no message.
    pub async fn hear(&mut self) -> Result<Said> {
        if let Some(said) = self.waiting.pop_front() {
            return Ok(said);
        }
        self.hear_new().await
    }

    async fn hear_new(&mut self) -> Result<Said> {
        loop {
            let said = tokio::time::timeout(PATIENCE, next(&mut self.said)).await;
            let said = said.context("the coordinator says nothing")??;
            match said.context("the coordinator ended the stream")? {
                Said::Job(job) => {
                    let spec = JobSpec::parse(&job.spec)?;
                    self.jobs.insert(JobId(job.job_id), (spec, Digest::of(&job.spec)));
                }
                other => return Ok(other),
            }
        }
    }

    /// Asks for work until leases come; those that came while it listened for something else are the first.
    ///
    /// # Errors
    /// When the stream has ended, or none come.
    pub async fn lease(&mut self, units: u32) -> Result<Vec<pb::Lease>> {
        let leases = tokio::time::timeout(PATIENCE, self.lease_at_last(units)).await;
        leases.context("no lease comes")?
    }

    async fn lease_at_last(&mut self, units: u32) -> Result<Vec<pb::Lease>> {
        let came = |said: &Said| matches!(said, Said::Leases(_));
        if let Some(index) = self.waiting.iter().position(came)
            && let Some(Said::Leases(leases)) = self.waiting.remove(index)
        {
            return Ok(leases.leases);
        }
        self.want(units).await?;
        loop {
            match self.hear_new().await? {
                Said::Leases(leases) => return Ok(leases.leases),
                Said::Idle(idle) => {
                    tokio::time::sleep(std::time::Duration::from_millis(
                        idle.retry_after_ms.clamp(1, 200),
                    ))
                    .await;
                    self.want(units).await?;
                }
                other => self.waiting.push_back(other),
            }
        }
    }

    /// Asks for work until leases of `units` units in all have come.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn lease_all(&mut self, units: u32) -> Result<Vec<pb::Lease>> {
        let mut leases: Vec<pb::Lease> = Vec::new();
        loop {
            let missing = units - leases.iter().map(|lease| lease.count).sum::<u32>();
            if missing == 0 {
                return Ok(leases);
            }
            leases.extend(self.lease(missing).await?);
        }
    }

    /// Computes for ever, as `outcome` says.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn work(mut self, outcome: fn(JobId, UnitIndex) -> (Outcome, u64)) -> Result<()> {
        loop {
            let leases = self.lease_at_last(64).await?;
            self.report(&leases, outcome).await?;
        }
    }

    /// A signed batch that reports every unit of `leases` with what `outcome` makes of it.
    #[must_use]
    pub fn batch(
        &mut self,
        leases: &[pb::Lease],
        mut outcome: impl FnMut(JobId, UnitIndex) -> (Outcome, u64),
    ) -> (pb::SignedReports, u64) {
        let mut jobs: Vec<JobRef> = Vec::new();
        let mut reports = Vec::new();
        for lease in leases {
            let id = JobId(lease.job_id);
            let job = jobs.iter().position(|job| job.id == id).unwrap_or_else(|| {
                jobs.push(JobRef {
                    id,
                    spec: self.jobs.get(&id).map_or(Digest([0; 32]), |(_, digest)| *digest),
                });
                jobs.len() - 1
            });
            for unit in lease.first..lease.first + u64::from(lease.count) {
                let unit = UnitIndex(unit);
                let (outcome, fuel) = outcome(id, unit);
                let job = u16::try_from(job).expect("few jobs");
                reports.push(Report {
                    job,
                    lease: LeaseId(lease.lease_id),
                    unit,
                    outcome,
                    fuel,
                    trace_root: None,
                });
            }
        }
        self.sequence += 1;
        let batch =
            Batch::new(self.project, WorkerKey::from(&self.key), self.sequence, jobs, reports);
        (batch.sign(&self.key), self.sequence)
    }

    /// Reports every unit of `leases` and waits for the acknowledgement.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn report(
        &mut self,
        leases: &[pb::Lease],
        outcome: impl FnMut(JobId, UnitIndex) -> (Outcome, u64),
    ) -> Result<pb::Acks> {
        let (signed, sequence) = self.batch(leases, outcome);
        self.say(Say::Reports(signed)).await?;
        self.acks(sequence).await
    }

    /// Waits for the acknowledgement of a batch.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn acks(&mut self, sequence: u64) -> Result<pb::Acks> {
        loop {
            match self.hear_new().await? {
                Said::Acks(acks) if acks.sequence == sequence => return Ok(acks),
                other => self.waiting.push_back(other),
            }
        }
    }
}

/// An output that is a function of the unit, as an honest kernel's would be.
#[must_use]
pub fn honest(_: JobId, unit: UnitIndex) -> (Outcome, u64) {
    (Outcome::Done(Output::Inline(unit.0.to_le_bytes().to_vec())), 1_000 + unit.0 % 7)
}

async fn next(said: &mut Streaming<pb::CoordinatorMessage>) -> Result<Option<Said>> {
    Ok(said.message().await?.and_then(|message| message.kind))
}
