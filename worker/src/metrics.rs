//! The numbers of `status`, with those that iroh counts itself, for programs that collect numbers: in the OpenMetrics text
//! format, over HTTP.

use crate::control::{Ask, Report};
use iroh_metrics::{Counter, Gauge, MetricsGroup, MetricsSource, RwLockRegistry};
use program::collector::Server;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often the numbers are taken: nobody collects them more often.
const EVERY: Duration = Duration::from_secs(5);

/// What is told of a worker or a seed.
#[derive(Debug, Default, MetricsGroup)]
#[metrics(name = "starling_worker")]
struct Numbers {
    /// Whether the coordinator has welcomed this worker: 1 or 0
    connected: Gauge,
    /// Whether its owner has paused it: 1 or 0
    paused: Gauge,
    /// The account's credit as last heard, fuel
    credit: Gauge,
    /// Units that may run at the same time
    slots: Gauge,
    /// Units in slots or queued right before them
    running: Gauge,
    /// Units held and not yet begun
    waiting: Gauge,
    /// Of these, units whose blobs are on their way
    fetching: Gauge,
    /// Reports on disk that the coordinator has not acknowledged
    unreported: Gauge,
    /// Parts of units to be shown or run again
    errands: Gauge,
    /// Units finished
    units_finished: Counter,
    /// Reports acknowledged
    reports_accepted: Counter,
    /// Reports that the coordinator would not take
    reports_refused: Counter,
    /// Infrastructure failures
    failures: Counter,
    /// Fuel burnt in finished units
    fuel: Counter,
    /// Computing time of finished units, whole seconds
    cpu_seconds: Counter,
    /// Kernels and inputs on disk, bytes
    cache_bytes: Gauge,
    /// Traces on disk, bytes
    trace_bytes: Gauge,
    /// Reports held for others
    held_reports: Gauge,
    /// Of these, not known to be with the coordinator
    held_reports_waiting: Gauge,
    /// Bytes held for others
    held_bytes: Gauge,
    /// Reports of its own that wait for the coordinator
    own_reports_waiting: Gauge,
    /// Copies of these with peers
    own_reports_copies: Gauge,
    /// Reports that others wanted held and were refused
    held_refused: Counter,
    /// Entries of the project's log that are here
    log_entries: Gauge,
    /// Neighbours reached directly
    peers_direct: Gauge,
    /// Neighbours reached through a relay
    peers_relayed: Gauge,
    /// Peers known
    peers_known: Gauge,
    /// Connections to peers, of all protocols
    peer_connections: Gauge,
    /// Bytes sent to peers, ever
    peer_sent_bytes: Counter,
    /// Bytes received from peers, ever
    peer_received_bytes: Counter,
    /// Bytes sent to peers and received this month
    peer_month_bytes: Gauge,
    /// Peers with whom blobs are exchanged
    blob_peers: Gauge,
    /// Of these, given to now
    blob_peers_unchoked: Gauge,
    /// Blobs given on
    blobs_whole: Gauge,
    /// Blobs on their way
    blobs_arriving: Gauge,
    /// Longest time without a new piece of these, seconds
    blobs_still_seconds: Gauge,
    /// Bytes of blobs received from peers
    blob_from_peers_bytes: Counter,
    /// Bytes of blobs received from the coordinator
    blob_from_coordinator_bytes: Counter,
    /// Bytes of blobs given to peers
    blob_to_peers_bytes: Counter,
    /// Pieces that were not what their digest says
    blob_wrong_pieces: Counter,
    /// Peers dropped for what they sent, or did not send
    blob_dropped_peers: Counter,
}

