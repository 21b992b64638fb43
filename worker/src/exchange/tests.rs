//! Real endpoints on loopback that carry real blobs.

use super::protocol::{Reply, Request};
use super::*;
use crate::network::Running;
use ed25519_dalek::SigningKey;
use proto::member::Member;
use proto::pieces::{PIECE_BYTES_MIN, Pieces};
use proto::{AccountKey, ProjectKey};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::timeout;
use worker_core::exchange::{Bits, Message};

/// Far beyond what any of these takes, so that what hangs fails.
const LONG: Duration = Duration::from_secs(60);

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn content(n_pieces: u64) -> (Vec<u8>, Pieces) {
    let len = n_pieces * PIECE_BYTES_MIN - 1234;
    let mut content = vec![0; usize::try_from(len).unwrap()];
    blake3::Hasher::new().update(b"input").finalize_xof().fill(&mut content);
    let pieces = Pieces::read(&mut content.as_slice(), len).unwrap().unwrap();
    (content, pieces)
}

/// A coordinator that has one blob and counts what it gives.
#[derive(Default)]
struct Fake {
    content: Mutex<Vec<u8>>,
    list: Mutex<Vec<u8>>,
    given: AtomicU64,
}

struct SharedFake(Arc<Fake>);

impl Origin for SharedFake {
    fn list(&self, _: Digest) -> Answer<Result<(u64, Vec<u8>), Fault>> {
        let list = self.0.list.lock().unwrap().clone();
        let len = self.0.content.lock().unwrap().len() as u64;
        Box::pin(async move { if len == 0 { Err(Fault::Lost) } else { Ok((len, list)) } })
    }

    fn piece(&self, _: Digest, range: Range<u64>, _: bool) -> Answer<Result<Vec<u8>, Fault>> {
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        let piece = self.0.content.lock().unwrap()[range].to_vec();
        self.0.given.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Box::pin(async move { Ok(piece) })
    }
}

struct Machine {
    home: tempfile::TempDir,
    blobs: Arc<Blobs>,
    exchange: Exchange,
    running: Running,
    _tasks: JoinSet<()>,
}

async fn bound(number: u8) -> Opening {
    let project = key(255);
    let config = crate::network::Config {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        lan: false,
        tracker: false,
        port_mapping: false,
        relays: false,
        ..crate::network::Config::default()
    };
    let me = key(number);
    let opening = Opening::bind(config, &me, ProjectKey::from(&project)).await.unwrap();
    let member = Member {
        project: ProjectKey::from(&project),
        worker: WorkerKey::from(&me),
        account: AccountKey::from(&me),
        network: u64::from(number),
        expires_at_ms: u64::MAX,
    };
    opening.net().certify(member.certify(&project));
    opening
}

impl Machine {
    async fn start(number: u8, origin: &Arc<Fake>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::open(home.path(), 1 << 30, 16 << 20).unwrap());
        let config = exchange::Config { seed: number.into(), ..exchange::Config::default() };
        let opening = bound(number).await;
        let origin = Arc::new(SharedFake(Arc::clone(origin)));
        let (opening, exchange, task) = Exchange::new(opening, config, Arc::clone(&blobs), origin);
        let running = opening.start();
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run());
        Self { home, blobs, exchange, running, _tasks: tasks }
    }

    async fn has(&self, content: &[u8]) {
        let digest = Digest::of(content);
        let mut partial = self.blobs.begin(digest, content.len() as u64).unwrap();
        partial.write(content).unwrap();
        self.blobs.finish(partial).unwrap();
        self.exchange.offer(digest, content.len() as u64).await;
    }

    async fn bring(&self, digest: Digest, len: Option<u64>) -> Vec<u8> {
        timeout(LONG, self.exchange.bring(digest, len)).await.expect("nothing stalls").unwrap();
        std::fs::read(self.blobs.path(&digest)).unwrap()
    }
}

/// All know each other.
async fn introduce(nets: &[&Net]) {
    for (n, net) in nets.iter().enumerate() {
        for other in &nets[n + 1..] {
            net.heard(vec![other.contact().unwrap()]);
            other.heard(vec![net.contact().unwrap()]);
            // Any protocol greets first.
            let connection = timeout(LONG, net.connect(&other.me(), protocol::ALPN)).await.unwrap();
            drop(connection.unwrap());
        }
    }
}

async fn machines(numbers: std::ops::RangeInclusive<u8>, origin: &Arc<Fake>) -> Vec<Machine> {
    let mut machines = Vec::new();
    for number in numbers {
        machines.push(Machine::start(number, origin).await);
    }
    let nets: Vec<_> = machines.iter().map(|machine| machine.running.net()).collect();
    introduce(&nets).await;
    connected(&machines, machines.len() - 1).await;
    machines
}

