//! One large input to many workers, as real programs: over loopback, or each on a line of its own.

use crate::grid::{Coordinator, PATIENCE, Profile, Worker, until, until_within};
use crate::netns::{self, Internet};
use anyhow::{Context, Result};
use proto::cut::Axis;
use proto::job::Input;
use std::time::{Duration, Instant};

/// What a free rider gives: a piece of 256 KiB takes it minutes.
const FREE_RIDER_UPLOAD: &str = "1KB";

/// What is to be carried, to whom, and over what.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Workers in all.
    pub n_workers: u32,
    /// Of them, those that give next to nothing.
    pub n_free_riders: u32,
    /// Workers, the first ones, that share one line and find each other by multicast: as in one house.
    pub n_together: u32,
    /// Bytes of the input.
    pub len: usize,
    /// Whether they are peers; else each is on its own.
    pub peers: bool,
    /// Million bits a second, each way, of the line of each worker and of the coordinator, all of them machines in
    /// namespaces; loopback when absent.
    pub mbit: Option<u32>,
}

/// What it took until all workers had run a unit on the input.
#[derive(Clone, Debug)]
pub struct Carried {
    /// From the submission until each of those that give had run its unit.
    pub givers: Vec<Duration>,
    /// The same of free riders.
    pub free_riders: Vec<Duration>,
    /// Bytes of the input that the coordinator gave.
    pub given: u64,
    /// Bytes of all kinds that came in over the line that some share, from the submission on.
    pub together: u64,
    /// Bytes of the input.
    pub len: u64,
    /// CPU seconds of all processes together, from the submission on.
    pub cpu: f64,
}

impl Carried {
    /// What the coordinator gave, in hundredths of the input.
    #[must_use]
    pub const fn percent(&self) -> u64 {
        self.given * 100 / self.len
    }

    /// Until the last one had run its unit.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.givers.iter().chain(&self.free_riders).max().copied().unwrap_or_default()
    }
}

/// Content that no compression makes smaller.
#[must_use]
pub fn content(len: usize) -> Vec<u8> {
    let mut content = vec![0; len];
    blake3::Hasher::new().update(b"input").finalize_xof().fill(&mut content);
    content
}

/// Gives an input to workers, each of which runs the job's one unit. With peers they are linked first.
///
/// # Errors
/// When anything fails, or takes too long.
pub async fn carry(profile: Profile, plan: Plan) -> Result<Carried> {
    let mut internet = plan.mbit.map(|_| Internet::new()).transpose()?;
    let (stay, coordinator) = if let Some(internet) = &mut internet {
        let (stay, coordinator) =
            Coordinator::start_on_machine(profile, internet, plan.mbit).await?;
        (Some(stay), coordinator)
    } else {
        (None, Coordinator::start(profile).await?)
    };
    let mut workers = Vec::new();
    let mut house = None;
    for number in 0..plan.n_workers {
        let mut worker = Worker::join(profile, &coordinator.join, &format!("w{number}"))?;
        let together = number < plan.n_together;
        if let Some(internet) = &mut internet {
            let shared = house.clone().filter(|_| together);
            let namespace = match shared {
                Some(namespace) => namespace,
                None => internet.add_machine(plan.mbit)?.namespace,
            };
            if together {
                house = Some(namespace.clone());
            }
            worker.namespace = Some(namespace);
        }
        if plan.peers {
            worker.with_peers();
        }
        if together {
            worker.arguments.retain(|argument| argument != "--no-lan");
        }
        if plan.n_workers - number <= plan.n_free_riders {
            worker.arguments.extend(["--upload", FREE_RIDER_UPLOAD].map(str::to_owned));
        }
        worker.restart()?;
        workers.push(worker);
    }
    until("all workers", async || {
        let connected = coordinator.status().await?.workers_connected;
        Ok((connected == u64::from(plan.n_workers)).then_some(()))
    })
    .await?;
    if plan.peers {
        // A worker looks for eight neighbours; here for all, when they are fewer.
        let wanted = usize::try_from(plan.n_workers)?.saturating_sub(1).min(5);
        for worker in &workers {
            until("neighbours", async || {
                let told = worker.told("peers")?;
                let n_neighbours = told["peers"].as_array().context("peers")?.len();
                Ok((wanted <= n_neighbours).then_some(()))
            })
            .await?;
        }
    }
    let content = content(plan.len);
    let digest = coordinator.put(&content).await?;
    // All stand in line for work, and of units of which no cost is known yet each slot gets four at once: so each gets some.
    // As copies of one unit they could not be lent to machines of one house.
    let end = 3 + 2 * 4 * u64::from(plan.n_workers);
    let axis = Axis::Range { name: "p".into(), first: 3, end, per_unit: 2 };
    let mut spec = coordinator.trivial_spec(axis, 1).await?;
    spec.inputs = vec![Input { name: "input".into(), digest, len: content.len() as u64 }];
    drop(content);
    let cpu = async || {
        let workers: f64 = workers.iter().map(|worker| Ok(worker.usage()?.1)).sum::<Result<_>>()?;
        Ok::<_, anyhow::Error>(workers + coordinator.usage()?.1)
    };
    let received = || house.as_deref().map_or(Ok(0), netns::received);
    let (cpu_before, received_before) = (cpu().await?, received()?);
    let started = Instant::now();
    coordinator.submit(&spec).await?;
    let mut times = vec![None; workers.len()];
    until_within(PATIENCE * 10, "all workers to have run a unit", async || {
        for (worker, time) in workers.iter().zip(&mut times) {
            if time.is_none() && worker.told("status")?["units_finished"].as_u64() > Some(0) {
                *time = Some(started.elapsed());
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
        Ok(times.iter().all(Option::is_some).then_some(()))
    })
    .await?;
    let cpu = cpu().await? - cpu_before;
    let together = received()? - received_before;
    let given = coordinator.given(&digest).await?;
    for worker in &mut workers {
        worker.program().terminate().await?;
    }
    drop(coordinator);
    drop(stay);
    let mut givers: Vec<Duration> = times.into_iter().flatten().collect();
    let free_riders = givers.split_off(givers.len() - usize::try_from(plan.n_free_riders)?);
    Ok(Carried { givers, free_riders, given, together, len: plan.len as u64, cpu })
}
