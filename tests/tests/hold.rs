//! Reports that outlive their workers, and records that outlive their coordinator's disk. Real programs over loopback.

use anyhow::{Result, ensure};
use proto::job::JobSpec;
use proto::pb;
use std::fs;
use tests::grid::{Coordinator, Profile, Worker, number, until};
use tests::search::{done, expected, outputs, search};

/// A worker with peers on loopback that brings what it holds for others soon, and follows the log closely.
fn join(coordinator: &Coordinator, name: &str) -> Result<Worker> {
    let mut worker = Worker::join(Profile::Same, &coordinator.join, name)?;
    worker.with_peers();
    worker.with_haste();
    worker.restart()?;
    Ok(worker)
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_leave_for_ever_while_the_coordinator_is_away_lose_nothing() -> Result<()> {
    const WORKERS: usize = 4;
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    let mut workers = Vec::new();
    for name in ["one", "two", "three", "four"] {
        workers.push(join(&coordinator, name)?);
    }
    for worker in &workers {
        until("its peers", async || {
            Ok((number(&worker.told("status")?["peers"]["direct"])? == WORKERS as u64 - 1)
                .then_some(()))
        })
        .await?;
    }
    let spec = search(&coordinator, 6_000, 32, 16).await?;
    let job = coordinator.submit(&spec).await?.job_id;
    until("all units to be lent", async || {
        let status = coordinator.job(job).await?;
        ensure!(status.settled < status.units, "too fast to be disturbed: {status:?}");
        Ok((status.leased + status.settled == status.units && 8 <= status.leased).then_some(()))
    })
    .await?;
    coordinator.kill()?;
    for worker in &workers {
        until("a worker to finish what it holds, and peers to hold it", async || {
            let status = worker.told("status")?;
            let (waiting, running) = (number(&status["waiting"])?, status["running"].as_array());
            let unreported = number(&status["unreported"])?;
            let held = &status["held"];
            let copies = number(&held["own_waiting"])? * (WORKERS as u64 - 1);
            let finished = waiting == 0 && running.is_some_and(Vec::is_empty);
            let handed = number(&status["handed"])? == unreported;
            Ok((finished && handed && number(&held["copies"])? == copies).then_some(()))
        })
        .await?;
    }
    // Those leave who have most to report.
    let unreported = |worker: &Worker| number(&worker.told("status")?["unreported"]);
    let mut ranked = Vec::new();
    for worker in workers {
        ranked.push((unreported(&worker)?, worker));
    }
    ranked.sort_by_key(|(unreported, _)| std::cmp::Reverse(*unreported));
    let mut gone_with = 0;
    for (unreported, worker) in ranked.iter_mut().take(WORKERS / 2) {
        gone_with += *unreported;
        worker.kill()?;
    }
    ensure!(2 <= gone_with, "{gone_with} units left with those who left");
    let workers: Vec<Worker> = ranked.into_iter().map(|(_, worker)| worker).collect();
    let stay = &workers[WORKERS / 2..];
    let finished = |worker: &Worker| number(&worker.told("status")?["units_finished"]);
    let before = stay.iter().map(finished).collect::<Result<Vec<_>>>()?;
    coordinator.restart().await?;
    let status = done(&coordinator, job).await?;
    ensure!(status.copies == spec.units(), "nothing was reported twice: {status:?}");
    let after = stay.iter().map(finished).collect::<Result<Vec<_>>>()?;
    ensure!(before == after, "nothing was computed again: {before:?}, {after:?}");
    ensure!(outputs(&coordinator, job).await? == expected(&spec)?, "the results are right");
    drop(workers);
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_lost_its_disk_learns_all_of_it_from_its_workers() -> Result<()> {
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    let mut workers = Vec::new();
    for name in ["one", "two", "three"] {
        workers.push(join(&coordinator, name)?);
    }
    let ended = search(&coordinator, 1_000, 12, 4).await?;
    let ended_job = coordinator.submit(&ended).await?.job_id;
    let ended_before = done(&coordinator, ended_job).await?;
    let running = JobSpec { copies: 2, ..search(&coordinator, 3_000, 48, 8).await? };
    let running_job = coordinator.submit(&running).await?.job_id;
    let log = coordinator.log_head().await?.size;
    let settled = until("some verdicts of a running job that those who stay know of", async || {
        let status = coordinator.job(running_job).await?;
        ensure!(status.settled < status.units, "too fast to be disturbed: {status:?}");
        for worker in &workers[1..] {
            if number(&worker.told("status")?["held"]["log"])? < log {
                return Ok(None);
            }
        }
        Ok((4 <= status.settled).then_some(status.settled))
    })
    .await?;
    let request = coordinator.with_token(pb::UnitRequest { job_id: ended_job, unit: 3 });
    let receipt = coordinator.jobs().await?.receipt(request).await?.into_inner();
    let credit = coordinator.status().await?.credit;
    coordinator.kill()?;
    // Another one leaves for ever: what it reported its peers hold.
    workers[0].kill()?;
    for lost in ["store", "blobs"] {
        fs::remove_dir_all(coordinator.data.join(lost))?;
    }
    coordinator.arguments = vec!["--rebuild".into(), "4s".into()];
    coordinator.restart().await?;
    let report = fs::read_to_string(coordinator.data.join("rebuilt.txt"))?;
    ensure!(!report.contains("lost:"), "{report}");
    coordinator.arguments.clear();
    let ended_after = coordinator.job(ended_job).await?;
    let told = |status: &pb::JobStatus| {
        (
            status.state,
            status.settled,
            status.credit,
            status.fuel,
            status.copies,
            status.submitted_at_ms,
        )
    };
    ensure!(told(&ended_after) == told(&ended_before), "{ended_after:?}\n{ended_before:?}");
    ensure!(outputs(&coordinator, ended_job).await? == expected(&ended)?, "results as before");
    let request = coordinator.with_token(pb::UnitRequest { job_id: ended_job, unit: 3 });
    let again = coordinator.jobs().await?.receipt(request).await?.into_inner();
    ensure!(again == receipt, "the same receipt, byte for byte");
    let status = coordinator.job(running_job).await?;
    ensure!(settled <= status.settled, "{settled} verdicts before: {status:?}\n{report}");
    ensure!(credit <= coordinator.status().await?.credit, "credit is kept\n{report}");
    let status = done(&coordinator, running_job).await?;
    ensure!(outputs(&coordinator, running_job).await? == expected(&running)?, "right results");
    let fuel: u64 = status.fuel;
    ensure!(status.credit == 2 * fuel, "each of two copies is granted what it took: {status:?}");
    let whole = coordinator.status().await?.credit;
    ensure!(whole == status.credit + ended_before.credit, "{whole}: {status:?}");
    drop(workers);
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_and_the_workers_together_give_all_of_it() -> Result<()> {
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    let workers = [join(&coordinator, "one")?, join(&coordinator, "two")?];
    let first = search(&coordinator, 1_000, 8, 4).await?;
    let first_job = coordinator.submit(&first).await?.job_id;
    done(&coordinator, first_job).await?;
    coordinator.operate(["backup".as_ref(), "older".as_ref()])?;
    let second = search(&coordinator, 3_000, 8, 4).await?;
    let second_job = coordinator.submit(&second).await?.job_id;
    done(&coordinator, second_job).await?;
    let log = coordinator.log_head().await?.size;
    until("the log at every worker", async || {
        let sizes = workers.iter().map(|worker| number(&worker.told("status")?["held"]["log"]));
        Ok(sizes.collect::<Result<Vec<_>>>()?.iter().all(|&size| log <= size).then_some(()))
    })
    .await?;
    let before = coordinator.status().await?;
    coordinator.kill()?;
    let lost = coordinator.data.with_extension("lost");
    fs::rename(&coordinator.data, &lost)?;
    coordinator.operate(["restore".as_ref(), lost.join("backups/older").as_os_str()])?;
    coordinator.arguments = vec!["--rebuild".into(), "4s".into()];
    coordinator.restart().await?;
    let report = fs::read_to_string(coordinator.data.join("rebuilt.txt"))?;
    ensure!(!report.contains("lost:"), "{report}");
    // The researcher's token was in the backup; the log goes on where everybody saw it.
    ensure!(log <= coordinator.log_head().await?.size, "{report}");
    for (job, spec) in [(first_job, &first), (second_job, &second)] {
        done(&coordinator, job).await?;
        ensure!(outputs(&coordinator, job).await? == expected(spec)?, "results of j{job}");
    }
    let after = coordinator.status().await?;
    ensure!(
        (after.credit, after.units_settled) == (before.credit, before.units_settled),
        "{after:?}\n{before:?}\n{report}"
    );
    drop(workers);
    coordinator.stop_and_check().await
}
