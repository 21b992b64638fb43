//! The researcher's service: jobs in, results out.

use crate::core::event::SubmitRefused;
use crate::core::status::{Cursor, JobState, JobStatus};
use crate::grpc::access::Person;
use crate::grpc::refusal::{Refusal, blocking};
use crate::grpc::{Services, convert};
use kernel::Contract;
use program::error::chain;
use proto::job::JobSpec;
use proto::{Digest, JobId, UnitIndex, pb};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

mod follow;
mod logs;

/// Jobs in one reply of `List`.
const LIST_MAX: usize = 256;
/// Statuses or results that wait for a reader.
const STREAM_MESSAGES: usize = 2;
/// Least time from one status of a watched job to the next.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// Bytes of a page of WebAssembly memory.
const PAGE_BYTES: u64 = 64 << 10;
/// Submissions of one account that wait for one of its own: some megabytes of specifications.
const SUBMISSIONS_WAITING_MAX: usize = 16;
/// Largest kernel, bytes, read to see whether it is one; the contract's own limit is lower.
const KERNEL_BYTES_MAX: u64 = 16 << 20;

/// `starling.v1.Jobs`.
pub(super) struct Jobs(pub(super) Arc<Services>);

type Reply<T> = Result<Response<T>, Status>;

impl Jobs {
    /// The job, if it is there and this person may see it.
    async fn visible(&self, person: &Person, job: u64) -> Result<JobStatus, Refusal> {
        visible(&self.0, person, job).await
    }

    /// Checks what cannot be told from the specification alone: that the kernels are kernels that workers can compile, and
    /// the lines are lines.
    async fn check_content(&self, person: &Person, spec: &Arc<JobSpec>) -> Result<(), Refusal> {
        let (shared, who, named) = (Arc::clone(&self.0), person.clone(), Arc::clone(spec));
        blocking(move || check_owner(&shared, &who, &named)).await?;
        let account = &person.account;
        let contract = Contract::of(spec.contract).ok_or_else(|| {
            Refusal(Status::invalid_argument(format!(
                "contract: {} is not known here",
                spec.contract
            )))
        })?;
        let merge_kernel = spec.merge.and_then(|merge| merge.kernel);
        for (what, digest) in std::iter::once(("kernel", spec.kernel))
            .chain(merge_kernel.map(|k| ("merge.kernel", k)))
        {
            let blobs = Arc::clone(&self.0.blobs);
            let memory = spec.limits.memory_bytes;
            blocking(move || check_kernel(&blobs, what, &digest, memory)).await?;
            let module = (digest, self.0.blobs.path(&digest));
            self.0.compiler.check(account, what, module, (spec.nan, contract), memory).await?;
        }
        if spec.line_file().is_some() {
            let (shared, spec, person) = (Arc::clone(&self.0), Arc::clone(spec), person.clone());
            let check = move || {
                let len = |digest: &Digest| {
                    let its = owns(&shared, &person, digest).unwrap_or(false);
                    shared.blobs.len(digest).filter(|_| its)
                };
                shared.blobs.check_lines(&spec, &len)
            };
            blocking(check).await?;
        }
        Ok(())
    }
}

/// The job, if it is there and this person may see it.
pub(super) async fn visible(
    shared: &Services,
    person: &Person,
    job: u64,
) -> Result<JobStatus, Refusal> {
    let status = shared.engine.job(JobId(job)).await?.ok_or_else(|| absent(job))?;
    // The same for one that is somebody else's, whose name is none of the asker's business.
    if person.may_touch(&status.account) { Ok(status) } else { Err(absent(job)) }
}

/// Whether a blob is a person's: an operator's are all.
fn owns(shared: &Services, person: &Person, digest: &Digest) -> Result<bool, crate::engine::Error> {
    Ok(person.is_operator() || shared.engine.is_of(&person.account, digest)?)
}

/// Refuses a specification that names a blob of somebody else, which a kernel could read out. It is told from one that is
/// nobody's by nothing.
fn check_owner(shared: &Services, person: &Person, spec: &JobSpec) -> Result<(), Refusal> {
    for (what, digest, _) in crate::core::saved::blobs_of(spec) {
        if !owns(shared, person, &digest)? {
            return Err(SubmitRefused::Missing { what, digest }.into());
        }
    }
    Ok(())
}

/// Reads a specification and checks what can be told from it alone.
fn read(bytes: &[u8]) -> Result<Arc<JobSpec>, Status> {
    let spec = JobSpec::parse(bytes)
        .and_then(|spec| spec.check_new().map(|()| spec))
        .map_err(|invalid| Status::invalid_argument(chain(&invalid)))?;
    check_keys(bytes)?;
    Ok(Arc::new(spec))
}

/// Refuses a specification in which two keys of one object are equal: another reader may take the other.
fn check_keys(spec: &[u8]) -> Result<(), Status> {
    let text = std::str::from_utf8(spec)
        .map_err(|_| Status::invalid_argument("the job specification is not text in UTF-8"))?;
    let looked = proto::json::look(text).map(drop);
    looked.map_err(|ambiguous| {
        Status::invalid_argument(format!("the job specification: {ambiguous}"))
    })
}

