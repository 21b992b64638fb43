//! A coordinator as a whole: started from a folder, stopped with everything that it started.

use crate::backup::{Backups, Tee};
use crate::blobs::{self, BlobStore};
use crate::clock::SystemClock;
use crate::core::time::Clock;
use crate::engine::{self, Engine, Handle};
use crate::grpc::access::Access;
use crate::grpc::blob_access::BlobAccess;
use crate::grpc::blobs::Transfers;
use crate::grpc::compile::Compiler;
use crate::grpc::egress::Egress;
use crate::grpc::held::{self, Allowances};
use crate::grpc::peers::Swarm;
use crate::grpc::rebuild;
use crate::grpc::turns::Turns;
use crate::grpc::{self, Services};
use crate::metrics::Metrics;
use crate::project::{self, Folder, file, names};
use crate::rebuild::Gather;
use crate::store;
use crate::tally::{self, Guarded, Heads, Opened};
use crate::tasks::Tasks;
use housekeeping::spawn_housekeeping;
use proto::join::Join;
use proto::ticket::TicketIssuer;
use referee::Referee;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

mod config;
mod gather;
mod housekeeping;
mod referee;
mod sweep;

pub use config::Config;

/// Where volunteers find a coordinator, unless told otherwise.
pub(crate) const PORT: u16 = 7700;

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder.
    #[error(transparent)]
    Project(#[from] project::Error),
    /// The blobs.
    #[error(transparent)]
    Blobs(#[from] blobs::Error),
    /// The records.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The records are not as they were left.
    #[error(transparent)]
    Records(#[from] tally::Refused),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The certificate.
    #[error("the server's certificate cannot be used")]
    Tls(#[from] rustls::Error),
    /// The folder of the embedded referee.
    #[error("the embedded referee cannot be used; mend that, or go without: --no-referee")]
    Referee(#[source] worker::folder::Error),
    /// The embedded referee itself.
    #[error("the embedded referee cannot start; mend that, or go without: --no-referee")]
    RefereeStart(#[source] worker::StartError),
    /// The address for collectors.
    #[error("--metrics: cannot listen at {address}")]
    Metrics {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The address.
    #[error(
        "cannot listen at {address}: is another coordinator running there? choose another with --listen"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A running coordinator. [`Self::shutdown`] stops it; dropping it stops it too, without waiting.
#[derive(Debug)]
pub struct Coordinator {
    address: SocketAddr,
    join: Join,
    operator_token: String,
    engine: Handle,
    thread: Engine,
    folder: Folder,
    tasks: Tasks,
    metrics: Option<Metrics>,
    referee: Option<worker::Worker>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Coordinator {
    /// Starts one; when this returns it can be connected to.
    ///
    /// # Errors
    /// [`StartError`], saying what to do.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let folder = Folder::take(&config.data)?;
        let identity = folder.identity()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let limits = blobs::Limits {
            account_bytes: config.account_bytes,
            reserve_bytes: config.reserve_bytes,
        };
        let blobs = Arc::new(BlobStore::open(&folder.at(names::BLOBS), limits)?);
        if let Some(quiet) = config.rebuild {
            Box::pin(gather::rebuild(&config, quiet, &folder, &identity, &clock, &blobs)).await?;
        }
        let accept_at_ms = config.accept_loss.then(|| clock.now().wall_ms);
        let Opened { store, tally, file } = tally::open(&folder, &identity, accept_at_ms)?;
        let heads = Heads::new(&folder, &identity, &tally);
        let tee = Arc::new(Tee::new(Arc::new(store)));
        let store = Arc::new(Guarded::new(Arc::clone(&tee) as _, tally, file));
        let (listener, address) = listen(config.listen).await?;
        let join = identity.join(config.advertise.clone().unwrap_or_else(|| advertised(address)));
        let referee = match config.referee {
            true => Some(Referee::of(&folder).map_err(StartError::Referee)?),
            false => None,
        };
        let kind = Kind::Usual(heads, referee.as_ref().map(|referee| referee.key));
        let Started { shared, thread } =
            open(&config, (store, tee), kind, &identity, &clock, blobs, &join).await?;
        let Services { engine, tasks, stop, .. } = &*shared;
        let (engine, tasks, stop) = (engine.clone(), tasks.clone(), stop.clone());
        let metrics = match config.metrics {
            None => None,
            Some(address) => Some(
                Metrics::start(address, Arc::clone(&shared))
                    .await
                    .map_err(|source| StartError::Metrics { address, source })?,
            ),
        };
        grpc::serve(listener, &identity, config.connections_max, &shared)?;
        spawn_housekeeping(&shared, config.summary_every);
        let former = match config.referee {
            true => None,
            false => Referee::former(&folder).map_err(StartError::Referee)?,
        };
        if let Some(former) = former {
            engine.appoint(former.key, false).await?;
        }
        let referee = match referee {
            Some(referee) => Some(referee.start(&config, &join, reachable(address))?),
            None => None,
        };
        file::write(&folder.at(names::LISTENING), format!("{}\n", reachable(address)).as_bytes())?;
        let operator_token = identity.operator_token;
        let _stop_on_drop = stop.clone().drop_guard();
        Ok(Self {
            address,
            join,
            operator_token,
            engine,
            thread,
            folder,
            tasks,
            metrics,
            referee,
            stop,
            _stop_on_drop,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it tells its numbers, if it does.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Metrics::local_addr)
    }

    /// What volunteers paste.
    #[must_use]
    pub fn join(&self) -> &Join {
        &self.join
    }

    /// The token of the folder's operator.
    #[must_use]
    pub fn operator_token(&self) -> &str {
        &self.operator_token
    }

    /// Speaks to the engine directly.
    #[must_use]
    pub fn engine(&self) -> &Handle {
        &self.engine
    }

    /// Waits until the engine ends by itself, which it does when records cannot be saved.
    pub async fn failed(&self) {
        let mut changes = self.engine.changes();
        while changes.changed().await.is_ok() {}
    }

    /// Tells workers to come back later, ends all calls within `deadline`, saves what is pending, and ends.
    pub async fn shutdown(self, deadline: Duration) {
        if let Some(referee) = self.referee {
            referee.stop();
            if tokio::time::timeout(deadline, referee.shutdown()).await.is_err() {
                tracing::warn!("the embedded referee did not end in time and is cut off");
            }
        }
        self.stop.cancel();
        drop(self.metrics);
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!("calls did not end in time and are cut off");
        }
        self.engine.stop().await;
        // Its error was logged, and told to everybody who asked.
        let _ = tokio::task::spawn_blocking(|| self.thread.join()).await;
        // Only a help for the operator's commands; the next start writes it anew.
        let _ = std::fs::remove_file(self.folder.at(names::LISTENING));
    }
}

/// What serves, and the thread behind it.
struct Started {
    shared: Arc<Services>,
    thread: Engine,
}

/// What a coordinator is there for.
enum Kind {
    /// To decide, as long as nobody shows that records are missing; with a referee of its own, perhaps.
    Usual(Heads, Option<proto::WorkerKey>),
    /// To gather what workers have kept.
    Gathering(Arc<Gather>),
}

/// Starts the engine over a store; backups are made of what lies below the tee.
async fn open(
    config: &Config,
    (store, tee): (Arc<dyn store::Store>, Arc<Tee>),
    kind: Kind,
    identity: &project::Identity,
    clock: &Arc<dyn Clock>,
    blobs: Arc<BlobStore>,
    join: &Join,
) -> Result<Started, StartError> {
    let (gather, heads, referee) = match kind {
        Kind::Usual(heads, referee) => (None, Some(heads), referee),
        Kind::Gathering(gather) => (Some(gather), None, None),
    };
    let (thread, engine) = Engine::start(engine::Config {
        project: identity.project(),
        store,
        blobs: Arc::clone(&blobs) as Arc<dyn engine::Blobs>,
        clock: Arc::clone(clock),
        reserve_bytes: config.reserve_bytes,
        check_floor: config.check_floor,
        admission: config.admission,
        account_bytes: config.account_bytes,
        referee,
    })?;
    let stop = CancellationToken::new();
    let compiler = Arc::new(Compiler::new(config.program.clone(), stop.clone()));
    let shared = Arc::new(Services {
        compiler,
        access: Access::load(engine.clone(), Arc::clone(clock), &identity.operator_token).await?,
        submissions: Turns::default(),
        blob_access: BlobAccess::load(&engine).await?,
        project: identity.project(),
        key: identity.key.clone(),
        office: TicketIssuer::new(&identity.key),
        deliveries: Allowances::deliveries(),
        newcomers: Allowances::newcomers(),
        opening: Semaphore::new(held::OPENED_AT_ONCE),
        giving: Semaphore::new(rebuild::LARGE_AT_ONCE),
        egress: Egress::default(),
        unwanted: Notify::new(),
        transfers: Transfers::default(),
        swarm: Swarm::default(),
        gather,
        heads,
        join: join.to_string(),
        data: config.data.clone(),
        backups: Backups::new(tee),
        patience: config.patience,
        lan: config.lan,
        admission: config.admission,
        started_ms: clock.now().monotonic_ms,
        engine,
        tasks: Tasks::default(),
        stop,
        blobs,
        clock: Arc::clone(clock),
    });
    Ok(Started { shared, thread })
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// An address at which this machine reaches itself.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// `HOST:PORT` for others: the address itself, or the machine's name when it listens at all of its addresses.
pub(crate) fn advertised(address: SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return address.to_string();
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => reachable(address).to_string(),
        name => format!("{name}:{}", address.port()),
    }
}
