//! How the project's log travels among workers.
//!
//! `cargo bench -p tests --bench gossip -- simulate 10000 100000`: the pure rules of `worker_core::replica` among so many
//! peers of 16 links each, 10 to 150 ms apart, from a seed that is printed: how long and over how many hops a new head and
//! its entries take, how many bytes that costs each peer, and who is missed, also when a tenth of all peers vanish midway.
//!
//! `cargo bench -p tests --bench gossip -- real 64`: so many real workers and a coordinator in this machine: bytes and CPU
//! time of each for every entry of the log.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what is printed is the result, and a failed expectation is a failed run"
)]

use anyhow::{Context, Result, bail};
use proto::WorkerKey;
use proto::cut::Axis;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::grid::{Coordinator, Profile, Worker, program, until_within, usage};
use worker_core::replica::Gossip;

/// Links that each peer opens, as workers do; as many come to it on average.
const OPENED: usize = 8;
/// Bytes of a signed head with its request, reply and framing; of a request for entries; of entries of one commit.
const HEAD_BYTES: u64 = 260;
const ASK_BYTES: u64 = 80;
const ENTRIES_BYTES: u64 = 400;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.split_first() {
        Some((verb, counts)) if verb == "simulate" => {
            let seed = std::env::var("STARLING_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
            for count in counts {
                simulate(count.parse()?, seed.unwrap_or(1));
            }
            Ok(())
        }
        Some((verb, counts)) if verb == "real" => {
            let count = counts.first().context("how many workers?")?.parse()?;
            tokio::runtime::Runtime::new()?.block_on(real(count))
        }
        _ => bail!("simulate N.. | real N"),
    }
}

/// Something on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    Head {
        from: u32,
        size: u64,
        hops: u32,
    },
    Ask {
        from: u32,
        hops: u32,
    },
    Entries {
        from: u32,
        size: u64,
        hops: u32,
    },
    /// It is time to tell one more of the head that came over so many hops.
    Tell,
}

struct Peer {
    gossip: Gossip,
    size: u64,
    asking: bool,
    newest: Option<(u32, u64, u32)>,
    gone: bool,
    bytes: u64,
    heads: u64,
    reached_at: Duration,
    hops: u32,
}

struct Net {
    peers: Vec<Peer>,
    numbers: HashMap<WorkerKey, u32>,
    keys: Vec<WorkerKey>,
    queue: BinaryHeap<Reverse<(Duration, u64, u32, Message)>>,
    sent: u64,
    now: Duration,
    random: SmallRng,
}

impl Net {
    fn new(count: u32, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let keys: Vec<WorkerKey> = (0..count)
            .map(|number| WorkerKey(*blake3::hash(&number.to_le_bytes()).as_bytes()))
            .collect();
        let numbers = keys.iter().copied().zip(0..).collect();
        let mut links: Vec<Vec<u32>> = vec![Vec::new(); count as usize];
        for number in 0..count {
            while links[number as usize].len() < OPENED {
                let other = random.random_range(0..count);
                if other != number && !links[number as usize].contains(&other) {
                    links[number as usize].push(other);
                    links[other as usize].push(number);
                }
            }
        }
        let peer = |links: Vec<u32>| {
            let mut gossip = Gossip::default();
            links.into_iter().for_each(|link| gossip.came(keys[link as usize]));
            Peer {
                gossip,
                size: 0,
                asking: false,
                newest: None,
                gone: false,
                bytes: 0,
                heads: 0,
                reached_at: Duration::ZERO,
                hops: 0,
            }
        };
        let peers = links.into_iter().map(peer).collect();
        let queue = BinaryHeap::new();
        Self { peers, numbers, keys, queue, sent: 0, now: Duration::ZERO, random }
    }

    fn send(&mut self, from: u32, to: u32, message: Message) {
        let bytes = match message {
            Message::Head { .. } => HEAD_BYTES,
            Message::Ask { .. } => ASK_BYTES,
            Message::Entries { .. } => ENTRIES_BYTES,
            Message::Tell => 0,
        };
        self.peers[from as usize].bytes += bytes;
        self.peers[to as usize].bytes += bytes;
        let at = self.now + Duration::from_millis(self.random.random_range(10..150));
        self.push(at, to, message);
    }

    fn push(&mut self, at: Duration, to: u32, message: Message) {
        self.sent += 1;
        self.queue.push(Reverse((at, self.sent, to, message)));
    }

    fn grown(&mut self, number: u32, size: u64, hops: u32) {
        let peer = &mut self.peers[number as usize];
        if size <= peer.size {
            return;
        }
        (peer.size, peer.reached_at, peer.hops) = (size, self.now, hops);
        self.tell(number);
    }

