//! The coordinator's services over gRPC. Wire types stop here: what comes in becomes domain types or a refusal.

use crate::blobs::BlobStore;
use crate::core::admission::Admission;
use crate::core::time::Clock;
use crate::engine::Handle;
use crate::project;
use crate::rebuild::Gather;
use crate::tally::Heads;
use crate::tasks::Tasks;
use access::{Access, Caller};
use blob_access::BlobAccess;
use ed25519_dalek::SigningKey;
use egress::Egress;
use parts::Parts;
use program::error::chain;
use proto::bounds::{CHUNK_BYTES_MAX, MESSAGE_BYTES_MAX, SPEC_BYTES_MAX};
use proto::pb::{
    self, admin_server, blobs_server, grid_server, held_server, jobs_server, log_server,
    peers_server, rebuild_server,
};
use proto::ticket::TicketIssuer;
use proto::{ProjectKey, WorkerKey};
use refusal::Refusal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::server::HealthReporter;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tower::layer::util::{Identity, Stack};
use tower::util::MapRequestLayer;

pub(crate) mod access;
mod admin;
pub(crate) mod blob_access;
pub(crate) mod blobs;
pub(crate) mod compile;
mod convert;
pub(crate) mod egress;
mod grid;
pub(crate) mod held;
mod jobs;
mod log;
mod parts;
pub(crate) mod peers;
mod places;
pub(crate) mod rebuild;
mod refusal;
mod tls;
pub(crate) mod turns;

/// HTTP/2 streams of one connection: a worker needs one for its stream and a few for blobs, a researcher fewer.
const STREAMS_MAX: u32 = 128;
/// Bytes that one stream, and one connection, may have under way before they are read: a few full messages.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Largest message of calls that only name things, bytes.
const SMALL_MESSAGE_BYTES: usize = 64 << 10;
/// Bytes of the headers of one call: a token and what gRPC adds.
const HEADER_BYTES_MAX: u32 = 16 << 10;

/// How long the coordinator waits for others.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For a connection to show who it is, by a call with a token or a worker's hello.
    pub stranger: Duration,
    /// For a worker's hello, from the challenge on.
    pub hello: Duration,
    /// How often workers are told to say that they live.
    pub heartbeat: Duration,
    /// For any message of a worker; a few heartbeats long, so that a lost one is no reason to part.
    pub silence: Duration,
    /// For a reader to take what is sent to it, and for a writer to send its next chunk.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            stranger: Duration::from_secs(30),
            hello: Duration::from_secs(15),
            heartbeat: Duration::from_secs(30),
            silence: Duration::from_secs(100),
            stall: Duration::from_secs(30),
        }
    }
}

/// What all services share.
pub(crate) struct Services {
    pub(crate) engine: Handle,
    pub(crate) blobs: Arc<BlobStore>,
    pub(crate) access: Access,
    /// Compiles the kernels of jobs that are submitted.
    pub(crate) compiler: Arc<compile::Compiler>,
    /// Reads specifications that are submitted.
    pub(crate) submissions: turns::Turns,
    pub(crate) blob_access: BlobAccess,
    pub(crate) egress: Egress,
    /// Told when outputs are wanted no more.
    pub(crate) unwanted: Notify,
    pub(crate) transfers: blobs::Transfers,
    pub(crate) swarm: peers::Swarm,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) project: ProjectKey,
    pub(crate) key: SigningKey,
    /// Makes the tickets of leases.
    pub(crate) office: TicketIssuer,
    /// How much each worker may deliver for others.
    pub(crate) deliveries: held::Allowances<WorkerKey>,
    /// Turns of those that deliver for others.
    pub(crate) opening: Semaphore,
    /// Turns of those that give much while the records are built up again.
    pub(crate) giving: Semaphore,
    /// How many workers that are not known each network may bring.
    pub(crate) newcomers: held::Allowances<places::Crowd>,
    /// While the records are built up again.
    pub(crate) gather: Option<Arc<Gather>>,
    /// What heads that workers show are compared with; none while the records are built up again.
    pub(crate) heads: Option<Heads>,
    pub(crate) join: String,
    pub(crate) data: PathBuf,
    pub(crate) backups: crate::backup::Backups,
    pub(crate) patience: Timeouts,
    /// Whether accounts on private addresses count for themselves.
    pub(crate) lan: bool,
    /// What accounts must show that are not known yet.
    pub(crate) admission: Admission,
    pub(crate) started_ms: u64,
    pub(crate) tasks: Tasks,
    pub(crate) stop: CancellationToken,
}

impl Services {
    /// Runs work that belongs to one call; it ends with the coordinator.
    fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled_owned(work).await;
        });
    }

    /// The same for work that sends answers on a stream, which ends also when the caller's token is revoked.
    fn spawn_stream<T: Send + 'static>(
        self: &Arc<Self>,
        caller: &Caller,
        stream: mpsc::Sender<Result<T, Status>>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let (shared, token) = (Arc::clone(self), caller.token());
        self.spawn(async move {
            let refusal = tokio::select! {
                () = work => return,
                refusal = shared.access.revoked(token) => refusal,
            };
            end(&shared, &stream, refusal).await;
        });
    }
}

