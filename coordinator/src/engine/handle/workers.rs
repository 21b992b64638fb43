//! What workers and those who bring their batches tell the engine.

use super::{Command, Handle, Reporter};
use crate::core::Core;
use crate::core::event::{
    Acks, Event, Found, Heartbeat, Hello, Logged, Missing, Refused, Reply, Return, Session, Shown,
    SignedBatch, Want, Welcome,
};
use crate::core::record::{Table, batch_key};
use crate::engine::Error;
use crate::engine::sink::Sink;
use proto::key::Signature;
use proto::report::{Ack, Batch, Outcome, Output};
use proto::{AccountKey, Digest, WorkerKey};
use std::sync::Arc;
use tokio::sync::oneshot;

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
        let signed = SignedBatch { batch, payload, root, signature };
        self.report(Reporter::Itself(session), signed, &lacking).await
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

    /// Somebody brings a batch of another worker, of this account; the caller has verified all signatures and tickets in it. `lacking` as for
    /// [`Self::reported`].
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub async fn delivered(
        &self,
        account: AccountKey,
        signed: SignedBatch,
        lacking: Vec<u32>,
    ) -> Result<Acks, Error> {
        self.report(Reporter::Holder(account), signed, &lacking).await
    }

    async fn report(
        &self,
        by: Reporter,
        signed: SignedBatch,
        lacking: &[u32],
    ) -> Result<Acks, Error> {
        let missing = self.missing(&signed.batch, lacking);
        let command = |answer| Command::Report(by, Box::new(signed), missing, answer);
        match self.answer_to(command).await? {
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
}
