//! The peer network with real programs: found through the coordinator, the local network, a third; behind routers.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tests::grid::{Coordinator, Profile, Program, Worker, number, program, until};
use tests::netns::{self, Internet, Nat};
use tests::search::{done, search};

fn join(coordinator: &Coordinator, name: &str, more: &[&str]) -> Result<Worker> {
    let mut worker = Worker::join(Profile::Same, &coordinator.join, name)?;
    worker.with_peers();
    worker.arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    Ok(worker)
}

/// What `starling-worker VERB` tells of the worker in `data`.
fn told(data: &Path, verb: &str) -> Result<Value> {
    let mut command = Command::new(program(Profile::Same, "starling-worker"));
    let output = command.arg("--data").arg(data).args(["--output", "json", verb]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The keys of its neighbours.
fn neighbours(data: &Path) -> Result<BTreeSet<String>> {
    let told = told(data, "peers")?;
    let peers = told["peers"].as_array().context("peers")?;
    Ok(peers.iter().filter_map(|peer| peer["worker"].as_str().map(str::to_owned)).collect())
}

fn key(data: &Path) -> Result<String> {
    Ok(told(data, "status")?["worker"].as_str().context("worker")?.to_owned())
}

async fn until_linked(one: &Path, other: &Path) -> Result<()> {
    until("two workers to be linked", async || {
        let (keys, theirs) = (key(one)?, key(other)?);
        let both = neighbours(one)?.contains(&theirs) && neighbours(other)?.contains(&keys);
        Ok(both.then_some(()))
    })
    .await
}

/// The page of numbers of a worker that was started with `--metrics`, once it says where.
async fn page(worker: &Worker) -> Result<String> {
    let host = until("the address of the numbers", async || {
        let said = worker.said();
        let found = said.split_once("numbers for collectors: http://");
        Ok(found.and_then(|(_, rest)| Some(rest.split_once("/metrics")?.0.to_owned())))
    })
    .await?;
    let mut stream = std::net::TcpStream::connect(&host)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    ensure!(page.starts_with("HTTP/1.1 200") && page.ends_with("# EOF\n"), "{page}");
    Ok(page)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_status_are_there_for_collectors() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let mut worker = join(&coordinator, "counted", &["--metrics", "127.0.0.1:0"])?;
    let mut other = join(&coordinator, "other", &[])?;
    worker.restart()?;
    other.restart()?;
    let job = coordinator.submit(&search(&coordinator, 1_000, 8, 4).await?).await?.job_id;
    done(&coordinator, job).await?;
    let finished = number(&worker.told("status")?["units_finished"])?;
    until("a page that tells of the units and of the neighbour", async || {
        let page = page(&worker).await?;
        let has = |line: &str| page.lines().any(|told| told == line);
        // Of Starling, of the exchange of blobs, and of the transport below.
        let whole = has("starling_worker_connected 1")
            && has(&format!("starling_worker_units_finished_total {finished}"))
            && has("starling_worker_peers_direct 1")
            && has("starling_worker_blob_peers 1")
            && has("# TYPE starling_worker_blob_from_peers_bytes counter")
            && page.contains("\niroh_");
        Ok(whole.then_some(()))
    })
    .await?;
    // A port that another has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut third = join(&coordinator, "third", &["--metrics", &taken.local_addr()?.to_string()])?;
    third.restart()?;
    ensure!(third.program().wait().await?.code() == Some(1), "{}", third.said());
    ensure!(third.said().contains("--metrics: cannot listen at 127.0.0.1:"), "{}", third.said());
    drop((worker, other));
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_find_each_other_through_the_coordinator_and_without_it_through_a_third()
-> Result<()> {
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    let mut one = join(&coordinator, "one", &[])?;
    let mut third = join(&coordinator, "third", &[])?;
    one.restart()?;
    third.restart()?;
    until_linked(&one.data, &third.data).await?;
    let shown = told(&one.data, "status")?;
    ensure!(shown["peers"]["direct"] == 1, "{shown}");
    let text = Command::new(program(Profile::Same, "starling-worker"))
        .arg("--data")
        .arg(&one.data)
        .arg("status")
        .output()?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    ensure!(text.contains("peers      1 (1 direct"), "{text}");
    // One is off while two comes, and the coordinator goes before one is back: only the third knows both.
    let first_key = key(&one.data)?;
    ensure!(one.program().terminate().await?.success(), "{}", one.said());
    let mut two = join(&coordinator, "two", &[])?;
    two.restart()?;
    until_linked(&two.data, &third.data).await?;
    ensure!(!neighbours(&two.data)?.contains(&first_key), "one is off");
    coordinator.kill()?;
    one.restart()?;
    until_linked(&one.data, &two.data).await?;
    // A worker that wants no peers has none, and says so.
    let alone = Command::new(program(Profile::Same, "starling-worker"))
        .arg("--data")
        .arg(coordinator.data.with_file_name("nobody"))
        .arg("peers")
        .output()?;
    ensure!(alone.status.code() == Some(3), "no worker runs there");
    for mut worker in [one, two, third] {
        ensure!(worker.program().terminate().await?.success(), "{}", worker.said());
    }
    Ok(())
}

/// Whether this machine lets tests make networks of their own; said loudly when it does not.
pub(crate) fn networks(what: &str) -> Option<Internet> {
    if let Some(reason) = Internet::missing() {
        tests::not_tested(&format!("{what}: this machine makes no network namespaces ({reason})"));
        return None;
    }
    Some(Internet::new().expect("a machine that can make one namespace can make more"))
}

/// A worker or seed in a namespace.
struct Host {
    data: PathBuf,
    _program: Program,
}

/// An internet with a coordinator on its public machine.
struct World {
    coordinator: Program,
    join: String,
    folder: TempDir,
    // Last, so that the programs go first.
    internet: Internet,
}

impl World {
    async fn new(internet: Internet) -> Result<Self> {
        let folder = TempDir::new()?;
        let program = program(Profile::Same, "starling-coordinator");
        let mut command = netns::command(&internet.public(), &program);
        let listen = format!("{}:7700", Internet::PUBLIC);
        command.arg("--data").arg(folder.path().join("project")).args(["run", "--listen", &listen]);
        let coordinator = Program::start(&mut command, &folder.path().join("coordinator.log"))?;
        let join = until("the join string", async || {
            let said = coordinator.said();
            let mut words = said.split_whitespace().map(|word| word.trim_matches('\''));
            let join = words.find(|word| word.starts_with("starling://") && 140 < word.len());
            Ok(join.map(str::to_owned))
        })
        .await?;
        Ok(Self { coordinator, join, folder, internet })
    }

    /// Joins and starts a worker or seed in a namespace.
    fn start(&self, namespace: &str, name: &str, verb: &[&str]) -> Result<Host> {
        let data = self.folder.path().join(name);
        let worker = program(Profile::Same, "starling-worker");
        let mut join = netns::command(namespace, &worker);
        join.arg("--data").arg(&data).args(["join", &self.join, "--name", name]);
        let joined = join.output()?;
        ensure!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
        let mut command = netns::command(namespace, &worker);
        command.arg("--data").arg(&data).args(verb);
        let log = self.folder.path().join(format!("{name}.log"));
        Ok(Host { data, _program: Program::start(&mut command, &log)? })
    }

    /// A seed on the public machine, and workers in two houses.
    fn houses(&mut self, nat: Nat) -> Result<(Host, [Host; 2])> {
        let seed = self.start(&self.internet.public(), "seed", &["seed", "--no-lan"])?;
        let mut house = |name: &str| {
            let namespace = self.internet.add_house(nat)?;
            let run = ["run", "--cores", "1", "--no-lan", "--no-port-mapping"];
            self.start(&namespace, name, &run)
        };
        Ok((seed, [house("one")?, house("two")?]))
    }
}

/// How the first is linked to the second, once that is as it should be and bytes have passed both ways.
async fn way([one, two]: &[Host; 2], wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    until("a link between two houses", async || {
        let theirs = key(&two.data)?;
        let told = told(&one.data, "peers")?;
        let peers = told["peers"].as_array().context("peers")?;
        let peer = peers.iter().find(|peer| peer["worker"] == theirs.as_str());
        let bytes = |peer: &Value, field: &str| peer[field].as_u64().unwrap_or(0);
        let passed = |peer: &&Value| 0 < bytes(peer, "up_bytes") && 0 < bytes(peer, "down_bytes");
        Ok(peer.filter(passed).filter(|peer| wanted(peer)).cloned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_punched_between_two_houses() -> Result<()> {
    let Some(internet) = networks("peers behind routers") else { return Ok(()) };
    let mut world = World::new(internet).await?;
    let (_seed, houses) = world.houses(Nat::Friendly)?;
    let way = way(&houses, |peer| peer["relayed"] == false).await?;
    ensure!(way["address"].as_str().is_some_and(|ip| ip.starts_with("198.51.100.")), "{way}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_hole_can_be_punched_a_seed_relays_with_the_coordinator_gone_too() -> Result<()> {
    let Some(internet) = networks("peers behind routers") else { return Ok(()) };
    let mut world = World::new(internet).await?;
    let (seed, houses) = world.houses(Nat::Symmetric)?;
    let first = way(&houses, |peer| peer["relayed"] == true).await?;
    let url = first["address"].as_str().context("address")?;
    ensure!(url.starts_with("https://198.51.100.1:7701"), "{first}");
    let shown = told(&houses[0].data, "status")?;
    ensure!(shown["peers"]["relayed"] == 1, "{shown}");
    let seed = told(&seed.data, "status")?;
    ensure!(seed["why"][0].as_str().is_some_and(|why| why.contains("seed")), "{seed}");
    world.coordinator.kill()?;
    let before = first["up_bytes"].as_u64();
    way(&houses, |peer| peer["relayed"] == true && before < peer["up_bytes"].as_u64()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_of_one_network_find_each_other_by_multicast() -> Result<()> {
    let Some(internet) = networks("peers behind routers") else { return Ok(()) };
    let world = World::new(internet).await?;
    let public = world.internet.public();
    let mut run = vec!["run", "--cores", "1", "--no-tracker", "--no-exchange", "--no-lookup"];
    run.extend(["--no-relays", "--no-port-mapping"]);
    let (one, two) = (world.start(&public, "one", &run)?, world.start(&public, "two", &run)?);
    until_linked(&one.data, &two.data).await?;
    until("each to know that the other is near", async || {
        let mut near = [false; 2];
        for (near, host) in near.iter_mut().zip([&one, &two]) {
            *near = told(&host.data, "peers")?["peers"][0]["near"] == true;
        }
        Ok((near == [true; 2]).then_some(()))
    })
    .await
}
