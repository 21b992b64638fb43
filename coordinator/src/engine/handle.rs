//! The handle by which everybody speaks to the engine.

use crate::core::event::{
    Acks, Delivered, Earlier, Event, Found, Heartbeat, Hello, LogHead, Logged, Missing, Refused,
    Reply, Return, Session, Shown, SignedBatch, Submission, SubmitRefused, Want, Welcome,
};
use crate::core::record::{LogsRecord, Table, batch_key};
use crate::core::saved::{Results, blobs_of, log, read, whose};
use crate::core::status::{JobStatus, Totals, WorkerStatus};
use crate::core::token::{Token, TokenId};
use crate::core::{Core, OutputRoom};
use crate::engine::Error;
use crate::engine::blobs::Blobs;
use crate::engine::reader::Reader;
use crate::engine::sink::Sink;
use crate::store::Store;
use proto::evidence::Evidence;
use proto::job::JobSpec;
use proto::key::Signature;
use proto::receipt::Receipt;
use proto::report::{Ack, Batch, Outcome, Output};
use proto::{Digest, JobId, ProjectKey, UnitIndex, WorkerKey};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

/// What the engine's thread is asked to do.
pub(super) enum Command {
    /// Apply an event; answer after the commit.
    Apply(Event, oneshot::Sender<Reply>),
    /// As `Apply`, for a worker's stream, whose messages go to the sink.
    Connect(Hello, Sink, oneshot::Sender<Reply>),
    /// Look at the core after the commit.
    Look(Box<dyn FnOnce(&Core) + Send>),
    /// Commit what is pending, then end.
    Stop(oneshot::Sender<()>),
}

/// Speaks to the engine; cheap to clone. Methods answer after what they did is durable.
#[derive(Clone)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) store: Arc<dyn Store>,
    pub(super) blobs: Arc<dyn Blobs>,
    pub(super) project: ProjectKey,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) stopped: Arc<RwLock<Option<String>>>,
    /// What the operator must mend; empty when nothing.
    pub(super) trouble: Arc<RwLock<String>>,
    /// Why nothing is decided any more.
    pub(super) halted: Arc<OnceLock<String>>,
    pub(super) reader: Reader,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("project", &self.project).finish_non_exhaustive()
    }
}

