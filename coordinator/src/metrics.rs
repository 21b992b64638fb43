//! The numbers of `status`, for programs that collect numbers: in the OpenMetrics text format, over HTTP.

use crate::grpc::Services;
use crate::grpc::egress::{GIVEN_MAX, OfBlob};
use iroh_metrics::{Counter, EncodeLabelSet, Family, Gauge, MetricsGroup, MetricsSource, Registry};
use program::collector::Server;
use program::error::chain;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often the numbers are taken: nobody collects them more often.
const EVERY: Duration = Duration::from_secs(5);
/// Digits of a blob's digest that are told.
const DIGITS: usize = 8;

/// What is told of a coordinator.
#[derive(Debug, Default, MetricsGroup)]
#[metrics(name = "starling_coordinator")]
struct Numbers {
    /// Workers with an open stream
    workers_connected: Gauge,
    /// Workers ever seen
    workers_known: Gauge,
    /// Jobs that run
    jobs_running: Gauge,
    /// Jobs ever submitted
    jobs_known: Gauge,
    /// Units lent, copies counted
    units_leased: Gauge,
    /// Units with a verdict, over all jobs; one that is withdrawn counts no more
    units_settled: Gauge,
    /// Granted, fuel; less when verdicts are withdrawn
    credit: Gauge,
    /// Records on disk, bytes
    store_bytes: Gauge,
    /// Bytes of blobs given out since the start
    blob_given_bytes: Counter,
    /// The same of each of the blobs of which most was given
    blob_given_most_bytes: Family<Blob, Counter>,
    /// Pieces of blobs that workers with peers were refused: given often enough, ask your peers
    blob_pieces_refused: Counter,
    /// Referees that are connected, the coordinator's own among them
    referees: Gauge,
    /// Units on which the crowd agreed and that a referee found right, since one was found wrong
    crowd_checks: Gauge,
    /// Whether there is something that the operator must mend, which `status` tells: 1 or 0
    trouble: Gauge,
    /// Whether nothing is lent or settled any more because records are missing: 1 or 0
    halted: Gauge,
}

/// The beginning of a blob's digest, which tells blobs apart; whoever knows a whole digest may ask for the blob.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Blob {
    blob: String,
}

impl Numbers {
    /// Takes the numbers; `told` are the blobs that are told of.
    async fn take(
        &self,
        shared: &Services,
        told: &mut BTreeSet<Blob>,
    ) -> Result<(), crate::engine::Error> {
        let totals = shared.engine.totals().await?;
        gauge(&self.workers_connected, totals.workers_connected);
        gauge(&self.workers_known, totals.workers_known);
        gauge(&self.jobs_running, totals.jobs_running);
        gauge(&self.jobs_known, totals.jobs_known);
        gauge(&self.units_leased, totals.units_leased);
        gauge(&self.units_settled, totals.units_settled);
        gauge(&self.credit, u64::try_from(totals.credit).unwrap_or(u64::MAX));
        gauge(&self.store_bytes, totals.store_bytes);
        gauge(&self.referees, totals.referees);
        gauge(&self.crowd_checks, totals.crowd_checks);
        gauge(&self.trouble, u64::from(!totals.trouble.is_empty()));
        gauge(&self.halted, u64::from(totals.halted));
        self.blob_given_bytes.set(shared.egress.bytes());
        let mut gone = std::mem::take(told);
        for OfBlob { digest, given, .. } in shared.egress.most(GIVEN_MAX) {
            let mut blob = digest.to_string();
            blob.truncate(DIGITS);
            let blob = Blob { blob };
            self.blob_given_most_bytes.get_or_create(&blob).set(given);
            gone.remove(&blob);
            told.insert(blob);
        }
        for blob in gone {
            self.blob_given_most_bytes.remove(&blob);
        }
        self.blob_pieces_refused.set(shared.egress.refused());
        Ok(())
    }
}

fn gauge(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Tells the numbers until it is dropped.
#[derive(Debug)]
pub(crate) struct Metrics {
    server: Server,
    _tasks: JoinSet<()>,
}

impl Metrics {
    /// Tells, at `http://listen/metrics`, how the coordinator stands.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub(crate) async fn start(listen: SocketAddr, shared: Arc<Services>) -> io::Result<Self> {
        let numbers = Arc::new(Numbers::default());
        let mut registry = Registry::default();
        registry.register(Arc::clone(&numbers) as Arc<dyn MetricsGroup>);
        let encode = move || registry.encode_openmetrics_to_string().unwrap_or_default();
        let server = Server::start(listen, encode).await?;
        tracing::info!("numbers for collectors: http://{}/metrics", server.address());
        if let Some(warning) = server.warning() {
            tracing::warn!("{warning}");
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut every, mut told_of) = (interval(EVERY), BTreeSet::new());
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                if let Err(error) = numbers.take(&shared, &mut told_of).await {
                    tracing::warn!("no numbers for collectors: {}", chain(&error));
                }
            }
        });
        Ok(Self { server, _tasks: tasks })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.server.address()
    }
}
