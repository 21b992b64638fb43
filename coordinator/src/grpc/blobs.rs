//! Content in and out, in chunks.

use crate::blobs::{Blob, Error, LinesInvalid, Put, Putter};
use crate::engine;
use crate::grpc::Services;
use crate::grpc::access::{Caller, Volunteer};
use crate::grpc::blob_access::AHEAD_BYTES_MAX;
use crate::grpc::refusal::{Refusal, blocking};
use bytes::Bytes;
use proto::bounds::CHUNK_BYTES_MAX;
use proto::report::{Batch, Outcome, Output};
use proto::{Digest, pb};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use transfers::{gave_way, taken, until_over};

mod transfers;

pub(crate) use transfers::{Party, Transfers};

/// Digests in one `Have`.
const HAVE_MAX: usize = 10_000;
/// Chunks read ahead of a reader.
const CHUNKS_AHEAD: usize = 1;

/// `starling.v1.Blobs`.
pub(super) struct Blobs(pub(super) Arc<Services>);

fn digest(bytes: &[u8]) -> Result<Digest, Status> {
    Digest::try_from(bytes).map_err(|malformed| Status::invalid_argument(malformed.to_string()))
}

fn stalled() -> Refusal {
    Refusal(Status::deadline_exceeded("nothing came for too long: send the blob again"))
}

#[tonic::async_trait]
impl pb::blobs_server::Blobs for Blobs {
    type GetStream = ReceiverStream<Result<pb::Chunk, Status>>;
    type PiecesStream = ReceiverStream<Result<pb::Chunk, Status>>;

    async fn have(
        &self,
        request: Request<pb::HaveRequest>,
    ) -> Result<Response<pb::HaveReply>, Status> {
        let caller = self.0.access.caller(&request).await?;
        let digests = request.into_inner().digests;
        if HAVE_MAX < digests.len() {
            return Err(Status::invalid_argument(format!(
                "at most {HAVE_MAX} digests in one call"
            )));
        }
        let digests = digests.iter().map(|bytes| digest(bytes)).collect::<Result<Vec<_>, _>>()?;
        Ok(Response::new(pb::HaveReply { have: self.seen(&caller, digests).await? }))
    }

