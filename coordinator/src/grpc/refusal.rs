//! Refusals as gRPC knows them: a code for programs, and for people what, why and what to do.

use crate::backup;
use crate::blobs::{self, LinesInvalid};
use crate::core::event::SubmitRefused;
use crate::core::saved;
use crate::engine;
use program::error::chain;
use std::error::Error;
use tonic::{Code, Status};

/// The coordinator itself is in trouble: what it is goes into the log and to the caller.
fn internal(error: &dyn Error) -> Status {
    let text = chain(error);
    tracing::error!("{text}");
    Status::internal(text)
}

impl From<engine::Error> for Refusal {
    fn from(error: engine::Error) -> Self {
        match &error {
            engine::Error::Stopped(_) => {
                Self(Status::unavailable(format!("{error}: try again in a moment")))
            }
            engine::Error::Halted(_) => Self(Status::failed_precondition(error.to_string())),
            _ => Self(internal(&error)),
        }
    }
}

impl From<saved::Error> for Refusal {
    fn from(error: saved::Error) -> Self {
        Self(internal(&error))
    }
}

impl From<blobs::Error> for Refusal {
    fn from(error: blobs::Error) -> Self {
        use blobs::Error as E;
        let code = match &error {
            E::Absent(_) => Code::NotFound,
            E::Range { .. } => Code::OutOfRange,
            E::TooLarge { .. } | E::Length { .. } => Code::InvalidArgument,
            E::Digest { .. } => Code::DataLoss,
            E::Quota { .. } | E::Full { .. } => Code::ResourceExhausted,
            E::Disk { .. } => return Self(internal(&error)),
        };
        Self(Status::new(code, chain(&error)))
    }
}

impl From<backup::Error> for Refusal {
    fn from(error: backup::Error) -> Self {
        use backup::Error as E;
        let code = match &error {
            E::Name(_) => Code::InvalidArgument,
            E::Exists(_) => Code::AlreadyExists,
            E::Busy => Code::Unavailable,
            _ => return Self(internal(&error)),
        };
        Self(Status::new(code, chain(&error)))
    }
}

impl From<LinesInvalid> for Refusal {
    fn from(error: LinesInvalid) -> Self {
        match error {
            LinesInvalid::Blob(error) => error.into(),
            error => Self(Status::invalid_argument(chain(&error))),
        }
    }
}

impl From<SubmitRefused> for Refusal {
    fn from(refused: SubmitRefused) -> Self {
        let code = match &refused {
            SubmitRefused::Invalid(_) => Code::InvalidArgument,
            SubmitRefused::Missing { .. } => Code::FailedPrecondition,
            SubmitRefused::TooMany(_)
            | SubmitRefused::TooManyOfAccount(..)
            | SubmitRefused::Specs { .. }
            | SubmitRefused::Quota { .. }
            | SubmitRefused::DiskFull(_) => Code::ResourceExhausted,
            SubmitRefused::OtherSpec(_) => Code::AlreadyExists,
        };
        Self(Status::new(code, refused.to_string()))
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.0
    }
}

/// A [`Status`] that domain errors turn into by `?`.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Status);

/// What blocking work came to; it is not cancelled, and its panics are ours.
pub(crate) async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Refusal>
where
    T: Send + 'static,
    E: Into<Refusal> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(error) => Err(Refusal(internal(&error))),
    }
}
