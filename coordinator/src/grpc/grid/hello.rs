//! The beginning of a stream: challenge, hello, welcome.

use super::{End, Outbound, RETRY_MS, send};
use crate::SOFTWARE;
use crate::core::admission::Admission;
use crate::core::event::{Hello, Refused, Session};
use crate::engine::{FromCore, sink};
use crate::grpc::access::{SessionToken, Volunteer};
use crate::grpc::places::Crowd;
use crate::grpc::refusal::{Refusal, blocking};
use crate::grpc::{Services, convert};
use crate::random;
use program::error::chain;
use proto::bounds::{BATCH_REPORTS_MAX, INLINE_OUTPUT_BYTES_MAX};
use proto::member::{Certificate, Member, TERM_MS};
use proto::pb::{self, coordinator_message::Kind as ToKind, refusal::Code, worker_message::Kind};
use proto::{AccountKey, Digest, WorkerKey, hello, version};
use std::sync::Arc;
use tokio::time::timeout;
use tonic::Streaming;

/// When a newcomer is to try again whose network has brought too many: an hour's worth comes within a few tries.
const NEWCOMER_RETRY_MS: u64 = 120_000;

/// A worker that has proved who it is.
pub(super) struct Greeted {
    pub(super) session: Session,
    pub(super) volunteer: Volunteer,
    pub(super) from_core: FromCore,
    pub(super) _token: SessionToken,
}

/// Challenges the worker and lets the core welcome it.
pub(super) async fn greet(
    shared: &Arc<Services>,
    inbound: &mut Streaming<pb::WorkerMessage>,
    outbound: &Outbound,
    (network, crowd): (u64, Crowd),
) -> Result<Greeted, End> {
    let nonce = random::bytes();
    let challenge = pb::Challenge {
        nonce: nonce.to_vec().into(),
        project_key: shared.project.0.to_vec().into(),
        version: Some(version::ours(SOFTWARE)),
        work_bits: match shared.admission {
            Admission::Work(bits) => bits,
            Admission::Open | Admission::Invited => 0,
        },
        invited: shared.admission == Admission::Invited,
    };
    send(shared, outbound, ToKind::Challenge(challenge)).await?;
    let said = match timeout(shared.patience.hello, inbound.message()).await {
        Ok(Ok(Some(pb::WorkerMessage { kind: Some(Kind::Hello(said)) }))) => said,
        Ok(Ok(Some(_))) => return Err(malformed("the first message of a stream must be Hello")),
        Ok(Ok(None)) => return Err(End::Quiet),
        Ok(Err(status)) => return Err(super::stream::broken(&status)),
        Err(_) => {
            let text = "no Hello came in time: check the connection, then connect again";
            return Err(End::refusal(Code::Malformed, text, RETRY_MS));
        }
    };
    let hello = Hello { network, ..verify(shared, &nonce, &said)? };
    compare(shared, said.log_head.as_ref()).await?;
    let worker = hello.worker;
    let known = shared.engine.look(move |core| core.worker_number(&worker).is_some()).await?;
    if !known && !shared.newcomers.take(crowd) {
        let text = "more new workers come from this network than are taken in at once: this one will be in a few minutes";
        return Err(End::refusal(Code::TooMany, text, NEWCOMER_RETRY_MS));
    }
    let certificate = certify(shared, &hello);
    let volunteer = Volunteer { worker: hello.worker, account: hello.account, network: crowd };
    let (sink, from_core) = sink();
    let welcome =
        shared.engine.connected(hello, sink).await?.map_err(|refused| refusal(&refused))?;
    let (session_token, token) = shared.access.open_session(volunteer);
    let greeted = Greeted { session: welcome.session, volunteer, from_core, _token: token };
    let welcome = pb::Welcome {
        version: Some(version::ours(SOFTWARE)),
        session_token,
        heartbeat_ms: u32::try_from(shared.patience.heartbeat.as_millis()).unwrap_or(u32::MAX),
        batch_reports_max: BATCH_REPORTS_MAX as u64,
        inline_output_bytes: INLINE_OUTPUT_BYTES_MAX as u64,
        credit: convert::saturated(welcome.credit),
        sequence: welcome.sequence,
        certificate: certificate.to_bytes().into(),
        rebuilding: shared.gather.is_some(),
    };
    match send(shared, outbound, ToKind::Welcome(welcome)).await {
        Ok(()) => Ok(greeted),
        Err(end) => {
            shared.engine.gone(greeted.session).await?;
            Err(end)
        }
    }
}

