//! `starling-worker seed`: a peer that does not compute. It relays, introduces newcomers, and needs a public address.

use super::{Failure, output, run, runtime};
use crate::control::{Ask, Report, serve};
use crate::coordinator::{Introduction, Session, Trouble, announce, greet};
use crate::folder::{Folder, Identity, Project};
use crate::network::peer_record::{Relay, network};
use crate::network::seed::{RelayServer, RelaySettings};
use crate::network::{Config, Net, Opening};
use iroh_metrics::RwLockRegistry;
use proto::member::Certificate;
use proto::pb::{self, worker_message::Kind};
use proto::{AccountKey, WorkerKey};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use worker_core::agent::Status;

/// First and longest wait before the coordinator is tried again. The seed serves meanwhile.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How often a seed tells the coordinator that it lives, at least.
const HEARTBEAT_MAX: Duration = Duration::from_secs(30);

pub(super) fn run(data: &Path, arguments: &super::Seed) -> Result<(), Failure> {
    output::log();
    let folder = Folder::take(data)?;
    let (project, identity) = (folder.project()?, folder.identity()?);
    runtime()?.block_on(Box::pin(async {
        let mut seed = Seed::start(data, arguments, project, identity).await?;
        let signals =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let [Ok(terminate), Ok(interrupt), Ok(hangup)] = signals else {
            return Err(Failure::Failed("cannot listen to signals".into()));
        };
        let ended = tokio::select! {
            ended = seed.serve(&folder, &arguments.metrics) => ended,
            () = run::any([terminate, interrupt, hangup]) => Ok(()),
        };
        seed.tasks.shutdown().await;
        seed.peers.shutdown().await;
        seed.relay.shutdown().await;
        ended
    }))
}

/// A seed that runs.
struct Seed {
    project: Project,
    identity: Identity,
    peers: crate::network::Running,
    relay: RelayServer,
    session: watch::Receiver<Option<Session>>,
    refused: mpsc::Receiver<String>,
    tasks: JoinSet<()>,
    started: Instant,
}

impl Seed {
    async fn start(
        data: &Path,
        arguments: &super::Seed,
        project: Project,
        identity: Identity,
    ) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
        let key = &identity.worker;
        let next = match arguments.port {
            0 => 0,
            port => port.checked_add(1).ok_or_else(|| failed(&"--port: at most 65534"))?,
        };
        let settings = RelaySettings {
            listen: SocketAddr::new(arguments.listen, arguments.port),
            listen_quic: SocketAddr::new(arguments.listen, next),
            bytes_per_second: u32::try_from(arguments.relay.as_u64())
                .ok()
                .and_then(NonZeroU32::new),
        };
        let relay = RelayServer::start(key, project.join.project, settings).await;
        let relay = relay.map_err(|error| failed(&error))?;
        let host = match &arguments.public {
            Some(host) => host.clone(),
            None => public_address(arguments.listen).ok_or_else(|| {
                failed(&"this machine has no public address of its own: give the one under which others reach it, with --public")
            })?,
        };
        let url = format!("https://{host}:{}", relay.port().unwrap_or(arguments.port));
        let url = url.parse().map_err(|_| failed(&format!("--public: {host} is no host name")))?;
        let config = Config {
            listen: arguments.peers.peer_listen.or(Some(settings.listen)),
            links_max: usize::from(arguments.peers.peers_max).max(256),
            connections_max: 4096,
            serves: Some(Relay { url, quic_port: relay.quic_port().unwrap_or(0) }),
            port_mapping: false,
            ..arguments.peers.config(data)
        };
        let tracker = config.tracker;
        let opening = Box::pin(Opening::bind(config, key, project.join.project)).await;
        let peers = opening.map_err(|error| failed(&error))?.start();
        let (sessions, session) = watch::channel(None);
        let (refuse, refused) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let hello = Introduction {
            project: project.clone(),
            identity: identity.clone(),
            slots: 1,
            memory_bytes: 0,
            log_head: None,
            work: crate::folder::work(data),
        };
        tasks.spawn(attach(hello, peers.net().clone(), sessions, refuse));
        if tracker {
            tasks.spawn(announce(peers.net().clone(), session.clone()));
        }
        tracing::info!(
            relay = %peers.net().contact().and_then(|contact| contact.serves).map_or_else(String::new, |relay| relay.url.to_string()),
            "seed starts"
        );
        Ok(Self {
            project,
            identity,
            peers,
            relay,
            session,
            refused,
            tasks,
            started: Instant::now(),
        })
    }

    /// Answers the owner, until told to stop.
    async fn serve(&mut self, folder: &Folder, metrics: &super::Metrics) -> Result<(), Failure> {
        let (asks, mut asked) = mpsc::channel(16);
        let registry = RwLockRegistry::default();
        if let Ok(mut registry) = registry.write() {
            self.peers.net().register(&mut registry);
            self.relay.register(&mut registry);
        }
        let _metrics = metrics.start(registry, asks.clone()).await?;
        let path = folder.socket();
        let server = serve(&path, asks)
            .map_err(|error| Failure::Failed(format!("cannot use {}: {error}", path.display())))?;
        self.tasks.spawn(server);
        loop {
            let ask = tokio::select! {
                Some(ask) = asked.recv() => ask,
                Some(reason) = self.refused.recv() => {
                    return Err(Failure::Refused(format!("the coordinator refuses this seed: {reason}")));
                }
            };
            // Whoever asked and left does without.
            match ask {
                Ask::Status(answer) => drop(answer.send(self.report())),
                Ask::Peers(answer) => drop(answer.send(Some(self.peers.net().peers()))),
                Ask::Stop(answer) | Ask::Leave(answer) => {
                    let _ = answer.send(());
                    return Ok(());
                }
                Ask::Pause(_, answer) | Ask::Resume(answer) => drop(answer.send(())),
            }
        }
    }

    fn report(&self) -> Report {
        Report {
            coordinator: self.project.join.address.clone(),
            project: self.project.join.project,
            name: self.project.name.clone(),
            worker: WorkerKey::from(&self.identity.worker),
            account: AccountKey::from(&self.identity.account),
            process: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            cache_bytes: 0,
            trace_bytes: 0,
            held: Default::default(),
            peers: Some(self.peers.net().report()),
            blobs: None,
            walls: None,
            status: Status {
                connected: self.session.borrow().is_some(),
                why: vec![format!(
                    "this is a seed: it computes nothing; its relay has passed on {}",
                    bytesize::ByteSize(self.relay.relayed_bytes())
                )],
                ..Status::default()
            },
        }
    }
}

