//! What a swarm lives through: a network that is cut in two and heals, and peers that come and go. Real programs on
//! machines in network namespaces; for tests and benches whose runtime is one thread.

use crate::grid::{Coordinator, PATIENCE, Profile, Worker, number, until, until_within};
use crate::netns::{Internet, Machine};
use crate::search::{done, expected, outputs, search};
use crate::swarm::content;
use anyhow::{Context, Result, ensure};
use proto::job::{Input, JobSpec};
use std::time::{Duration, Instant};

/// What a partition did.
#[derive(Clone, Copy, Debug)]
pub struct Parted {
    /// For how long nothing passed.
    pub cut: Duration,
    /// Units that each side's workers finished meanwhile: the coordinator's side, the other.
    pub finished: [u64; 2],
    /// Reports that the other side's workers held for each other.
    pub held: u64,
    /// Entries by which the log grew on the coordinator's side meanwhile, and on the other.
    pub log: [u64; 2],
    /// From the healing until all were linked and all had the whole log.
    pub healed: Duration,
    /// Units of all jobs, and units that workers computed for them.
    pub units: [u64; 2],
}

/// Pointers into a worker's status: entries of the log, neighbours, and what was granted.
const LOG: &str = "/held/log";
const LINKS: &str = "/peers/direct";
const CREDIT: &str = "/credit";

/// A number of each worker's status, by its JSON pointer.
fn numbers(workers: &[Worker], pointer: &str) -> Result<Vec<u64>> {
    let one = |worker: &Worker| {
        let status = worker.told("status")?;
        number(status.pointer(pointer).context("a number")?)
    };
    workers.iter().map(one).collect()
}

fn finished(workers: &[Worker]) -> Result<u64> {
    Ok(numbers(workers, "/units_finished")?.iter().sum())
}

/// A worker on a machine of its own.
fn worker(
    profile: Profile,
    internet: &mut Internet,
    mbit: Option<u32>,
    coordinator: &Coordinator,
    name: &str,
) -> Result<(Machine, Worker)> {
    let machine = internet.add_machine(mbit)?;
    let mut worker = Worker::join(profile, &coordinator.join, name)?;
    worker.namespace = Some(machine.namespace.clone());
    worker.with_peers();
    worker.with_haste();
    worker.restart()?;
    Ok((machine, worker))
}

/// Four workers work on jobs of `units` units, as many as it takes for both sides to have some; two are cut from the coordinator and
/// the others for `cut` at least, until both sides have noticed and have done what they can. Nothing may be lost or computed
/// twice.
///
/// # Errors
/// When anything is, or does not come.
pub async fn partition(profile: Profile, units: u64, cut: Duration) -> Result<Parted> {
    const SIDE: usize = 2;
    let mut internet = Internet::new()?;
    let (_stay, coordinator) = Coordinator::start_on_machine(profile, &mut internet, None).await?;
    let (mut machines, mut workers) = (Vec::new(), Vec::new());
    for name in ["near1", "near2", "far1", "far2"] {
        let (machine, worker) = worker(profile, &mut internet, None, &coordinator, name)?;
        machines.push(machine);
        workers.push(worker);
    }
    let far: Vec<&Machine> = machines.iter().skip(SIDE).collect();
    until("all links", async || {
        Ok(numbers(&workers, LINKS)?.iter().all(|&links| links == 3).then_some(()))
    })
    .await?;
    // What somebody holds who has shown nothing yet is lent again early.
    let mut first = 2_000;
    until("credit for each", async || {
        let job = coordinator.submit(&search(&coordinator, first, 32, 4).await?).await?.job_id;
        first += 128;
        done(&coordinator, job).await?;
        Ok(numbers(&workers, CREDIT)?.iter().all(|&credit| 0 < credit).then_some(()))
    })
    .await?;
    let shown = finished(&workers)?;
    // Who asks first may be lent all of a job.
    let mut jobs = Vec::new();
    loop {
        let lasting = search(&coordinator, 6_000 + 16 * units * jobs.len() as u64, units, 16);
        let lasting = JobSpec { lease_s: 86_400, ..lasting.await? };
        let job = coordinator.submit(&lasting).await?.job_id;
        until("all units to be lent", async || {
            let status = coordinator.job(job).await?;
            ensure!(status.settled < status.units, "too fast to be disturbed: {status:?}");
            Ok((status.leased + status.settled == status.units).then_some(()))
        })
        .await?;
        jobs.push((job, lasting));
        let far = until_within(Duration::from_secs(2), "units of the far side", async || {
            let waiting = numbers(&workers[SIDE..], "/waiting")?;
            Ok(waiting.iter().any(|&units| 0 < units).then_some(()))
        });
        if far.await.is_ok() {
            break;
        }
    }
    internet.part(&far)?;
    let begun = Instant::now();
    let finished_before = [finished(&workers[..SIDE])?, finished(&workers[SIDE..])?];
    let log_before = [numbers(&workers[..SIDE], LOG)?[0], numbers(&workers[SIDE..], LOG)?[0]];
    // The log goes on where the coordinator is: with small jobs, as long as the cut lasts.
    loop {
        let quiet =
            until_within(PATIENCE * 2, "the far side to have done what it can", async || {
                for worker in &workers[SIDE..] {
                    let status = worker.told("status")?;
                    let unreported = number(&status["unreported"])?;
                    let idle = number(&status["waiting"])? == 0
                        && status["running"].as_array().is_some_and(Vec::is_empty);
                    let handed = number(&status["handed"])? == unreported;
                    let waiting = number(&status["held"]["own_waiting"])?;
                    let held = waiting <= number(&status["held"]["copies"])?;
                    let alone = number(&status["peers"]["direct"])? == SIDE as u64 - 1;
                    if !(idle && handed && held && alone && status["connected"] == false) {
                        return Ok(None);
                    }
                }
                Ok(Some(()))
            });
        let spec = search(&coordinator, first, 4, 2).await?;
        let small = coordinator.submit(&spec).await?.job_id;
        jobs.push((small, spec));
        first += 8;
        quiet.await?;
        if cut <= begun.elapsed() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(20).min(cut.saturating_sub(begun.elapsed()))).await;
    }
    let cut = begun.elapsed();
    let finished_after = [finished(&workers[..SIDE])?, finished(&workers[SIDE..])?];
    let log_after = [numbers(&workers[..SIDE], LOG)?[0], numbers(&workers[SIDE..], LOG)?[0]];
    let mut held = 0;
    for worker in &workers[SIDE..] {
        held += number(&worker.told("status")?["unreported"])?;
    }
    ensure!(0 < held, "the far side had nothing to report: nothing was shown");
    ensure!(log_before[0] < log_after[0], "the near side's log went on: {log_after:?}");
    internet.heal()?;
    let begun = Instant::now();
    let mut outcome = [0, 0];
    for (job, spec) in &jobs {
        done(&coordinator, *job).await?;
        ensure!(outputs(&coordinator, *job).await? == expected(spec)?, "the results are right");
        outcome[0] += spec.units();
    }
    // Who hears nothing of a peer makes longer and longer pauses between attempts to reach it.
    until_within(PATIENCE + cut * 2, "all links again, and one log", async || {
        let (links, log) = (numbers(&workers, LINKS)?, numbers(&workers, LOG)?);
        let linked = links.iter().all(|&links| links == 3);
        let level = log.iter().all(|&entries| entries == log[0] && log_after[0] < entries);
        Ok((linked && level).then_some(()))
    })
    .await?;
    let healed = begun.elapsed();
    outcome[1] = finished(&workers)? - shown;
    drop(workers);
    coordinator.stop_and_check().await?;
    let parted = Parted {
        cut,
        finished: [0, 1].map(|side| finished_after[side] - finished_before[side]),
        held,
        log: [0, 1].map(|side| log_after[side] - log_before[side]),
        healed,
        units: outcome,
    };
    ensure!(parted.units[0] == parted.units[1], "each unit was computed once: {parted:?}");
    Ok(parted)
}