fn check_kernel(
    blobs: &crate::blobs::BlobStore,
    what: &str,
    digest: &Digest,
    memory_bytes: u64,
) -> Result<(), Refusal> {
    let blob = blobs.open_blob(digest).map_err(|error| match error {
        crate::blobs::Error::Absent(_) => Refusal(Status::failed_precondition(format!(
            "{what} ({digest}) is not here: put it, then submit again"
        ))),
        error => error.into(),
    })?;
    if KERNEL_BYTES_MAX < blob.len() {
        let text = format!(
            "{what}: {} bytes are not allowed: a kernel has at most {KERNEL_BYTES_MAX}",
            blob.len()
        );
        return Err(Refusal(Status::invalid_argument(text)));
    }
    let module = blob.read(0, usize::MAX)?;
    let summary = kernel::inspect(&module).map_err(|refusal| {
        Refusal(Status::invalid_argument(format!("{what}: {}", chain(&refusal))))
    })?;
    let starts_with = summary.memory_min_pages.saturating_mul(PAGE_BYTES);
    if memory_bytes < starts_with {
        return Err(Refusal(Status::invalid_argument(format!(
            "limits.memory_bytes: {memory_bytes} is not allowed: the {what} starts with {starts_with} bytes of memory"
        ))));
    }
    Ok(())
}

fn absent(job: u64) -> Refusal {
    Refusal(Status::not_found(format!(
        "there is no job {} that your token shows: `starling jobs` lists yours",
        JobId(job)
    )))
}

#[tonic::async_trait]
impl pb::jobs_server::Jobs for Jobs {
    type WatchStream = ReceiverStream<Result<pb::JobStatus, Status>>;
    type FetchStream = ReceiverStream<Result<pb::FetchReply, Status>>;
    type LogsStream = ReceiverStream<Result<pb::LogsReply, Status>>;

    async fn submit(&self, request: Request<pb::SubmitRequest>) -> Reply<pb::JobStatus> {
        let person = self.0.access.person(&request).await?;
        let request = request.into_inner();
        let submission = <[u8; 16]>::try_from(request.submission_id.as_ref())
            .map_err(|_| Status::invalid_argument("submission_id must have 16 random bytes"))?;
        let too_many = || {
            Status::resource_exhausted(format!(
                "more than {SUBMISSIONS_WAITING_MAX} submissions of account \"{}\" wait for one that is being looked at: \
                 submit again when some have been answered",
                person.account
            ))
        };
        let own = self.0.submissions.own(&person.account, SUBMISSIONS_WAITING_MAX).await;
        // Until it is answered: a specification takes ten times its bytes while it is looked at.
        let _own = own.ok_or_else(too_many)?;
        let bytes: Arc<[u8]> = Arc::from(request.spec.as_ref());
        let text = Arc::clone(&bytes);
        let spec = self.0.engine.look_at(move || read(&text)).await.map_err(Refusal::from)??;
        self.check_content(&person, &spec).await?;
        let status = self.0.engine.submit(bytes, submission, person.account).await;
        let status = status.map_err(Refusal::from)?.map_err(Refusal::from)?;
        self.0.blob_access.job(status.id, &spec);
        Ok(Response::new(convert::job(status)))
    }

    async fn get(&self, request: Request<pb::JobRequest>) -> Reply<pb::JobStatus> {
        let person = self.0.access.person(&request).await?;
        let status = self.visible(&person, request.get_ref().job_id).await?;
        Ok(Response::new(convert::job(status)))
    }

    async fn list(&self, request: Request<pb::ListRequest>) -> Reply<pb::ListReply> {
        let person = self.0.access.person(&request).await?;
        let pb::ListRequest { after_job_id, count_max } = request.into_inner();
        let max = usize::try_from(count_max).unwrap_or(LIST_MAX).clamp(1, LIST_MAX);
        let (mut jobs, mut after) = (Vec::new(), JobId(after_job_id));
        while jobs.len() < max {
            let page = self.0.engine.jobs(after, max).await.map_err(Refusal::from)?;
            let Some(last) = page.last() else { break };
            after = last.id;
            jobs.extend(page.into_iter().filter(|job| person.may_touch(&job.account)));
        }
        jobs.truncate(max);
        Ok(Response::new(pb::ListReply { jobs: jobs.into_iter().map(convert::job).collect() }))
    }

