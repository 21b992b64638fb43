//! The peer network with real programs: found through the coordinator, the local network, a third; behind routers.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tests::grid::{Coordinator, Profile, Program, Worker, program, until};
use tests::netns::{self, Internet, Nat};

/// Peers on loopback, found through nothing but what a test leaves on.
const LOOPBACK: [&str; 4] = ["--peer-listen", "127.0.0.1:0", "--no-lan", "--no-port-mapping"];

fn join(coordinator: &Coordinator, name: &str, more: &[&str]) -> Result<Worker> {
    let mut worker = Worker::join(Profile::Same, &coordinator.join, name)?;
    worker.arguments.retain(|argument| argument != "--no-peers");
    worker.arguments.extend(LOOPBACK.iter().chain(more).map(|&argument| argument.to_owned()));
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
fn networks() -> Option<Internet> {
    if let Some(reason) = Internet::missing() {
        // Past the harness, which shows only what failing tests print.
        let _ = writeln!(
            std::io::stderr(),
            "\n*** NOT TESTED: peers behind routers: this machine makes no network namespaces ({reason}) ***\n"
        );
        return None;
    }
    Some(Internet::new().expect("a machine that can make one namespace can make more"))
}

/// A program of ours in a namespace, with its folder.
struct Host {
    namespace: String,
    data: PathBuf,
    _program: Option<Program>,
}

/// The coordinator, a seed and two workers behind two routers.
struct World {
    hosts: Vec<Host>,
    seed: Host,
    coordinator: Program,
    _folder: TempDir,
    // Last, so that the programs go first.
    _internet: Internet,
}

impl World {
    async fn new(mut internet: Internet, nat: Nat) -> Result<Self> {
        let folder = TempDir::new()?;
        let public = internet.public();
        let mut command = netns::command(&public, &program(Profile::Same, "starling-coordinator"));
        let listen = format!("{}:7700", Internet::PUBLIC);
        command.arg("--data").arg(folder.path().join("project")).args(["run", "--listen", &listen]);
        let coordinator = Program::start(&mut command, &folder.path().join("coordinator.log"))?;
        let join = until("the join string", async || {
            let said = coordinator.said();
            let mut words = said.split_whitespace().map(|word| word.trim_matches('\''));
            Ok(words
                .find(|word| word.starts_with("starling://") && 140 < word.len())
                .map(str::to_owned))
        })
        .await?;
        let start = |namespace: String, name: &str, verb: &[&str]| -> Result<Host> {
            let data = folder.path().join(name);
            let worker = program(Profile::Same, "starling-worker");
            let joined = netns::command(&namespace, &worker)
                .arg("--data")
                .arg(&data)
                .args(["join", &join, "--name", name])
                .output()?;
            ensure!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
            let mut command = netns::command(&namespace, &worker);
            command.arg("--data").arg(&data).args(verb);
            let log = folder.path().join(format!("{name}.log"));
            let program = Program::start(&mut command, &log)?;
            Ok(Host { namespace, data, _program: Some(program) })
        };
        let seed = start(public, "seed", &["seed", "--no-lan"])?;
        let mut hosts = Vec::new();
        for name in ["one", "two"] {
            let namespace = internet.add_house(nat)?;
            let run = ["run", "--cores", "1", "--no-lan", "--no-port-mapping"];
            hosts.push(start(namespace, name, &run)?);
        }
        Ok(Self { hosts, seed, coordinator, _folder: folder, _internet: internet })
    }

    /// How the first is linked to the second, once it is and bytes have passed both ways.
    async fn way(&self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let (one, two) = (&self.hosts[0], &self.hosts[1]);
        until("a link between two houses", async || {
            let theirs = key(&two.data)?;
            let told = told(&one.data, "peers")?;
            let peers = told["peers"].as_array().context("peers")?;
            let peer = peers.iter().find(|peer| peer["worker"] == theirs.as_str()).cloned();
            let passed = |peer: &Value| {
                0 < peer["up_bytes"].as_u64().unwrap_or(0)
                    && 0 < peer["down_bytes"].as_u64().unwrap_or(0)
            };
            Ok(peer.filter(|peer| passed(peer) && wanted(peer)))
        })
        .await
        .with_context(|| format!("houses {:?} and {:?}", one.namespace, two.namespace))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_punched_between_two_houses() -> Result<()> {
    let Some(internet) = networks() else { return Ok(()) };
    let world = World::new(internet, Nat::Friendly).await?;
    let way = world.way(|peer| peer["relayed"] == false).await?;
    let address = way["address"].as_str().context("address")?;
    ensure!(address.starts_with("198.51.100."), "{way}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_hole_can_be_punched_a_seed_relays_and_goes_on_without_the_coordinator()
-> Result<()> {
    let Some(internet) = networks() else { return Ok(()) };
    let mut world = World::new(internet, Nat::Symmetric).await?;
    let way = world.way(|peer| peer["relayed"] == true).await?;
    ensure!(way["address"] == "https://198.51.100.1:7701/", "{way}");
    let shown = told(&world.hosts[0].data, "status")?;
    ensure!(shown["peers"]["relayed"] == 1 && shown["peers"]["direct"] == 1, "{shown}");
    let seed = told(&world.seed.data, "status")?;
    ensure!(seed["why"][0].as_str().is_some_and(|why| why.contains("seed")), "{seed}");
    world.coordinator.kill()?;
    let before = way["up_bytes"].as_u64().context("up_bytes")?;
    world.way(|peer| peer["relayed"] == true && Some(before) < peer["up_bytes"].as_u64()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_of_one_network_find_each_other_by_multicast() -> Result<()> {
    let Some(internet) = networks() else { return Ok(()) };
    let folder = TempDir::new()?;
    let public = internet.public();
    let mut command = netns::command(&public, &program(Profile::Same, "starling-coordinator"));
    let listen = format!("{}:7700", Internet::PUBLIC);
    command.arg("--data").arg(folder.path().join("project")).args(["run", "--listen", &listen]);
    let coordinator = Program::start(&mut command, &folder.path().join("coordinator.log"))?;
    let join = until("the join string", async || {
        let said = coordinator.said();
        let mut words = said.split_whitespace().map(|word| word.trim_matches('\''));
        Ok(words
            .find(|word| word.starts_with("starling://") && 140 < word.len())
            .map(str::to_owned))
    })
    .await?;
    let mut hosts = Vec::new();
    for name in ["one", "two"] {
        let data = folder.path().join(name);
        let worker = program(Profile::Same, "starling-worker");
        let joined = netns::command(&public, &worker)
            .arg("--data")
            .arg(&data)
            .args(["join", &join, "--name", name])
            .output()?;
        ensure!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
        let mut command = netns::command(&public, &worker);
        let only_lan =
            ["--no-tracker", "--no-exchange", "--no-lookup", "--no-relays", "--no-port-mapping"];
        command.arg("--data").arg(&data).args(["run", "--cores", "1"]).args(only_lan);
        let program = Program::start(&mut command, &folder.path().join(format!("{name}.log")))?;
        hosts.push((data, program));
    }
    until_linked(&hosts[0].0, &hosts[1].0).await?;
    drop(hosts);
    drop(coordinator);
    tokio::time::timeout(Duration::from_secs(1), async { drop(internet) }).await?;
    Ok(())
}