impl Numbers {
    fn set(&self, report: &Report) {
        let status = &report.status;
        gauge(&self.connected, u64::from(status.connected));
        gauge(&self.paused, u64::from(status.paused.is_some()));
        gauge(&self.credit, status.credit);
        gauge(&self.slots, u64::from(status.slots));
        gauge(&self.running, status.running.len() as u64);
        gauge(&self.waiting, status.waiting);
        gauge(&self.fetching, status.fetching);
        gauge(&self.unreported, status.unreported);
        gauge(&self.errands, status.errands);
        self.units_finished.set(status.units_finished);
        self.reports_accepted.set(status.reports_accepted);
        self.reports_refused.set(status.reports_refused);
        self.failures.set(status.failures);
        self.fuel.set(status.fuel);
        self.cpu_seconds
            .set(Duration::try_from_secs_f64(status.cpu_seconds).map_or(0, |time| time.as_secs()));
        gauge(&self.cache_bytes, report.cache_bytes);
        gauge(&self.trace_bytes, report.trace_bytes);
        let held = &report.held;
        gauge(&self.held_reports, held.others as u64);
        gauge(&self.held_reports_waiting, held.others_waiting as u64);
        gauge(&self.held_bytes, held.others_bytes);
        gauge(&self.own_reports_waiting, held.own_waiting as u64);
        gauge(&self.own_reports_copies, held.copies as u64);
        self.held_refused.set(held.refused);
        gauge(&self.log_entries, held.log);
        if let Some(peers) = &report.peers {
            gauge(&self.peers_direct, peers.direct as u64);
            gauge(&self.peers_relayed, peers.relayed as u64);
            gauge(&self.peers_known, peers.known as u64);
            gauge(&self.peer_connections, peers.connections as u64);
            self.peer_sent_bytes.set(peers.usage.ever.up_bytes);
            self.peer_received_bytes.set(peers.usage.ever.down_bytes);
            gauge(&self.peer_month_bytes, peers.usage.month.total());
        }
        if let Some(blobs) = &report.blobs {
            gauge(&self.blob_peers, blobs.peers as u64);
            gauge(&self.blob_peers_unchoked, blobs.unchoked as u64);
            gauge(&self.blobs_whole, blobs.whole as u64);
            gauge(&self.blobs_arriving, blobs.arriving as u64);
            let still = blobs.slowest.first().map_or(0, |blob| blob.still_seconds);
            gauge(&self.blobs_still_seconds, still);
            let totals = &blobs.totals;
            self.blob_from_peers_bytes.set(totals.from_peers_bytes);
            self.blob_from_coordinator_bytes.set(totals.from_coordinator_bytes);
            self.blob_to_peers_bytes.set(totals.to_peers_bytes);
            self.blob_wrong_pieces.set(totals.wrong_pieces);
            self.blob_dropped_peers.set(totals.dropped_peers);
        }
    }
}

fn gauge(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Tells the numbers until it is dropped.
#[derive(Debug)]
pub(crate) struct Metrics {
    _server: Server,
    _tasks: JoinSet<()>,
}

impl Metrics {
    /// Tells, at `http://listen/metrics`, what whoever answers `asks` reports, beside what `registry` has already.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub(crate) async fn start(
        listen: SocketAddr,
        registry: RwLockRegistry,
        asks: mpsc::Sender<Ask>,
    ) -> io::Result<Self> {
        let numbers = Arc::new(Numbers::default());
        if let Ok(mut registry) = registry.write() {
            registry.register(Arc::clone(&numbers) as Arc<dyn MetricsGroup>);
        }
        let encode = move || registry.encode_openmetrics_to_string().unwrap_or_default();
        let server = Server::start(listen, encode).await?;
        tracing::info!("numbers for collectors: http://{}/metrics", server.address());
        if let Some(warning) = server.warning() {
            tracing::warn!("{warning}");
        }
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut every = interval(EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                let (answer, answered) = oneshot::channel();
                if asks.send(Ask::Status(answer)).await.is_err() {
                    return;
                }
                if let Ok(report) = answered.await {
                    numbers.set(&report);
                }
            }
        });
        Ok(Self { _server: server, _tasks: tasks })
    }
}