    async fn get(
        &self,
        request: Request<pb::GetRequest>,
    ) -> Result<Response<Self::GetStream>, Status> {
        let caller = self.0.access.caller(&request).await?;
        let party = Party::of(&caller);
        let pb::GetRequest { digest: bytes, offset, len, sparing, last_resort } =
            request.into_inner();
        let digest = digest(&bytes)?;
        self.may_get(&caller, digest).await?;
        let turn = self.0.transfers.readers.take(party).ok_or_else(|| taken("read"))?;
        let blobs = Arc::clone(&self.0.blobs);
        let blob = blocking(move || blobs.open_blob(&digest)).await?;
        let end = match len {
            0 => blob.len(),
            len => blob.len().min(offset.saturating_add(len)),
        };
        if blob.len() < offset {
            return Err(Refusal::from(Error::Range { digest, len: blob.len(), offset }).into());
        }
        let now_ms = self.0.clock.now().monotonic_ms;
        let asked = end.saturating_sub(offset);
        if sparing && !self.0.egress.allows(now_ms, digest, blob.len(), asked, last_resort) {
            return Err(Status::resource_exhausted(
                "this blob was given often enough for now: ask your peers",
            ));
        }
        let (chunks, stream) = mpsc::channel(CHUNKS_AHEAD);
        let (shared, to) = (Arc::clone(&self.0), chunks.clone());
        self.0.spawn_stream(&caller, to, async move {
            let giving = give(&shared, digest, Arc::new(blob), offset..end, &chunks);
            until_over(&turn, giving, &chunks).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn pieces(
        &self,
        request: Request<pb::PiecesRequest>,
    ) -> Result<Response<Self::PiecesStream>, Status> {
        let caller = self.0.access.caller(&request).await?;
        let party = Party::of(&caller);
        let digest = digest(&request.into_inner().digest)?;
        self.may_get(&caller, digest).await?;
        let turn = self.0.transfers.readers.take(party).ok_or_else(|| taken("read"))?;
        let blobs = Arc::clone(&self.0.blobs);
        let pieces = blocking(move || blobs.pieces(&digest)).await?;
        let pieces = pieces.ok_or_else(|| {
            Status::failed_precondition("a blob of this length is not cut: get it as a whole")
        })?;
        let (total_len, list) = (pieces.cut().bytes(), Bytes::from(pieces.list()));
        let (chunks, stream) = mpsc::channel(CHUNKS_AHEAD);
        let (shared, to) = (Arc::clone(&self.0), chunks.clone());
        self.0.spawn_stream(&caller, to, async move {
            let giving = async {
                for start in (0..list.len()).step_by(CHUNK_BYTES_MAX) {
                    let data = list.slice(start..list.len().min(start + CHUNK_BYTES_MAX));
                    shared.egress.count(digest, total_len, data.len() as u64);
                    let sent = chunks.send(Ok(pb::Chunk { data, total_len }));
                    if !matches!(timeout(shared.patience.stall, sent).await, Ok(Ok(()))) {
                        break;
                    }
                }
            };
            until_over(&turn, giving, &chunks).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn put(
        &self,
        request: Request<Streaming<pb::PutRequest>>,
    ) -> Result<Response<pb::PutReply>, Status> {
        let caller = self.0.access.caller(&request).await?;
        let party = Party::of(&caller);
        let turn = self.0.transfers.writers.take(party).ok_or_else(|| taken("put"))?;
        let mut messages = request.into_inner();
        let head = turn.over().run_until_cancelled(next(&self.0, &mut messages)).await;
        let head = head.ok_or_else(gave_way)??;
        let head = head.ok_or_else(|| {
            Status::invalid_argument("the first message must have digest and len")
        })?;
        let digest = digest(&head.digest)?;
        // Whoever knows no more than the digest of what others have brings all of it.
        if self.seen(&caller, vec![digest]).await? == [true] {
            return Ok(Response::new(pb::PutReply {}));
        }
        let (putter, ahead) = match &caller {
            Caller::Person(person) => {
                let account = person.account.clone();
                let kept = self.0.engine.kept_for(account.clone()).await.map_err(Refusal::from)?;
                (Putter::Account { account, kept }, None)
            }
            Caller::Volunteer(volunteer) => {
                let bytes_max = self.admit_output(volunteer, digest, head.len).await?;
                (Putter::Worker { bytes_max }, Some(volunteer.network))
            }
        };
        let shows = matches!(&caller, Caller::Volunteer(volunteer) if self.0.blob_access.shows(&volunteer.worker));
        let (token, len) = (caller.token(), head.len);
        let taken = tokio::select! {
            taken = self.take(putter, digest, head, &mut messages) => taken,
            refusal = self.0.access.revoked(token) => Err(refusal),
            () = turn.over().cancelled() => Err(Refusal(gave_way())),
        };
        if taken.is_ok() && shows {
            self.0.blobs.note_shown(digest);
        }
        if let (Err(_), Some(network)) = (&taken, ahead) {
            // It did not come.
            let _ = self.0.blob_access.reported(network, &digest);
        }
        taken?;
        if let Caller::Person(person) = caller {
            let noted = self.0.engine.has_put(person.account, digest, len).await;
            noted.map_err(Refusal::from)?;
        }
        Ok(Response::new(pb::PutReply {}))
    }
}

impl Blobs {
    /// Which of these blobs are here and the caller's: a researcher's that has put it or whose job put it out, a worker's that
    /// has just put it or holds units of those alone whose it is. Operators see all.
    async fn seen(&self, caller: &Caller, digests: Vec<Digest>) -> Result<Vec<bool>, Refusal> {
        let (accounts, network) = match caller {
            Caller::Person(person) if person.is_operator() => (None, None),
            Caller::Person(person) => (Some(BTreeSet::from([person.account.clone()])), None),
            Caller::Volunteer(volunteer) => {
                let room = self.0.engine.output_room(volunteer.worker).await?;
                (Some(room.unwrap_or_default().accounts), Some(volunteer.network))
            }
        };
        let shared = Arc::clone(&self.0);
        let seen = move |digest: &Digest| {
            if shared.blobs.len(digest).is_none() {
                return Ok(false);
            }
            if network.is_some_and(|network| shared.blob_access.is_ahead(network, digest)) {
                return Ok(true);
            }
            let Some(accounts) = &accounts else { return Ok(true) };
            for account in accounts {
                if !shared.engine.is_of(account, digest)? {
                    return Ok(false);
                }
            }
            Ok::<_, engine::Error>(!accounts.is_empty())
        };
        blocking(move || digests.iter().map(seen).collect()).await
    }

    /// Counts an output that a worker is about to put; the most bytes that it may have.
    async fn admit_output(
        &self,
        volunteer: &Volunteer,
        digest: Digest,
        len: u64,
    ) -> Result<u64, Status> {
        let named = &self.0.blob_access;
        let room = self.0.engine.output_room(volunteer.worker).await.map_err(Refusal::from)?;
        let state = named.state_bytes_max(&volunteer.worker);
        let output = room.as_ref().map(|room| room.output_bytes);
        let Some(bytes_max) = state.max(output) else {
            let text = "this worker holds no unit, so no output of it is wanted: drop it";
            return Err(Status::permission_denied(text));
        };
        // A state goes when it was looked at.
        let room = if state.is_some() { u64::MAX } else { room.unwrap_or_default().bytes };
        if named.put_ahead(volunteer.network, digest, len, room) {
            return Ok(bytes_max);
        }
        let text = if room < AHEAD_BYTES_MAX {
            "there is no room for outputs in the quota of who has submitted these units: keep it and try again later".into()
        } else {
            format!(
                "outputs of {AHEAD_BYTES_MAX} bytes were put from this network and not reported: report them first"
            )
        };
        Err(Status::resource_exhausted(text))
    }

    /// Researchers may get what is theirs, workers what their jobs name.
    async fn may_get(&self, caller: &Caller, digest: Digest) -> Result<(), Status> {
        if matches!(caller, Caller::Person(_)) {
            return match self.seen(caller, vec![digest]).await?[..] {
                [true] => Ok(()),
                // The same whether it is somebody else's or nobody's.
                _ => Err(Refusal::from(Error::Absent(digest)).into()),
            };
        }
        if self.0.blob_access.may_get(&digest) {
            return Ok(());
        }
        let lists = self.0.blob_access.lists();
        if !lists.is_empty() {
            let blobs = Arc::clone(&self.0.blobs);
            let listed = move || {
                for list in &lists {
                    if blobs.lists(list, &digest)? {
                        return Ok(true);
                    }
                }
                Ok::<_, LinesInvalid>(false)
            };
            if blocking(listed).await? {
                return Ok(());
            }
        }
        Err(Status::permission_denied(format!(
            "blob {digest} is named by no running job: its job has ended, return its units"
        )))
    }

    async fn take(
        &self,
        putter: Putter,
        digest: Digest,
        head: pb::PutRequest,
        messages: &mut Streaming<pb::PutRequest>,
    ) -> Result<(), Refusal> {
        let blobs = Arc::clone(&self.0.blobs);
        let mut put = blocking(move || blobs.put(putter, digest, head.len)).await?;
        let mut data = head.data;
        loop {
            if !data.is_empty() {
                put = write(put, data).await?;
            }
            match next(&self.0, messages).await? {
                Some(message) => data = message.data,
                None => return blocking(move || put.finish()).await,
            }
        }
    }
}

/// The reports of a batch, by position, whose output is somebody's and not that of who has submitted their job, and which the
/// reporter has not `brought`: it may know no more of it than its digest, to have it read by way of a job of its own.
pub(super) fn lacking(
    shared: &Services,
    batch: &Batch,
    brought: impl Fn(&Digest) -> bool,
) -> Result<Vec<u32>, Refusal> {
    let mut lacking = Vec::new();
    for (position, report) in (0..).zip(&batch.reports) {
        if let Outcome::Done(Output::Blob { digest, .. }) = &report.outcome
            && let Some(job) = batch.jobs.get(usize::from(report.job))
            && !brought(digest)
            && shared.engine.is_of_others(job.id, digest)?
        {
            lacking.push(position);
        }
    }
    Ok(lacking)
}

async fn write(mut put: Put, data: Bytes) -> Result<Put, Refusal> {
    blocking(move || put.write(&data).map(|()| put)).await
}

async fn next(
    shared: &Services,
    messages: &mut Streaming<pb::PutRequest>,
) -> Result<Option<pb::PutRequest>, Refusal> {
    match timeout(shared.patience.stall, messages.message()).await {
        Ok(message) => Ok(message?),
        Err(_) => Err(stalled()),
    }
}

/// Gives a part of a blob, as fast as the reader takes it.
async fn give(
    shared: &Services,
    digest: Digest,
    blob: Arc<Blob>,
    part: Range<u64>,
    chunks: &mpsc::Sender<Result<pb::Chunk, Status>>,
) {
    let Range { start: mut offset, end } = part;
    let mut total_len = blob.len();
    loop {
        let len = usize::try_from(end - offset).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX);
        let reader = Arc::clone(&blob);
        let chunk = match blocking(move || reader.read(offset, len)).await {
            Ok(data) => {
                shared.egress.count(digest, blob.len(), data.len() as u64);
                Ok(pb::Chunk { data: data.into(), total_len })
            }
            Err(refusal) => Err(refusal.into()),
        };
        let failed = chunk.is_err();
        (offset, total_len) = (offset + len as u64, 0);
        match timeout(shared.patience.stall, chunks.send(chunk)).await {
            Ok(Ok(())) if !failed && offset < end => {}
            _ => return,
        }
    }
}
