//! Peers for tests.

use ed25519_dalek::SigningKey;
use iroh::endpoint::presets;
use iroh::{Endpoint, SecretKey};
use proto::member::{Certificate, Member};
use proto::{AccountKey, ProjectKey, WorkerKey};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use worker::network::{Config, Net, Opening, Running};

/// Longest wait for something that is to come.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn project() -> SigningKey {
    SigningKey::from_bytes(&[77; 32])
}

pub(crate) fn key(number: u64) -> SigningKey {
    SigningKey::from_bytes(blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// The certificate of worker `number` of account `account`.
pub(crate) fn certificate(number: u64, account: u64) -> Certificate {
    let member = Member {
        project: ProjectKey::from(&project()),
        worker: WorkerKey::from(&key(number)),
        account: AccountKey::from(&key(1_000_000 + account)),
        network: 0,
        expires_at_ms: u64::MAX,
    };
    member.certify(&project())
}

/// On loopback, nothing but what a test asks for.
pub(crate) fn config() -> Config {
    Config {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        lan: false,
        relays: false,
        port_mapping: false,
        tick: Duration::from_millis(50),
        ..Config::default()
    }
}

/// A peer with an account of its own.
pub(crate) async fn peer(number: u64, config: Config) -> Running {
    peer_of(number, number, config).await
}

pub(crate) async fn peer_of(number: u64, account: u64, config: Config) -> Running {
    let project = ProjectKey::from(&project());
    let peer = Box::pin(Opening::bind(config, &key(number), project)).await.unwrap().start();
    peer.net().certify(certificate(number, account));
    peer
}

pub(crate) async fn peer_in(number: u64, folder: PathBuf) -> Running {
    peer(number, Config { folder: Some(folder), ..config() }).await
}

/// One side is told of the other.
pub(crate) fn introduce(to: &Net, whom: &Net) {
    to.heard(vec![whom.contact().unwrap()]);
}

/// A bare endpoint, which says what a test wants.
pub(crate) async fn endpoint(number: u64) -> Endpoint {
    let builder = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(key(number).as_bytes()))
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap();
    Box::pin(builder.bind()).await.unwrap()
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn are_linked(one: &Net, other: &Net) -> bool {
    one.neighbours().contains(&other.me()) && other.neighbours().contains(&one.me())
}