/// What shows other members that this worker is one.
fn certify(shared: &Services, hello: &Hello) -> Certificate {
    let member = Member {
        project: shared.project,
        worker: hello.worker,
        account: hello.account,
        network: hello.network,
        expires_at_ms: shared.clock.now().wall_ms.saturating_add(TERM_MS),
    };
    member.certify(&shared.key)
}

/// Halts the coordinator when the head of the log that a worker knows shows that records are missing here.
async fn compare(shared: &Arc<Services>, head: Option<&pb::SignedHead>) -> Result<(), End> {
    let (Some(head), Some(_)) = (head.cloned(), &shared.heads) else { return Ok(()) };
    let all = Arc::clone(shared);
    let compared = blocking(move || match &all.heads {
        Some(heads) => heads.newer(&head, all.engine.store().as_ref()),
        None => Ok(None),
    });
    let newer = match compared.await {
        Ok(newer) => newer,
        Err(Refusal(status)) => {
            return Err(End::refusal(Code::ShuttingDown, status.message(), RETRY_MS));
        }
    };
    if let (Some(newer), Some(heads)) = (newer, &shared.heads)
        && shared.engine.halt(&newer.what)
        && let Err(error) = heads.keep(&newer)
    {
        tracing::error!("the head that a worker has shown is not kept: {}", chain(&error));
    }
    Ok(())
}

fn malformed(text: impl Into<String>) -> End {
    End::refusal(Code::Malformed, text, 0)
}

/// What the worker says of itself, when its signatures hold.
fn verify(shared: &Services, nonce: &[u8], said: &pb::Hello) -> Result<Hello, End> {
    if let Err(incompatible) = version::check(said.version.as_ref()) {
        return Err(End::refusal(Code::Version, incompatible.to_string(), 0));
    }
    let key = |bytes: &[u8], whose| {
        <[u8; 32]>::try_from(bytes)
            .map_err(|_| malformed(format!("the {whose} key must have 32 bytes")))
    };
    let worker = WorkerKey(key(&said.worker_key, "worker's")?);
    let account = AccountKey(key(&said.account_key, "account's")?);
    let signed =
        hello::verify_ownership(&account, &worker, &said.account_signature).and_then(|()| {
            hello::verify_challenge(
                &worker,
                &account,
                &shared.project,
                nonce,
                &said.worker_signature,
            )
        });
    if let Err(wrong) = signed {
        let text = format!("{wrong}: join the project again with the keys of this machine");
        return Err(End::refusal(Code::Signature, text, 0));
    }
    Ok(Hello {
        worker,
        account,
        cores: said.cores,
        memory_bytes: said.memory_bytes,
        name: convert::name(&said.name),
        account_name: convert::name(&said.account_name),
        // Releases that did not say so knew the first.
        contract: said.contract.max(1),
        network: 0,
        invitation: (!said.invitation.is_empty()).then(|| Digest::of(said.invitation.as_bytes())),
        work_bits: hello::worked(&account, &shared.project, said.work),
    })
}

fn refusal(refused: &Refused) -> End {
    match refused {
        Refused::TooMany(_) => End::refusal(Code::TooMany, refused.to_string(), 60_000),
        Refused::NotInvited | Refused::InvitationUsed | Refused::NoWork(_) => {
            End::refusal(Code::NotAdmitted, refused.to_string(), 0)
        }
        Refused::OtherAccount => End::refusal(Code::Signature, refused.to_string(), 0),
        Refused::DiskFull(_) | Refused::Halted(_) => {
            End::refusal(Code::TooMany, refused.to_string(), 60_000)
        }
    }
}
