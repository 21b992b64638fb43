//! A newcomer that is surrounded by peers of one owner, who tell it of nobody else: a real worker, whose memory and CPU are
//! its own process's. Printed as a row of docs/peers.md.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tests::grid::{Coordinator, Profile, Worker, until};
use tests::members::{Members, listen};
use tests::volunteer::key;
use worker::network::peer_record::Contact;
use worker::network::{Config, Opening, Running};

const ATTACKERS: u64 = 64;
/// All of the attackers are of this account.
const OWNER: u64 = 40_000;
/// The newcomer's neighbours at most.
const LINKS_MAX: usize = 8;
/// How long they crowd it.
const SIEGE: Duration = Duration::from_secs(20);
/// What that may add to its memory, MB.
const GROWTH_MB_MAX: u64 = 64;

/// A real peer of the attacker, which lets everybody in and looks for many.
async fn attacker(members: &Members, number: u64) -> Result<Running> {
    let config = Config {
        listen: Some("127.0.0.2:0".parse()?),
        lan: false,
        relays: false,
        port_mapping: false,
        tick: Duration::from_millis(100),
        ..Config::default()
    };
    let number = OWNER + number;
    let peer = Box::pin(Opening::bind(config, &key(number), members.project())).await?.start();
    peer.net().certify(members.certificate(number, OWNER));
    Ok(peer)
}

/// Each attacker is told where the newcomer is, and of some other attackers.
fn crowd(ring: &[Running], newcomer: &Contact) {
    let contacts: Vec<Contact> = ring.iter().filter_map(|peer| peer.net().contact()).collect();
    for (peer, first) in ring.iter().zip(0..) {
        let others = contacts.iter().cycle().skip(first + 1).take(8).cloned();
        peer.net().heard(others.chain([newcomer.clone()]).collect());
    }
}

/// The newcomer's neighbours: how many, and whether `honest` is among them.
fn neighbours(newcomer: &Worker, honest: &str) -> Result<(usize, bool)> {
    let told = newcomer.told("peers")?;
    let peers = told["peers"].as_array().context("peers")?.iter();
    let keys: BTreeSet<&str> = peers.filter_map(|peer| peer["worker"].as_str()).collect();
    Ok((keys.len(), keys.contains(honest)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surrounded_newcomer_keeps_the_one_honest_peer_and_little_is_spent() -> Result<()> {
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    let members = Members::of(&coordinator)?;
    let mut ring = Vec::new();
    for number in 0..ATTACKERS {
        ring.push(attacker(&members, number).await?);
    }
    let mut newcomer = Worker::join(Profile::Same, &coordinator.join, "newcomer")?;
    let address = listen(&mut newcomer)?;
    newcomer.arguments.extend(["--peers-max".into(), LINKS_MAX.to_string()]);
    newcomer.restart()?;
    let contact = members.contact(&newcomer, address).await?;
    until("attackers around the newcomer", async || {
        crowd(&ring, &contact);
        Ok((2 <= neighbours(&newcomer, "")?.0).then_some(()))
    })
    .await?;

    // Of the honest one only the coordinator tells.
    let mut honest = Worker::join(Profile::Same, &coordinator.join, "honest")?;
    let at = listen(&mut honest)?;
    honest.arguments.push("--no-exchange".into());
    honest.restart()?;
    let honest_key = members.contact(&honest, at).await?.worker().to_string();
    until("the honest peer to be found", async || {
        crowd(&ring, &contact);
        Ok(neighbours(&newcomer, &honest_key)?.1.then_some(()))
    })
    .await?;
    let (memory, cpu) = newcomer.usage()?;
    let begun = Instant::now();
    let mut most = 0;
    while begun.elapsed() < SIEGE {
        crowd(&ring, &contact);
        let (all, has_honest) = neighbours(&newcomer, &honest_key)?;
        ensure!(has_honest, "the honest peer was pushed out after {:?}", begun.elapsed());
        most = most.max(all);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (memory_after, cpu_after) = newcomer.usage()?;
    ensure!(most <= LINKS_MAX, "{most} neighbours");
    ensure!(memory_after <= memory + GROWTH_MB_MAX, "{memory} MB, then {memory_after} MB");

    // After a restart the attackers are there first, the coordinator is gone, and nobody names the honest one.
    coordinator.kill()?;
    newcomer.program().terminate().await?;
    newcomer.restart()?;
    let restarted = Instant::now();
    until("the honest peer to be found again", async || {
        crowd(&ring, &contact);
        Ok(neighbours(&newcomer, &honest_key)?.1.then_some(()))
    })
    .await?;
    println!(
        "{ATTACKERS} attackers for {SIEGE:?}: {most} neighbours at most, the honest one always; {memory} -> {memory_after} MB, \
         {:.2} s of CPU; after a restart the honest one was found again in {:.1?}",
        cpu_after - cpu,
        restarted.elapsed()
    );
    let mut ends = tokio::task::JoinSet::new();
    for peer in ring {
        ends.spawn(peer.shutdown());
    }
    ends.join_all().await;
    Ok(())
}