/// Waits until each can exchange blobs with so many.
async fn connected(machines: &[Machine], n_peers: usize) {
    for machine in machines {
        let all = async {
            while machine.exchange.numbers().await.peers < n_peers {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONG, all).await.expect("all connect to each other");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_alone_carry_a_blob_whose_length_nobody_told() {
    let (content, pieces) = content(12);
    let mut machines = machines(1..=4, &Arc::default()).await;
    let first = machines.remove(0);
    first.has(&content).await;
    let machines = all_bring(machines, pieces.digest(), None, &content).await;
    for machine in &machines {
        let left = machine.home.path().join("pieces").read_dir().unwrap().count();
        assert_eq!((left, machine.blobs.bytes()), (0, content.len() as u64));
    }
}

/// All bring the blob at the same time, and go on giving it.
async fn all_bring(
    machines: Vec<Machine>,
    digest: Digest,
    len: Option<u64>,
    content: &[u8],
) -> Vec<Machine> {
    let mut bringing = JoinSet::new();
    for machine in machines {
        bringing.spawn(async move { (machine.bring(digest, len).await, machine) });
    }
    let mut machines = Vec::new();
    while let Some(done) = bringing.join_next().await {
        let (bytes, machine) = done.unwrap();
        assert!(bytes == content, "the bytes are those of the blob");
        machines.push(machine);
    }
    machines
}

fn origin(content: &[u8], pieces: &Pieces) -> Arc<Fake> {
    let origin = Fake::default();
    *origin.content.lock().unwrap() = content.to_vec();
    *origin.list.lock().unwrap() = pieces.list();
    Arc::new(origin)
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_start_together_take_two_copies_at_most_from_the_coordinator() {
    let (content, pieces) = content(24);
    let origin = origin(&content, &pieces);
    let machines = machines(1..=5, &origin).await;
    for machine in &machines {
        machine.exchange.origin(true).await;
    }
    let len = content.len() as u64;
    let machines = all_bring(machines, pieces.digest(), Some(len), &content).await;
    let given = origin.given.load(Ordering::Relaxed);
    println!("{given} bytes given of {len}");
    assert!(len <= given && given <= 2 * len, "{given} of {len}");
    drop(machines);
}

/// Says that it has all, and gives wrong bytes, or nothing.
#[derive(Clone, Debug)]
struct Liar {
    pieces: Arc<Pieces>,
    poisons: bool,
    n_asked: Arc<AtomicU64>,
}

impl Liar {
    async fn attend(self, connection: Connection, dialled: bool) -> Option<()> {
        let (mut send, mut receive) = if dialled {
            let (mut send, receive) = connection.open_bi().await.ok()?;
            protocol::send(&mut send, &Message::Choke).await.ok()?;
            (send, receive)
        } else {
            connection.accept_bi().await.ok()?
        };
        let mut streams = Vec::new();
        loop {
            tokio::select! {
                message = protocol::receive(&mut receive) => {
                    let Message::Want { digest } = message.ok()? else { continue };
                    let cut = self.pieces.cut();
                    let pieces = Bits::all(cut.n_pieces());
                    let holds = Message::Holds { digest, len: cut.bytes(), pieces };
                    protocol::send(&mut send, &holds).await.ok()?;
                    protocol::send(&mut send, &Message::Unchoke).await.ok()?;
                }
                accepted = connection.accept_bi() => {
                    let (mut send, mut receive) = accepted.ok()?;
                    let request = protocol::receive_request(&mut receive).await.ok()?;
                    self.n_asked.fetch_add(1, Ordering::Relaxed);
                    if let (Request::Piece { piece, .. }, true) = (request, self.poisons) {
                        let len = usize::try_from(self.pieces.cut().len_of(piece)).unwrap();
                        protocol::send_reply(&mut send, &Reply::Piece).await.ok()?;
                        protocol::send_bytes(&mut send, &vec![0; len]).await.ok()?;
                    } else {
                        // Never answered.
                        streams.push((send, receive));
                    }
                }
            }
        }
    }
}

impl iroh::protocol::ProtocolHandler for Liar {
    async fn accept(&self, connection: Connection) -> Result<(), iroh::protocol::AcceptError> {
        self.clone().attend(connection, false).await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoner_and_a_staller_stop_nobody() {
    let (content, pieces) = content(16);
    let origin = origin(&content, &pieces);
    let machines = machines(1..=3, &origin).await;
    let mut tasks = JoinSet::new();
    let mut liars = Vec::new();
    for (number, poisons) in [(101, true), (102, false)] {
        let liar = Liar { pieces: Arc::new(pieces.clone()), poisons, n_asked: Arc::default() };
        let running = bound(number).await.accept(protocol::ALPN, liar.clone()).start();
        for machine in &machines {
            introduce(&[running.net(), machine.running.net()]).await;
            if running.net().me() < machine.running.net().me() {
                let other = machine.running.net().me();
                let connected = running.net().connect(&other, protocol::ALPN);
                let connection = timeout(LONG, connected).await.unwrap().unwrap();
                tasks.spawn(liar.clone().attend(connection, true));
            }
        }
        liars.push((liar, running));
    }
    connected(&machines, 4).await;
    for machine in &machines {
        machine.exchange.origin(true).await;
    }
    let len = content.len() as u64;
    let machines = all_bring(machines, pieces.digest(), Some(len), &content).await;
    let poisoned = liars[0].0.n_asked.load(Ordering::Relaxed);
    println!(
        "{poisoned} pieces asked of the poisoner, {} given",
        origin.given.load(Ordering::Relaxed)
    );
    // Lists and two pieces of each machine, before the first is known to be wrong.
    assert!(poisoned <= 4 * 3, "{poisoned}");
    drop(machines);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_was_cut_is_taken_up_where_it_was() {
    let (content, pieces) = content(8);
    let origin = origin(&content, &pieces);
    let machine = Machine::start(1, &origin).await;
    let (file, _) = machine.blobs.begin_pieces(pieces.clone()).unwrap();
    for piece in 0..5 {
        let range = pieces.cut().range(piece);
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        file.put(piece, &content[range]).unwrap();
    }
    machine.blobs.leave_pieces(&pieces.digest());
    drop(file);
    machine.exchange.origin(true).await;
    let len = content.len() as u64;
    assert!(machine.bring(pieces.digest(), Some(len)).await == content);
    let given = origin.given.load(Ordering::Relaxed);
    assert_eq!(given, len - 5 * PIECE_BYTES_MIN, "only what was missing");
}