/// Ends a stream of answers with a reason.
async fn end<T>(shared: &Services, stream: &mpsc::Sender<Result<T, Status>>, refusal: Refusal) {
    // A reader that has gone needs no reason.
    let _ = tokio::time::timeout(shared.patience.stall, stream.send(Err(refusal.into()))).await;
}

/// Serves on `listener` until `shared.stop`, then lets calls end.
///
/// # Errors
/// When the certificate cannot be used.
pub(crate) fn serve(
    listener: TcpListener,
    identity: &project::Identity,
    connections_max: usize,
    shared: &Arc<Services>,
) -> Result<(), rustls::Error> {
    let config = Arc::new(tls::server_config(identity)?);
    let Timeouts { handshake, stranger, .. } = shared.patience;
    let bounds = tls::Bounds { connections_max, handshake, stranger };
    let accepted = tls::accept(listener, config, bounds, &shared.tasks, &shared.stop);
    let stop = shared.stop.clone();
    let router = router(shared);
    shared.tasks.spawn(async move {
        let incoming = ReceiverStream::new(accepted);
        if let Err(error) =
            router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await
        {
            tracing::error!("the server has failed: {}", chain(&error));
        }
    });
    Ok(())
}

/// The layer that all requests pass first.
type First<F> = Stack<MapRequestLayer<F>, Identity>;

fn router(
    shared: &Arc<Services>,
) -> Router<First<impl Fn(http::Request<Body>) -> http::Request<Body> + Clone + use<>>> {
    macro_rules! bounded {
        ($server:path, $service:expr, $max:expr) => {{
            let service: $server = <$server>::new($service);
            service.max_decoding_message_size($max).max_encoding_message_size(MESSAGE_BYTES_MAX)
        }};
        ($server:path, $service:expr) => {
            bounded!($server, $service, MESSAGE_BYTES_MAX)
        };
    }
    // All but the volunteers' stream, which begins without a token.
    macro_rules! closed {
        ($server:path, $service:expr, $max:expr) => {{
            let access = shared.access.clone();
            InterceptedService::new(bounded!($server, $service, $max), move |request| {
                access.admit(request)
            })
        }};
    }
    let (reporter, health) = tonic_health::server::health_reporter();
    report_health(shared, reporter);
    let parts = Parts::new(shared.patience.silence);
    let router = Server::builder()
        .layer(MapRequestLayer::new(move |request| parts.bound(request)))
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_keepalive_interval(Some(shared.patience.stall))
        .http2_keepalive_timeout(Some(shared.patience.stall))
        .add_service(bounded!(grid_server::GridServer<grid::Grid>, grid::Grid(Arc::clone(shared))))
        .add_service(health)
        .add_service(reflection());
    if let Some(gather) = &shared.gather {
        // Whatever else is asked would be answered out of nothing.
        return router.add_service(bounded!(
            rebuild_server::RebuildServer<rebuild::Rebuild>,
            rebuild::Rebuild(Arc::clone(shared), Arc::clone(gather))
        ));
    }
    let shared_by = || Arc::clone(shared);
    router
        .add_service(closed!(
            jobs_server::JobsServer<jobs::Jobs>,
            jobs::Jobs(shared_by()),
            SPEC_BYTES_MAX + SMALL_MESSAGE_BYTES
        ))
        .add_service(closed!(
            log_server::LogServer<log::Log>,
            log::Log(shared_by()),
            SMALL_MESSAGE_BYTES
        ))
        .add_service(closed!(
            blobs_server::BlobsServer<blobs::Blobs>,
            blobs::Blobs(shared_by()),
            2 * CHUNK_BYTES_MAX
        ))
        .add_service(closed!(
            peers_server::PeersServer<peers::Peers>,
            peers::Peers(shared_by()),
            MESSAGE_BYTES_MAX
        ))
        .add_service(closed!(
            admin_server::AdminServer<admin::Admin>,
            admin::Admin(shared_by()),
            SMALL_MESSAGE_BYTES
        ))
        .add_service(closed!(
            held_server::HeldServer<held::Held>,
            held::Held(shared_by()),
            MESSAGE_BYTES_MAX
        ))
}

/// Says that the services serve, until the coordinator stops.
fn report_health(shared: &Services, reporter: HealthReporter) {
    let alive = shared.stop.clone();
    shared.tasks.spawn(async move {
        reporter.set_serving::<grid_server::GridServer<grid::Grid>>().await;
        reporter.set_serving::<jobs_server::JobsServer<jobs::Jobs>>().await;
        reporter.set_serving::<blobs_server::BlobsServer<blobs::Blobs>>().await;
        reporter.set_serving::<log_server::LogServer<log::Log>>().await;
        reporter.set_serving::<peers_server::PeersServer<peers::Peers>>().await;
        reporter.set_serving::<admin_server::AdminServer<admin::Admin>>().await;
        alive.cancelled().await;
    });
}

/// Describes the protocol to those who ask.
fn reflection() -> ServerReflectionServer<impl ServerReflection> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("our own description of the protocol is well-formed")
}
