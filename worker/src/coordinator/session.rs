//! From the connection to the coordinator to a welcome, and the token on what is asked beside the stream. Every wait has a limit.

use crate::folder::{Identity, Project};
use client::bearer::Bearer;
use client::tls;
use program::error::chain;
use proto::bounds::MESSAGE_BYTES_MAX;
use proto::pb::coordinator_message::Kind;
use proto::pb::grid_client::GridClient;
use proto::pb::{self, worker_message};
use proto::{AccountKey, WorkerKey, hello, version};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use worker_core::agent::Welcome;

/// What this program calls itself.
pub(crate) const SOFTWARE: &str = concat!("starling-worker ", env!("CARGO_PKG_VERSION"));
/// Longest wait for a connection, and for each step of the greeting.
const STEP_MAX: Duration = Duration::from_secs(30);
/// Messages on their way to the coordinator. The agent sends a few batches ahead of their answers and little else, so
/// that a full channel means a coordinator that does not read.
const OUTBOUND: usize = 128;

/// What a worker says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Introduction {
    pub(crate) project: Project,
    pub(crate) identity: Identity,
    pub(crate) slots: u32,
    pub(crate) memory_bytes: u64,
    /// The newest head of the project's log that is known here.
    pub(crate) log_head: Option<pb::SignedHead>,
    /// Where the work is kept that the project asks of new accounts.
    pub(crate) work: PathBuf,
}

/// A stream that was welcomed.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) project: proto::ProjectKey,
    pub(crate) channel: Channel,
    pub(crate) token: String,
    pub(crate) outbound: mpsc::Sender<pb::WorkerMessage>,
    /// Whether the coordinator has lost its records and gathers what workers have kept; it does nothing else then.
    pub(crate) rebuilding: bool,
    /// Shows other members that this worker is one.
    pub(crate) certificate: bytes::Bytes,
}

/// Why there is no stream (any more).
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("{0}")]
    Lost(String),
    #[error("{0}")]
    Wait(String, Duration),
    #[error("{0}")]
    Refused(String),
    #[error("the project asks for work of {0} bits")]
    Work(u32),
}

impl Trouble {
    fn lost(what: &str, error: &dyn std::error::Error) -> Self {
        Self::Lost(format!("{what}: {}", chain(error)))
    }
}

/// An attempt of this step, within its time.
///
/// # Errors
/// [`Trouble::Lost`].
async fn step<T, E: std::error::Error>(
    what: &str,
    attempt: impl Future<Output = Result<T, E>>,
) -> Result<T, Trouble> {
    match timeout(STEP_MAX, attempt).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Trouble::lost(what, &error)),
        Err(_) => Err(Trouble::Lost(format!("{what}: no answer within {} s", STEP_MAX.as_secs()))),
    }
}

/// What a greeting that succeeded has opened.
pub(crate) type Greeted = (Session, Welcome, Streaming<pb::CoordinatorMessage>);

/// Connects and greets; the project, the version and both signatures are checked on the way. Does the work that the project asks
/// of new accounts, if it does, with no stream open meanwhile.
pub(crate) async fn greet(hello: &Introduction) -> Result<Greeted, Trouble> {
    match greet_once(hello).await {
        Err(Trouble::Work(bits)) => {
            work(hello, bits).await?;
            greet_once(hello).await
        }
        other => other,
    }
}

async fn greet_once(hello: &Introduction) -> Result<Greeted, Trouble> {
    let join = &hello.project.join;
    let channel = step("could not connect", tls::connect(join)).await?;
    let (outbound, messages) = mpsc::channel(OUTBOUND);
    let mut client =
        GridClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX + (64 << 10));
    let attached =
        step("could not open a stream", client.attach(ReceiverStream::new(messages))).await?;
    let mut inbound = attached.into_inner();
    let Kind::Challenge(challenge) = next(&mut inbound).await? else {
        return Err(Trouble::Lost("the coordinator did not begin with a challenge".into()));
    };
    version::check(challenge.version.as_ref())
        .map_err(|error| Trouble::Refused(error.to_string()))?;
    if challenge.project_key != join.project.0.as_slice() {
        return Err(Trouble::Refused(
            "the coordinator at this address serves another project: join again".into(),
        ));
    }
    let bits = challenge.work_bits;
    let work = work_done(hello, bits).ok_or(Trouble::Work(bits))?;
    let said = introduce(hello, &challenge.nonce, work);
    // The channel is empty.
    let _ = outbound.try_send(pb::WorkerMessage { kind: Some(worker_message::Kind::Hello(said)) });
    let Kind::Welcome(welcome) = next(&mut inbound).await? else {
        return Err(Trouble::Lost(
            "the coordinator answered the greeting with something else".into(),
        ));
    };
    version::check(welcome.version.as_ref())
        .map_err(|error| Trouble::Refused(error.to_string()))?;
    let rebuilding = welcome.rebuilding;
    let session = Session {
        project: join.project,
        channel,
        token: welcome.session_token,
        outbound,
        rebuilding,
        certificate: welcome.certificate,
    };
    let welcome = Welcome {
        heartbeat: Duration::from_millis(welcome.heartbeat_ms.into()),
        batch_reports_max: usize::try_from(welcome.batch_reports_max).unwrap_or(usize::MAX),
        credit: welcome.credit,
        sequence: welcome.sequence,
    };
    Ok((session, welcome, inbound))
}

