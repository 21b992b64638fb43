//! Speaks with the coordinator.

use crate::error::Error;
use crate::profile::Profile;
use backon::{ExponentialBuilder, Retryable};
use client::bearer::Bearer;
use client::tls;
use program::error::chain;
use proto::pb::blobs_client::BlobsClient;
use proto::pb::jobs_client::JobsClient;
use proto::pb::log_client::LogClient;
use proto::{Digest, JobId, bounds, pb};
use std::time::Duration;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

/// Longest wait for one answer: far more than any call takes, less than the patience of who waits.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// A lost connection is tried again this often, over about a minute.
const RETRIES_MAX: usize = 8;

/// A first connection that fails is tried again so often: a coordinator that is started again is away for a moment.
const CONNECT_RETRIES_MAX: usize = 3;
/// Before the first of these; each further one waits twice as long, two seconds in all.
const CONNECT_PAUSE: Duration = Duration::from_millis(300);

type Authorised = InterceptedService<Channel, Bearer>;

/// A connection to the coordinator, made again whenever it is lost.
#[derive(Clone, Debug)]
pub struct Client {
    /// Who asks whom.
    pub profile: Profile,
    channel: Channel,
    bearer: Bearer,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers, or somebody other than the profile's coordinator.
    pub async fn connect(profile: Profile) -> Result<Self, Error> {
        let bearer = Bearer::new(&profile.token).map_err(|none| Error::Usage(none.to_string()))?;
        let waits = ExponentialBuilder::default()
            .with_min_delay(CONNECT_PAUSE)
            .with_max_times(CONNECT_RETRIES_MAX);
        let connect = || tls::connect(&profile.join);
        let channel = connect.retry(waits).when(|error| !tls::is_foreign(error)).await;
        let channel = channel.map_err(|error| {
            let why = chain(&error);
            let why = if tls::is_foreign(&error) {
                format!("another project answers there ({why})")
            } else {
                why
            };
            Error::Unreachable { address: profile.join.address.clone(), why }
        })?;
        Ok(Self { profile, channel, bearer })
    }

    /// The service for jobs.
    #[must_use]
    pub fn jobs(&self) -> JobsClient<Authorised> {
        JobsClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(bounds::MESSAGE_BYTES_MAX)
    }

    /// The service for the project's log.
    #[must_use]
    pub fn log(&self) -> LogClient<Authorised> {
        LogClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(bounds::MESSAGE_BYTES_MAX)
    }

    /// The service for blobs.
    #[must_use]
    pub fn blobs(&self) -> BlobsClient<Authorised> {
        BlobsClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(bounds::MESSAGE_BYTES_MAX)
    }

    /// Calls until there is an answer, with pauses, as long as the connection is what fails.
    ///
    /// # Errors
    /// What the coordinator refuses, or that it is away.
    pub async fn call<T, F>(&self, doing: &str, mut call: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let within = || {
            let call = call();
            async {
                tokio::time::timeout(CALL_TIMEOUT, call)
                    .await
                    .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within a minute")))
            }
        };
        let waits = ExponentialBuilder::default().with_jitter().with_max_times(RETRIES_MAX);
        let answer = within.retry(waits).when(is_passing).await;
        answer.map(Response::into_inner).map_err(|status| self.error(doing, &status))
    }

    /// What a status means to who asked.
    #[must_use]
    pub fn error(&self, doing: &str, status: &Status) -> Error {
        let message = status.message().to_owned();
        let refused =
            |hint| Error::Refused { doing: doing.to_owned(), message: message.clone(), hint };
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded => {
                let address = self.profile.join.address.clone();
                Error::Unreachable { address, why: chain(status) }
            }
            Code::Unauthenticated => {
                refused(": log in with a token that is good: starling login JOIN")
            }
            Code::Internal | Code::Unknown | Code::DataLoss | Code::Cancelled | Code::Aborted => {
                Error::Failed(format!("the coordinator failed to {doing}: {}", chain(status)))
            }
            _ => refused(""),
        }
    }

    /// How a job is.
    ///
    /// # Errors
    /// As for [`Client::call`].
    pub async fn status(&self, job: JobId) -> Result<pb::JobStatus, Error> {
        let jobs = self.jobs();
        let request = pb::JobRequest { job_id: job.0 };
        self.call("tell about the job", || {
            let mut jobs = jobs.clone();
            async move { jobs.get(request).await }
        })
        .await
    }

    /// The specification of a job, as it was submitted.
    ///
    /// # Errors
    /// As for [`Client::call`], and when the bytes are not those of the job.
    pub async fn spec(&self, status: &pb::JobStatus) -> Result<Vec<u8>, Error> {
        let jobs = self.jobs();
        let request = pb::JobRequest { job_id: status.job_id };
        let reply = self
            .call("give the specification", || {
                let mut jobs = jobs.clone();
                async move { jobs.spec(request).await }
            })
            .await?;
        if Digest::of(&reply.spec).0.as_slice() != status.spec_digest.as_ref() {
            return Err(Error::Unverified("the specification that came is not the job's".into()));
        }
        Ok(reply.spec.to_vec())
    }
}

/// Whether the connection, and not the call, is what failed.
#[must_use]
pub fn is_passing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable)
}