/// Holds a stream to the coordinator, which makes this seed a member and lets it announce itself.
async fn attach(
    hello: Introduction,
    net: Net,
    sessions: watch::Sender<Option<Session>>,
    refuse: mpsc::Sender<String>,
) {
    let mut wait = RETRY_MIN;
    loop {
        let trouble = match Box::pin(greet(&hello)).await {
            Ok((session, welcome, mut inbound)) => {
                wait = RETRY_MIN;
                let now_ms = crate::clock::wall_ms();
                let project = hello.project.join.project;
                match Certificate::open(&session.certificate, &project, now_ms) {
                    Ok(certificate) if certificate.member().worker == net.me() => {
                        net.certify(certificate)
                    }
                    _ => tracing::warn!(
                        "the coordinator made this seed no member: is it of an older release?"
                    ),
                }
                let outbound = session.outbound.clone();
                sessions.send_replace(Some(session));
                tracing::info!("connected to {}", hello.project.join.address);
                let mut beats = interval(welcome.heartbeat.clamp(RETRY_MIN, HEARTBEAT_MAX));
                loop {
                    let beat =
                        pb::WorkerMessage { kind: Some(Kind::Heartbeat(pb::Heartbeat::default())) };
                    tokio::select! {
                        _ = beats.tick() => if outbound.send(beat).await.is_err() { break },
                        // A seed asks for no work; whatever else is said is not for it.
                        message = inbound.message() => if !matches!(message, Ok(Some(_))) { break },
                    }
                }
                sessions.send_replace(None);
                Trouble::Lost("the stream has ended".into())
            }
            Err(trouble) => trouble,
        };
        match trouble {
            Trouble::Refused(reason) => {
                let _ = refuse.send(reason).await;
                return;
            }
            Trouble::Lost(reason) | Trouble::Wait(reason, _) => {
                tracing::warn!("not connected to {}: {reason}", hello.project.join.address);
            }
            // The project asks for more than a moment ago: with the next greeting it is done.
            Trouble::Work(_) => tracing::warn!("not connected: {trouble}"),
        }
        sleep(wait.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// An address of this machine that is public, or the one that it is told to listen at.
fn public_address(listen: IpAddr) -> Option<String> {
    if !listen.is_unspecified() {
        return Some(host(listen));
    }
    // Nothing is sent: the system only says from where it would be.
    let socket = std::net::UdpSocket::bind(SocketAddr::new(listen, 0)).ok()?;
    let anywhere = if listen.is_ipv6() { "[2001:db8::1]:9" } else { "192.0.2.1:9" };
    socket.connect(anywhere).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (network(ip) != 0).then(|| host(ip))
}

/// An address as the host of a URL.
fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
