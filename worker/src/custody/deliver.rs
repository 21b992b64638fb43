//! What is held for others, to the coordinator.

use super::Growth;
use crate::coordinator::{Session, with_token};
use proto::bounds::{LOG_ENTRIES_MAX, MESSAGE_BYTES_MAX};
use proto::log::Head;
use proto::pb;
use proto::pb::held_client::HeldClient;
use proto::pb::log_client::LogClient;
use proto::report::Ack;
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Status};
use worker_core::custody::Name;
use worker_core::replica;

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Longest time for the log to come.
const LOG_MAX: Duration = Duration::from_secs(600);

/// Asks which of these batches the coordinator wants; none when it could not be asked.
pub(super) async fn wanted(session: Option<Session>, names: &[Name]) -> Option<Vec<bool>> {
    let session = session?;
    let name = |name: &Name| pb::BatchName {
        worker_key: name.worker.0.to_vec().into(),
        sequence: name.sequence,
    };
    let request = pb::WantedRequest { batches: names.iter().map(name).collect() };
    let mut client = HeldClient::new(session.channel.clone());
    let request = with_token(request, &session).ok()?;
    let reply = timeout(ANSWER_MAX, client.wanted(request)).await.ok()?;
    let wanted = reply.map(|reply| reply.into_inner().wanted);
    let wanted = wanted.inspect_err(|status| tracing::debug!(%status, "not asked"));
    wanted.ok().filter(|wanted| wanted.len() == names.len())
}

/// The log from entry `from` on, up to its head now.
///
/// # Errors
/// For people, when it could not be had.
pub(super) async fn log(session: Option<Session>, from: u64) -> Result<Option<Growth>, String> {
    let session = session.ok_or("the coordinator is away")?;
    let grown = timeout(LOG_MAX, log_since(&session, from)).await;
    grown.map_err(|_| "no answer".to_owned())?.map_err(|status| status.to_string())
}

async fn log_since(session: &Session, from: u64) -> Result<Option<Growth>, Status> {
    let mut client = LogClient::new(session.channel.clone())
        .max_decoding_message_size(MESSAGE_BYTES_MAX + (64 << 10));
    let head = client.head(with_token(pb::LogHeadRequest {}, session)?).await?.into_inner();
    let size = Head::verify(&head, &session.project)
        .map_err(|invalid| Status::internal(invalid.to_string()))?
        .size;
    let (mut entries, mut bytes) = (Vec::new(), 0_u64);
    while from + (entries.len() as u64) < size {
        let next = from + entries.len() as u64;
        let left = size - next;
        let count_max = u32::try_from(left).unwrap_or(u32::MAX).min(LOG_ENTRIES_MAX);
        let request = pb::LogEntriesRequest { from: next, count_max, bytes_max: 0 };
        let mut stream = client.entries(with_token(request, session)?).await?.into_inner();
        let before = entries.len();
        while let Some(some) = stream.message().await? {
            bytes += some.entries.iter().map(|entry| entry.len() as u64).sum::<u64>();
            if replica::BYTES_MAX < bytes {
                return Err(Status::resource_exhausted("the log is longer than is kept here"));
            }
            let room = usize::try_from(size - from).unwrap_or(usize::MAX) - entries.len();
            entries.extend(some.entries.into_iter().take(room).map(|entry| entry.to_vec()));
        }
        if entries.len() == before {
            return Err(Status::internal("the log ends before its head"));
        }
    }
    Ok((!entries.is_empty()).then_some((head, entries)))
}

/// Delivers a batch; whether the coordinator has it now, or will never want it.
pub(super) async fn deliver(session: Option<Session>, sealed: Vec<u8>) -> bool {
    let Some(session) = session else { return false };
    let mut client = HeldClient::new(session.channel.clone());
    let request = pb::DeliverRequest { sealed: sealed.into() };
    let Ok(request) = with_token(request, &session) else { return false };
    match timeout(ANSWER_MAX, client.deliver(request)).await {
        Ok(Ok(reply)) => {
            let status = reply.into_inner().status;
            let again = |byte: &u8| {
                matches!(Ack::try_from(*byte), Ok(Ack::Busy | Ack::OutputMissing) | Err(_))
            };
            !status.iter().any(again)
        }
        Ok(Err(status)) => {
            tracing::debug!(%status, "a held batch was not taken");
            // It will not be another time either.
            status.code() == Code::InvalidArgument
        }
        Err(_) => false,
    }
}