    async fn watch(&self, request: Request<pb::JobRequest>) -> Reply<Self::WatchStream> {
        let person = self.0.access.person(&request).await?;
        let job = self.visible(&person, request.get_ref().job_id).await?.id;
        let (statuses, stream) = mpsc::channel(STREAM_MESSAGES);
        let (shared, to) = (Arc::clone(&self.0), statuses.clone());
        let work = async move { follow::watch(&shared, job, &statuses).await };
        self.0.spawn_stream(&person.into(), to, work);
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn cancel(&self, request: Request<pb::CancelRequest>) -> Reply<pb::JobStatus> {
        let person = self.0.access.person(&request).await?;
        let pb::CancelRequest { job_id, outputs } = request.into_inner();
        let job = self.visible(&person, job_id).await?.id;
        let status =
            self.0.engine.cancel(job).await.map_err(Refusal::from)?.ok_or_else(|| absent(job.0))?;
        if outputs {
            self.0.engine.drop_outputs(job).await.map_err(Refusal::from)?;
            self.0.unwanted.notify_one();
        }
        Ok(Response::new(convert::job(status)))
    }

    async fn fetch(&self, request: Request<pb::FetchRequest>) -> Reply<Self::FetchStream> {
        let person = self.0.access.person(&request).await?;
        let request = request.into_inner();
        let pb::FetchRequest { job_id, after, follow, receipts, results_max, offset } = request;
        let job = self.visible(&person, job_id).await?.id;
        let from = Cursor { record: after, offset };
        let max = usize::try_from(results_max).ok().filter(|max| 0 < *max);
        let ask = follow::Ask { job, from, follow, receipts, max };
        let (replies, stream) = mpsc::channel(STREAM_MESSAGES);
        let (shared, to) = (Arc::clone(&self.0), replies.clone());
        let work = async move { follow::fetch(&shared, ask, &replies).await };
        self.0.spawn_stream(&person.into(), to, work);
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn logs(&self, request: Request<pb::LogsRequest>) -> Reply<Self::LogsStream> {
        let person = self.0.access.person(&request).await?;
        let pb::LogsRequest { job_id, unit, follow } = request.into_inner();
        let job = self.visible(&person, job_id).await?;
        within(&job, unit)?;
        let (replies, stream) = mpsc::channel(STREAM_MESSAGES);
        let (shared, to) = (Arc::clone(&self.0), replies.clone());
        let work = async move {
            logs::follow(&shared, job.id, unit.map(UnitIndex), follow, &replies).await;
        };
        self.0.spawn_stream(&person.into(), to, work);
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn evidence(&self, request: Request<pb::EvidenceRequest>) -> Reply<pb::EvidenceReply> {
        let person = self.0.access.person(&request).await?;
        let pb::EvidenceRequest { job_id, number } = request.into_inner();
        let job = self.visible(&person, job_id).await?.id;
        let engine = self.0.engine.clone();
        let found = blocking(move || engine.evidence(job, number)).await?;
        let found = found.ok_or_else(|| {
            Status::not_found(format!("{job} has no proof number {number} that accuses a report"))
        })?;
        Ok(Response::new(pb::EvidenceReply { evidence: found.encode().into() }))
    }

    async fn why(&self, request: Request<pb::WhyRequest>) -> Reply<pb::WhyReply> {
        let person = self.0.access.person(&request).await?;
        let pb::WhyRequest { job_id, unit } = request.into_inner();
        let job = self.visible(&person, job_id).await?;
        within(&job, unit)?;
        let reasons =
            self.0.engine.why(job.id, unit.map(UnitIndex)).await.map_err(Refusal::from)?;
        Ok(Response::new(pb::WhyReply { reasons: reasons.ok_or_else(|| absent(job_id))? }))
    }

    async fn receipt(&self, request: Request<pb::UnitRequest>) -> Reply<pb::SignedReceipt> {
        let person = self.0.access.person(&request).await?;
        let pb::UnitRequest { job_id, unit } = request.into_inner();
        let job = self.visible(&person, job_id).await?.id;
        let engine = self.0.engine.clone();
        let receipt = blocking(move || engine.receipt(job, UnitIndex(unit))).await?.ok_or_else(|| {
            Status::failed_precondition(format!(
                "{job}/{} has no receipt: it has no verdict yet, or was given up; `starling why` says more",
                UnitIndex(unit)
            ))
        })?;
        Ok(Response::new(receipt.sign(&self.0.key)))
    }

    async fn spec(&self, request: Request<pb::JobRequest>) -> Reply<pb::SpecReply> {
        let person = self.0.access.person(&request).await?;
        let job = self.visible(&person, request.get_ref().job_id).await?.id;
        let engine = self.0.engine.clone();
        let spec = blocking(move || engine.spec(job)).await?.ok_or_else(|| absent(job.0))?;
        Ok(Response::new(pb::SpecReply { spec: spec.into() }))
    }
}

/// Refuses a unit that the job has not.
fn within(job: &JobStatus, unit: Option<u64>) -> Result<(), Status> {
    match unit.filter(|unit| job.units <= *unit) {
        None => Ok(()),
        Some(unit) => Err(Status::out_of_range(format!(
            "{} is beyond the last unit of {}, {}",
            UnitIndex(unit),
            job.id,
            UnitIndex(job.units - 1)
        ))),
    }
}

/// Whether a job goes on.
fn runs(status: &JobStatus) -> bool {
    status.state == JobState::Running
}