    fn tell(&mut self, number: u32) {
        let Peer { gossip, size, hops, .. } = &mut self.peers[number as usize];
        let (size, hops) = (*size, *hops);
        let told = gossip.to_tell(self.now, size, &mut self.random);
        let due = gossip.next_deadline();
        for key in told {
            let to = self.numbers[&key];
            self.send(number, to, Message::Head { from: number, size, hops });
        }
        if let Some(due) = due {
            self.push(due, number, Message::Tell);
        }
    }

    fn head(&mut self, number: u32, from: u32, size: u64, hops: u32) {
        let peer = &mut self.peers[number as usize];
        if size <= peer.size {
            return;
        }
        if peer.asking {
            peer.newest = Some((from, size, hops));
            return;
        }
        peer.asking = true;
        self.send(number, from, Message::Ask { from: number, hops });
    }

    /// Until nothing is on its way, or this moment.
    fn run(&mut self, until: Option<Duration>) {
        let in_time = |next: &Reverse<(Duration, u64, u32, Message)>| {
            until.is_none_or(|until| next.0.0 <= until)
        };
        while self.queue.peek().is_some_and(in_time) {
            let Some(Reverse((at, _, number, message))) = self.queue.pop() else { break };
            self.now = at;
            if self.peers[number as usize].gone {
                continue;
            }
            match message {
                Message::Head { from, size, hops } => {
                    let key = self.keys[from as usize];
                    let peer = &mut self.peers[number as usize];
                    peer.heads += 1;
                    if peer.gossip.may_tell(at, &key) {
                        peer.gossip.told(&key, size);
                        self.head(number, from, size, hops);
                    }
                }
                // An earlier head's timer finds that it is not time.
                Message::Tell if self.peers[number as usize].gossip.next_deadline() == Some(at) => {
                    self.tell(number);
                }
                Message::Tell => {}
                Message::Ask { from, hops } => {
                    let size = self.peers[number as usize].size;
                    self.send(number, from, Message::Entries { from: number, size, hops });
                }
                Message::Entries { from: _, size, hops } => {
                    self.peers[number as usize].asking = false;
                    self.grown(number, size, hops + 1);
                    if let Some((from, size, hops)) = self.peers[number as usize].newest.take() {
                        self.head(number, from, size, hops);
                    }
                }
            }
        }
        self.now = until.unwrap_or(self.now);
    }
}

fn simulate(count: u32, seed: u64) {
    let mut net = Net::new(count, seed);
    let begun = Instant::now();
    println!("{count} peers, {} links each, seed {seed}", 2 * OPENED);
    let busy = Some(Duration::from_secs(10));
    let rounds = [
        ("on new links", 0.0, None),
        ("alone", 0.0, None),
        ("first 10 s", 0.0, busy),
        ("10 s later", 0.0, busy),
        ("10 % vanished", 0.1, None),
    ];
    for ((name, vanish, time), round) in rounds.into_iter().zip(1..) {
        let started = net.now;
        for peer in &mut net.peers {
            (peer.bytes, peer.heads) = (0, 0);
        }
        if 0.0 < vanish {
            // They vanish at once: nobody is told, no link has been replaced yet.
            for number in 1..count as usize {
                net.peers[number].gone = net.random.random_bool(vanish);
            }
        }
        net.grown(0, round, 0);
        net.run(time.map(|time| started + time));
        let there = || net.peers.iter().filter(|peer| !peer.gone);
        let reached: Vec<&Peer> = there().filter(|peer| peer.size == round).collect();
        let mut times: Vec<Duration> =
            reached.iter().map(|peer| peer.reached_at.saturating_sub(started)).collect();
        times.sort_unstable();
        let mean = |of: fn(&Peer) -> u64| {
            there().map(of).sum::<u64>() as f64 / there().count().max(1) as f64
        };
        println!(
            "  {name}: {} of {} reached; half after {:.2} s, 99 % after {:.2} s, all after {:.2} s; hops {:.1} on average, {} at most; {:.0} bytes and {:.1} heads per peer",
            reached.len(),
            there().count(),
            times.get(times.len() / 2).unwrap_or(&Duration::ZERO).as_secs_f64(),
            times.get(times.len() * 99 / 100).unwrap_or(&Duration::ZERO).as_secs_f64(),
            times.last().unwrap_or(&Duration::ZERO).as_secs_f64(),
            reached.iter().map(|peer| f64::from(peer.hops)).sum::<f64>()
                / reached.len().max(1) as f64,
            reached.iter().map(|peer| peer.hops).max().unwrap_or(0),
            mean(|peer| peer.bytes),
            mean(|peer| peer.heads),
        );
    }
    println!("  simulated in {:.1} s", begun.elapsed().as_secs_f64());
}

