//! What is held for others, to the coordinator.

use crate::driver::{Session, with_token};
use crate::p2p::hold::Name;
use proto::pb;
use proto::pb::held_client::HeldClient;
use proto::report::Ack;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Code;

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

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