impl Handle {
    /// A worker has proved who it is. What is said to it goes to `sink`; when `sink` is full the worker reads too slowly
    /// and the sink is dropped, which must end its stream.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn connected(
        &self,
        hello: Hello,
        sink: Sink,
    ) -> Result<Result<Welcome, Refused>, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Connect(hello, sink, answer)).await?;
        match answered.await {
            Ok(Reply::Connected(welcome)) => Ok(welcome),
            _ => Err(self.stopped()),
        }
    }

    /// A stream has ended.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn gone(&self, session: Session) -> Result<(), Error> {
        self.apply(Event::Gone(session)).await.map(drop)
    }

    /// A worker asks for work; leases arrive at its sink.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn want(&self, session: Session, want: Want) -> Result<(), Error> {
        self.apply(Event::Want(session, want)).await.map(drop)
    }

    /// A worker reports; the caller has verified `signature` over `batch` with its Merkle `root`, and that `payload` is its
    /// canonical bytes. `lacking` are the positions of reports whose output somebody else's job has, and which the reporter
    /// has not shown to have.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn reported(
        &self,
        session: Session,
        (batch, root): (Batch, Digest),
        payload: Arc<[u8]>,
        signature: Signature,
        lacking: Vec<u32>,
    ) -> Result<Acks, Error> {
        let missing = self.missing(&batch, &lacking);
        match self
            .apply(Event::Reported(
                session,
                SignedBatch { batch, payload, root, signature, missing, earlier: Earlier::Nothing },
            ))
            .await?
        {
            Reply::Acks(acks) => Ok(acks),
            _ => Err(self.stopped()),
        }
    }

    /// A worker shows what it was asked for; the caller has verified that a state is the point that it says.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn shown(&self, session: Session, shown: Shown) -> Result<(), Error> {
        self.apply(Event::Shown(session, shown)).await.map(drop)
    }

    /// A worker has run a segment; the caller has verified its signature.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn found(&self, session: Session, found: Found) -> Result<(), Error> {
        self.apply(Event::Found(session, found)).await.map(drop)
    }

    /// Appoints a worker as referee, or dismisses it; whether there is such a worker.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn appoint(&self, worker: WorkerKey, appointed: bool) -> Result<bool, Error> {
        let reply = self.apply(Event::Appoint { worker, appointed }).await?;
        Ok(matches!(reply, Reply::Appointed(true)))
    }

    /// Somebody brings a batch of another worker; the caller has verified all signatures and tickets in it. `lacking` as for
    /// [`Self::reported`].
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn delivered(
        &self,
        mut delivered: Delivered,
        lacking: Vec<u32>,
    ) -> Result<Acks, Error> {
        delivered.signed.missing = self.missing(&delivered.signed.batch, &lacking);
        match self.apply(Event::Delivered(Box::new(delivered))).await? {
            Reply::Acks(acks) => Ok(acks),
            _ => Err(self.stopped()),
        }
    }

    /// Which of these batches are not here and are of workers that are known.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn lacking(&self, names: Vec<(WorkerKey, u64)>) -> Result<Vec<bool>, Error> {
        let find = move |core: &Core| {
            let find = |(worker, sequence): &(WorkerKey, u64)| {
                let number = core.worker_number(worker)?;
                let in_commit = core.batch_in_commit(number, *sequence).is_some();
                (!in_commit).then_some((number, *sequence))
            };
            names.iter().map(find).collect::<Vec<_>>()
        };
        let found = self.look(find).await?;
        let lacks = |place: Option<(u32, u64)>| {
            let Some((worker, sequence)) = place else { return Ok(false) };
            Ok(self.store.get(&batch_key(Table::Batch, worker, sequence))?.is_none())
        };
        found.into_iter().map(lacks).collect()
    }

    /// A worker is still computing.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn heartbeat(&self, session: Session, heartbeat: Heartbeat) -> Result<(), Error> {
        self.apply(Event::Heartbeat(session, heartbeat)).await.map(drop)
    }

    /// A worker brings what kernels have logged.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn logged(&self, session: Session, logs: Vec<Logged>) -> Result<(), Error> {
        self.apply(Event::Logged(session, logs)).await.map(drop)
    }

    /// How much is kept of what the units of a job have logged, and at most `max` of the records behind `after`, with
    /// their positions; `None` when there is no such job. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn logs(
        &self,
        job: JobId,
        after: Option<u64>,
        max: usize,
    ) -> Result<Option<(LogsRecord, read::UnitLogs)>, Error> {
        Ok(read::logs(self.store.as_ref(), job, after, max)?)
    }

    /// Bytes that are kept for an account beside the blobs that it has put.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn kept_for(&self, account: String) -> Result<u64, Error> {
        self.look(move |core| core.kept_for(&account)).await
    }

    /// An account has put a blob.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn has_put(&self, account: String, digest: Digest, len: u64) -> Result<(), Error> {
        self.apply(Event::HasPut { account, digest, len }).await.map(drop)
    }

    /// Whether a blob is an account's: it has put it, or it is an output of one of its jobs. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn is_of(&self, account: &str, digest: &Digest) -> Result<bool, Error> {
        Ok(whose::is_of(self.store.as_ref(), account, digest)?)
    }

    /// Whether a blob is somebody's and not that of who has submitted a job. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn is_of_others(&self, job: JobId, digest: &Digest) -> Result<bool, Error> {
        let store = self.store.as_ref();
        if !whose::is_anybodys(store, digest)? {
            return Ok(false);
        }
        let Some(record) = read::record(store, job)? else { return Ok(true) };
        Ok(!whose::is_of(store, &record.account, digest)?)
    }

    /// What a worker may put now; `None` when it holds no unit.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn output_room(&self, worker: WorkerKey) -> Result<Option<OutputRoom>, Error> {
        self.look(move |core| core.output_room(&worker)).await
    }

    /// The outputs of these jobs, which are wanted no more. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn outputs_of(&self, jobs: &BTreeSet<JobId>) -> Result<Vec<(JobId, Digest)>, Error> {
        Ok(whose::outputs_of(self.store.as_ref(), jobs)?)
    }

    /// The outputs of a job that has ended are wanted no more; they are removed in the background.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn drop_outputs(&self, job: JobId) -> Result<(), Error> {
        self.apply(Event::DropOutputs(job)).await.map(drop)
    }

    /// No report will name these outputs; what is nobody's is removed.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn abandon(&self, outputs: Vec<Digest>) -> Result<(), Error> {
        self.apply(Event::Abandon(outputs)).await.map(drop)
    }

    /// Outputs are no more those of a job; what is nobody's then is removed.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn disown(&self, job: JobId, outputs: Vec<Digest>, last: bool) -> Result<(), Error> {
        self.apply(Event::Disown { job, outputs, last }).await.map(drop)
    }

    /// A worker gives units back.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn returned(&self, session: Session, returns: Vec<Return>) -> Result<(), Error> {
        self.apply(Event::Returned(session, returns)).await.map(drop)
    }

    /// A worker ends its stream.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn goodbye(&self, session: Session, leaving: bool) -> Result<(), Error> {
        self.apply(Event::Goodbye { session, leaving }).await.map(drop)
    }

    /// Does what looking at a specification takes, after what others have to be looked at.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub(crate) async fn look_at<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.reader.run(work).await
    }

    /// Submits a job. The same submission id by the same account gives the same job again.
    ///
    /// # Errors
    /// [`Error::Stopped`]; a job that is not taken is the inner error.
    pub async fn submit(
        &self,
        bytes: Arc<[u8]>,
        submission: [u8; 16],
        account: String,
    ) -> Result<Result<JobStatus, SubmitRefused>, Error> {
        let (handle, read) = (self.clone(), Arc::clone(&bytes));
        // A large one takes a while to be read, and the disk is asked for each of its blobs.
        let spec = match self.look_at(move || handle.admissible(&read)).await? {
            Ok(spec) => Arc::new(spec),
            Err(refused) => return Ok(Err(refused)),
        };
        let submission = Submission { spec, bytes, submission, account };
        let job = match self.apply(Event::Submit(submission)).await? {
            Reply::Submitted(Ok(job)) => job,
            Reply::Submitted(Err(refused)) => return Ok(Err(refused)),
            _ => return Err(self.stopped()),
        };
        self.job(job).await?.map(Ok).ok_or_else(|| self.stopped())
    }

    /// A job in numbers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn job(&self, job: JobId) -> Result<Option<JobStatus>, Error> {
        match self.look(move |core| core.job_status(job)).await? {
            Some(status) => Ok(Some(self.with_trouble(status))),
            None => Ok(read::ended_job(self.store.as_ref(), job)?),
        }
    }

    /// At most `max` jobs with ids above `after`, in order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn jobs(&self, after: JobId, max: usize) -> Result<Vec<JobStatus>, Error> {
        let mut jobs = read::jobs(self.store.as_ref(), after, max)?;
        let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
        let running = self
            .look(move |core| ids.into_iter().map(|id| core.job_status(id)).collect::<Vec<_>>())
            .await?;
        for (job, running) in jobs.iter_mut().zip(running) {
            if let Some(running) = running {
                *job = self.with_trouble(running);
            }
        }
        Ok(jobs)
    }

    /// Cancels a job; `None` when there is none. A job that has ended stays as it is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cancel(&self, job: JobId) -> Result<Option<JobStatus>, Error> {
        match self.apply(Event::Cancel(job)).await? {
            Reply::Cancelled(true) => self.job(job).await,
            Reply::Cancelled(false) => Ok(None),
            _ => Err(self.stopped()),
        }
    }

    /// Changes after each commit, to know when to ask for a job's status or results again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// The bytes of a job's specification as they were submitted.
    ///
    /// # Errors
    /// [`Error`].
    pub fn spec(&self, job: JobId) -> Result<Option<Vec<u8>>, Error> {
        Ok(read::spec(self.store.as_ref(), job)?)
    }

    /// Reads the results of a job, with `receipts` or without; `None` when there is no such job. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn results(&self, job: JobId, receipts: bool) -> Result<Option<Results>, Error> {
        Ok(Results::of(self.store.as_ref(), job, receipts.then_some(self.project))?)
    }

    /// Records in the log of a job that are on disk for good, for whoever reads its results: one that is being written is
    /// seen in the store before it is. `None`: the job runs no more, and all are.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn committed(&self, job: JobId) -> Result<Option<u64>, Error> {
        self.look(move |core| core.log_records(job)).await
    }

    /// The receipt of a settled unit, to be signed with the project's key; `None` when it has no verdict or was given up.
    /// Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn receipt(&self, job: JobId, unit: UnitIndex) -> Result<Option<Receipt>, Error> {
        Ok(read::receipt(self.store.as_ref(), &self.project, job, unit)?)
    }

    /// The head of the log as it is committed, to be signed with the project's key.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn log_head(&self) -> Result<LogHead, Error> {
        match self.apply(Event::Head).await? {
            Reply::Head(head) => Ok(head),
            _ => Err(self.stopped()),
        }
    }

    /// Reads the log from the disk.
    #[must_use]
    pub fn log(&self) -> log::Log<'_> {
        log::Log::of(self.store.as_ref())
    }

    /// A proof that reports of a job were wrong, counted from 0; `None` when there is no such one. Reads the disk.
    ///
    /// # Errors
    /// [`Error`].
    pub fn evidence(&self, job: JobId, number: u64) -> Result<Option<Evidence>, Error> {
        Ok(read::evidence(self.store.as_ref(), &self.project, job, number)?)
    }

    /// Why a job or unit is not done, most important first; `None` when there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn why(
        &self,
        job: JobId,
        unit: Option<UnitIndex>,
    ) -> Result<Option<Vec<String>>, Error> {
        match self.look(move |core| core.why(job, unit)).await? {
            Some(mut reasons) => {
                reasons.splice(0..0, self.trouble());
                Ok(Some(reasons))
            }
            None => Ok(read::why_ended(self.store.as_ref(), job, unit)?),
        }
    }

    /// At most `max` workers with keys above `after`, in order.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn workers(
        &self,
        after: Option<WorkerKey>,
        max: usize,
    ) -> Result<Vec<WorkerStatus>, Error> {
        self.look(move |core| core.workers(after, max)).await
    }

    /// The whole in numbers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn totals(&self) -> Result<Totals, Error> {
        let mut totals = self.look(Core::totals).await?;
        totals.store_bytes = self.store.bytes()?;
        totals.trouble = match self.halted.get() {
            Some(why) => why.clone(),
            None => self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        totals.halted = self.halted.get().is_some();
        Ok(totals)
    }

    /// Decides nothing any more, for the reason in `what`: lends and settles nothing, takes no job, signs no head. What is
    /// there can still be read. Whether it was this call that did it.
    pub fn halt(&self, what: &str) -> bool {
        let why = format!(
            "{what}. Nothing is lent, settled or signed any more. Stop the coordinator, then restore a backup, or start it \
             with --rebuild, which gathers from the workers what is missing, or with --accept-loss"
        );
        let first = self.halted.set(why).is_ok();
        if let Some(why) = self.halted.get().filter(|_| first) {
            tracing::error!("{why}");
        }
        first
    }

    /// Keeps a token.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn issue_token(&self, token: Token) -> Result<(), Error> {
        self.apply(Event::IssueToken(token)).await.map(drop)
    }

    /// Forgets a token; whether there was one.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn revoke_token(&self, token: TokenId) -> Result<bool, Error> {
        Ok(matches!(self.apply(Event::RevokeToken(token)).await?, Reply::Revoked(true)))
    }

    /// All tokens, by id.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.look(|core| core.tokens().cloned().collect()).await
    }

    /// The token whose text has this digest.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn token(&self, digest: Digest) -> Result<Option<Token>, Error> {
        self.look(move |core| core.tokens().find(|token| token.digest == digest).cloned()).await
    }

    /// Looks at the core between two commits.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Core) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let (answer, answered) = oneshot::channel();
        let look = Box::new(move |core: &Core| {
            // Nobody waits any more when the asker was cancelled.
            let _ = answer.send(look(core));
        });
        self.send(Command::Look(look)).await?;
        answered.await.map_err(|_| self.stopped())
    }

    /// The store, for backups and checks.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Commits what is pending and ends the engine.
    pub async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Stop(answer)).await.is_ok() {
            // An engine that has ended otherwise needs no stopping.
            let _ = answered.await;
        }
    }

    async fn apply(&self, event: Event) -> Result<Reply, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Apply(event, answer)).await?;
        match answered.await {
            Ok(Reply::Halted(why)) => Err(Error::Halted(why)),
            Ok(reply) => Ok(reply),
            Err(_) => Err(self.stopped()),
        }
    }

    async fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| self.stopped())
    }

    /// What the operator must mend, which is why nothing moves.
    fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.read().unwrap_or_else(PoisonError::into_inner).clone();
        (!trouble.is_empty()).then_some(trouble)
    }

    /// A running job, with what stops all of them.
    fn with_trouble(&self, mut status: JobStatus) -> JobStatus {
        status.waiting.splice(0..0, self.trouble());
        status
    }

    fn stopped(&self) -> Error {
        Error::Stopped(self.stopped.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The reports whose output is a blob that is not here, or here with another length, or not the reporter's.
    fn missing(&self, batch: &Batch, lacking: &[u32]) -> Vec<Missing> {
        let missing = |(position, report): (u32, &proto::report::Report)| {
            let Outcome::Done(Output::Blob { digest, len }) = &report.outcome else { return None };
            let ack = match self.blobs.len(digest) {
                Some(_) if lacking.contains(&position) => Ack::OutputMissing,
                Some(here) if here == *len => return None,
                Some(_) => Ack::Invalid,
                None => Ack::OutputMissing,
            };
            Some(Missing { position, ack })
        };
        (0..).zip(&batch.reports).filter_map(missing).collect()
    }

    /// Reads a specification and looks for the blobs that it names.
    fn admissible(&self, bytes: &[u8]) -> Result<JobSpec, SubmitRefused> {
        let spec =
            JobSpec::parse(bytes).map_err(|invalid| SubmitRefused::Invalid(invalid.to_string()))?;
        for (what, digest, len) in blobs_of(&spec) {
            let here = self
                .blobs
                .len(&digest)
                .ok_or_else(|| SubmitRefused::Missing { what: what.clone(), digest })?;
            if len.is_some_and(|len| len != here) {
                return Err(SubmitRefused::Invalid(format!(
                    "{what} ({digest}) is {here} bytes long, not as the job says"
                )));
            }
        }
        if let Some((digest, _, count)) = spec.line_file() {
            self.blobs.line(&digest, count - 1).map_err(|error| {
                SubmitRefused::Invalid(format!(
                    "line {count} of the job's lines ({digest}) cannot be read: {error}"
                ))
            })?;
        }
        Ok(spec)
    }
}