/// The nonce of the work that the project asks of accounts which it does not know yet, if it was done before.
fn work_done(hello: &Introduction, bits: u32) -> Option<u64> {
    let (account, project) =
        (AccountKey::from(&hello.identity.account), hello.project.join.project);
    let kept = || std::fs::read_to_string(&hello.work).ok()?.trim().parse().ok();
    let enough = |nonce: &u64| bits <= hello::worked(&account, &project, *nonce);
    Some(0).filter(enough).or_else(|| kept().filter(enough))
}

/// Does that work, on a thread that ends when nobody waits for it any more, and keeps the nonce in the folder.
async fn work(hello: &Introduction, bits: u32) -> Result<(), Trouble> {
    if hello::WORK_BITS_MAX < bits {
        return Err(Trouble::Refused(format!(
            "the project asks new accounts for work of {bits} bits, and no more than {} are done: ask its operator",
            hello::WORK_BITS_MAX
        )));
    }
    tracing::info!("doing the work that this project asks of new accounts, once ({bits} bits)");
    let (account, project) =
        (AccountKey::from(&hello.identity.account), hello.project.join.project);
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let found = tokio::task::spawn_blocking(move || {
        hello::work(&account, &project, bits, || stop.is_cancelled())
    });
    let Ok(Some(nonce)) = found.await else {
        return Err(Trouble::Lost("the work for joining was broken off".into()));
    };
    program::file::write(&hello.work, nonce.to_string().as_bytes()).map_err(|error| {
        let what = format!("the work for joining cannot be kept in {}", hello.work.display());
        Trouble::lost(&what, &error)
    })
}

fn introduce(hello: &Introduction, nonce: &[u8], work: u64) -> pb::Hello {
    let Introduction { project, identity, slots, memory_bytes, log_head, .. } = hello;
    let (worker, account) =
        (WorkerKey::from(&identity.worker), AccountKey::from(&identity.account));
    pb::Hello {
        version: Some(version::ours(SOFTWARE)),
        worker_key: worker.0.to_vec().into(),
        account_key: account.0.to_vec().into(),
        account_signature: hello::sign_ownership(&identity.account, &worker).to_vec().into(),
        worker_signature: hello::sign_challenge(
            &identity.worker,
            &account,
            &project.join.project,
            nonce,
        )
        .to_vec()
        .into(),
        cores: *slots,
        memory_bytes: *memory_bytes,
        name: project.name.clone(),
        account_name: project.account_name.clone(),
        log_head: log_head.clone(),
        contract: proto::job::CONTRACT,
        invitation: project.join.invitation.clone().unwrap_or_default(),
        work,
    }
}

/// The next message of the greeting.
async fn next(inbound: &mut Streaming<pb::CoordinatorMessage>) -> Result<Kind, Trouble> {
    match step("the stream broke", inbound.message()).await? {
        Some(pb::CoordinatorMessage { kind: Some(Kind::Refusal(refusal)) }) => {
            Err(refused(&refusal))
        }
        Some(pb::CoordinatorMessage { kind: Some(kind) }) => Ok(kind),
        Some(_) => Err(Trouble::Lost(
            "the coordinator said something that this version does not know".into(),
        )),
        None => Err(Trouble::Lost("the coordinator closed the stream".into())),
    }
}

/// What a refusal of the coordinator means.
pub(crate) fn refused(refusal: &pb::Refusal) -> Trouble {
    let reason = printable(&refusal.message);
    match refusal.retry_after_ms {
        0 => Trouble::Refused(reason),
        wait => Trouble::Wait(reason, Duration::from_millis(wait)),
    }
}

/// Greets the coordinator only to leave the project.
///
/// # Errors
/// When it cannot be told.
pub(crate) async fn say_goodbye(hello: &Introduction) -> Result<(), Trouble> {
    let (session, _, mut inbound) = Box::pin(greet(hello)).await?;
    let goodbye = worker_message::Kind::Goodbye(pb::Goodbye { leaving: true });
    // The channel is empty.
    let _ = session.outbound.try_send(pb::WorkerMessage { kind: Some(goodbye) });
    // The coordinator ends the stream when it has heard.
    while let Ok(Some(_)) = step("the stream broke", inbound.message()).await {}
    Ok(())
}

/// `message` as a call with the stream's token.
///
/// # Errors
/// When the coordinator gave a token that is none.
pub(crate) fn with_token<T>(message: T, session: &Session) -> Result<Request<T>, Status> {
    let bearer = Bearer::new(&session.token)
        .map_err(|_| Status::internal("the coordinator gave a token that is no header"))?;
    Ok(bearer.call(message))
}

/// Text of a stranger, without what could upset a terminal.
pub(crate) fn printable(text: &str) -> String {
    proto::text::shortened(text, proto::bounds::REASON_BYTES_MAX)
}