fn status(data: &Path) -> Result<Value> {
    let mut command = Command::new(program(Profile::Release, "starling-worker"));
    let output = command.arg("--data").arg(data).args(["--output", "json", "status"]).output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

async fn real(n_workers: usize) -> Result<()> {
    const JOBS: u64 = 200;
    const SETTLED: Duration = Duration::from_secs(15);
    const IDLE: Duration = Duration::from_secs(60);
    let coordinator = Coordinator::start(Profile::Release).await?;
    let mut workers = Vec::new();
    for number in 0..n_workers {
        let mut worker = Worker::join(Profile::Release, &coordinator.join, &format!("w{number}"))?;
        worker.with_peers();
        // The first two follow the log closely, the others hear of it.
        let log_every = if number < 2 { "500ms" } else { "1h" };
        let more = ["--log-every", log_every, "--memory", "1GB"];
        worker.arguments.extend(more.map(str::to_owned));
        worker.restart()?;
        workers.push(worker);
    }
    let patience = Duration::from_secs(600);
    until_within(patience, "links", async || {
        let linked = |worker: &Worker| {
            Ok(2 <= status(&worker.data)?["peers"]["direct"].as_u64().unwrap_or(0))
        };
        let all = workers.iter().map(linked).collect::<Result<Vec<bool>>>()?;
        Ok(all.into_iter().all(|linked| linked).then_some(()))
    })
    .await?;
    let count = |what: &str| -> Result<u64> {
        let one = |worker: &Worker| Ok(status(&worker.data)?["peers"][what].as_u64().unwrap_or(0));
        Ok(workers.iter().map(one).collect::<Result<Vec<u64>>>()?.iter().sum())
    };
    // Settled, when nobody finds any more.
    let mut before = 0;
    until_within(patience, "a swarm that grows no more", async || {
        tokio::time::sleep(SETTLED).await;
        let now = count("direct")?;
        Ok((std::mem::replace(&mut before, now) == now).then_some(()))
    })
    .await?;
    let (neighbours, connections) = (count("direct")?, count("connections")?);
    let costs = |workers: &mut Vec<Worker>| -> Result<(u64, f64)> {
        let (mut bytes, mut cpu) = (0, 0.0);
        for worker in workers.iter_mut() {
            let ever = &status(&worker.data)?["peers"]["usage"]["ever"];
            for way in ["up_bytes", "down_bytes"] {
                bytes += ever[way].as_u64().context("traffic")?;
            }
            cpu += usage(worker.program().id())?.1;
        }
        Ok((bytes, cpu))
    };
    let idle_from = Instant::now();
    let (bytes_before, cpu_before) = costs(&mut workers)?;
    tokio::time::sleep(IDLE).await;
    let (bytes_idle, cpu_idle) = costs(&mut workers)?;
    let idle = idle_from.elapsed().as_secs_f64();
    let begun = Instant::now();
    for number in 0..JOBS {
        let axis = Axis::Range {
            name: "p".into(),
            first: 2_000 + number,
            end: 2_001 + number,
            per_unit: 1,
        };
        let mut spec = coordinator.trivial_spec(axis, 3).await?;
        spec.limits.memory_bytes = 4 << 30; // no worker takes it: only the log grows
        coordinator.submit(&spec).await?;
    }
    until_within(patience, "the log at every worker", async || {
        let has = |worker: &Worker| {
            Ok(JOBS <= status(&worker.data)?["held"]["log"].as_u64().unwrap_or(0))
        };
        let all = workers.iter().map(has).collect::<Result<Vec<bool>>>()?;
        Ok(all.into_iter().all(|has| has).then_some(()))
    })
    .await?;
    let seconds = begun.elapsed().as_secs_f64();
    let (bytes, cpu) = costs(&mut workers)?;
    let each = |total: f64| total / n_workers as f64;
    let idle_bytes = (bytes_idle - bytes_before) as f64 / idle;
    let idle_cpu = (cpu_idle - cpu_before) / idle;
    println!(
        "{n_workers} workers with {:.0} neighbours and {:.0} connections each, {JOBS} entries in {seconds:.1} s",
        each(neighbours as f64),
        each(connections as f64)
    );
    println!(
        "  idle: {:.0} bytes and {:.2} ms of CPU per worker and second",
        each(idle_bytes),
        each(idle_cpu * 1e3)
    );
    println!(
        "  beyond that: {:.0} bytes and {:.2} ms of CPU per worker and entry",
        each((bytes - bytes_idle) as f64 - idle_bytes * seconds) / JOBS as f64,
        each(cpu - cpu_idle - idle_cpu * seconds) * 1e3 / JOBS as f64
    );
    Ok(())
}