/// What a swarm went through that lost half of its peers again and again.
#[derive(Clone, Copy, Debug)]
pub struct Churned {
    /// Peers killed, each of which came back.
    pub killed: u32,
    /// From the submission until all peers had run the unit.
    pub time: Duration,
    /// What the coordinator gave, in hundredths of the input.
    pub percent: u64,
}

/// An input of `len` bytes goes to `n_workers` workers on lines of `mbit` Mbit/s, each of which runs a unit on it; every
/// `round` half of them, in turn, are killed and come back half a round later, until all have it.
///
/// # Errors
/// When a worker does not get it, or the result is wrong.
pub async fn churn(
    profile: Profile,
    n_workers: u32,
    len: usize,
    mbit: u32,
    round: Duration,
) -> Result<Churned> {
    let mut internet = Internet::new()?;
    let (_stay, coordinator) =
        Coordinator::start_on_machine(profile, &mut internet, Some(mbit)).await?;
    let mut workers = Vec::new();
    for number in 0..n_workers {
        let name = format!("w{number}");
        workers.push(worker(profile, &mut internet, Some(mbit), &coordinator, &name)?.1);
    }
    until("neighbours", async || {
        Ok(numbers(&workers, LINKS)?.iter().all(|&links| 2 <= links).then_some(()))
    })
    .await?;
    let digest = coordinator.put(&content(len)).await?;
    let mut spec = search(&coordinator, 1_000, 1, 8).await?;
    spec.copies = n_workers;
    spec.inputs = vec![Input { name: "input".into(), digest, len: len as u64 }];
    let job = coordinator.submit(&spec).await?.job_id;
    let begun = Instant::now();
    let mut killed = 0;
    let half = usize::try_from(n_workers)? / 2;
    let is_done = async || Ok::<_, anyhow::Error>(coordinator.job(job).await?.settled == 1);
    for turn in 0.. {
        tokio::time::sleep(round / 2).await;
        if is_done().await? {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE * 10, "the job does not end");
        let from = if turn % 2 == 0 { 0 } else { half };
        for worker in &mut workers[from..from + half] {
            worker.kill()?;
            killed += 1;
        }
        tokio::time::sleep(round / 2).await;
        for worker in &mut workers[from..from + half] {
            worker.restart()?;
        }
    }
    let time = begun.elapsed();
    ensure!(n_workers / 2 <= killed, "it was over before anybody was killed");
    ensure!(outputs(&coordinator, job).await? == expected(&spec)?, "the result is right");
    let given = coordinator.given(&digest).await?;
    drop(workers);
    coordinator.stop_and_check().await?;
    Ok(Churned { killed, time, percent: given * 100 / len as u64 })
}
