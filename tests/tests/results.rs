//! A job's results, as its researcher takes them home with the programs.

use anyhow::{Result, ensure};
use proto::cut::Axis;
use proto::report::{Outcome, Output};
use proto::{Digest, UnitIndex, pb};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};
use tests::grid::{Coordinator, Profile, Worker, until};
use tests::load::{self, Load};
use tests::researcher::{Researcher, lines};
use tests::volunteer::Volunteer;

/// A job of units that take no time: 20 exponents, a thousand times each.
const MANY: &str = "name = \"many\"\nkernel = \"mersenne\"\n\
    [[cut]]\nrange = \"p\"\nfirst = 2\nend = 22\nper_unit = 1\n\
    [[cut]]\nrange = \"round\"\nfirst = 0\nend = 1000\nper_unit = 1\n";
const MANY_UNITS: u64 = 20_000;

fn axis(units: u64) -> Axis {
    Axis::Range { name: "p".into(), first: 0, end: units, per_unit: 1 }
}

/// Each unit has exactly one line.
fn each_unit_once(lines: &[serde_json::Value], units: u64) -> Result<()> {
    let seen: BTreeSet<u64> = lines.iter().filter_map(|line| line["unit"].as_u64()).collect();
    ensure!(
        (seen.len() as u64, lines.len() as u64) == (units, units),
        "{} lines of {} units of {units}",
        lines.len(),
        seen.len()
    );
    Ok(())
}

/// The whole life of a job: submitted, watched, fetched with receipts, verified, audited.
#[tokio::test]
async fn a_job_of_twenty_thousand_units_lives_its_whole_life() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let researcher = Researcher::login(Profile::Same, &coordinator)?;
    fs::write(researcher.path("job.toml"), MANY)?;
    let submitted = researcher.json(&["submit", "job.toml"])?;
    ensure!(submitted["units"] == MANY_UNITS, "{submitted}");
    let _ada = Worker::start(Profile::Same, &coordinator.join, "ada")?;
    let _grace = Worker::start(Profile::Same, &coordinator.join, "grace")?;
    let watched = researcher.json(&["watch", "j1"])?;
    ensure!(watched["state"] == "done" && watched["settled"] == MANY_UNITS, "{watched}");

    let fetched = researcher.json(&["fetch", "j1"])?;
    ensure!(fetched["new"] == MANY_UNITS && fetched["whole"] == true, "{fetched}");
    let lines = lines(&researcher.path("j1"))?;
    each_unit_once(&lines, MANY_UNITS)?;
    for line in &lines {
        let unit = line["unit"].as_u64().unwrap_or_default();
        let (p, round) = (2 + unit / 1_000, unit % 1_000);
        let axes = serde_json::json!({
            "p": {"first": p, "end": p + 1}, "round": {"first": round, "end": round + 1},
        });
        ensure!(line["axes"] == axes && line["receipt"].is_object(), "{line}");
    }
    let verified = researcher.json(&["verify", "j1"])?;
    ensure!(
        verified["receipts"] == MANY_UNITS && verified["copies"] == 2 * MANY_UNITS,
        "{verified}"
    );
    let audited = researcher.json(&["audit", "j1"])?;
    ensure!(
        audited["job"]["settled"] == MANY_UNITS && audited["job"]["results"] == MANY_UNITS,
        "{audited}"
    );
    coordinator.stop_and_check().await
}

/// Outputs that are streams of their own, between thousands of results with receipts.
#[tokio::test]
async fn large_outputs_come_beside_receipts() -> Result<()> {
    const UNITS: u64 = 6_000;
    /// One unit in so many puts out a blob.
    const LARGE: u64 = 24;
    let coordinator = Coordinator::start(Profile::Same).await?;
    let job = coordinator.submit(&coordinator.trivial_spec(axis(UNITS), 1).await?).await?;
    // Of many lengths: less and more than a chunk, a message, and the window of a stream.
    let content = |unit: u64| {
        let len = usize::try_from(unit * 7_919 % 700_000 + 300).expect("it is small");
        let mut bytes = unit.to_le_bytes().to_vec();
        bytes.resize(len, u8::try_from(unit % 251).expect("it is a remainder"));
        bytes
    };
    let mut outputs = BTreeMap::new();
    for unit in (0..UNITS).filter(|unit| unit % LARGE == 0) {
        let bytes = content(unit);
        let len = bytes.len() as u64;
        outputs.insert(unit, Output::Blob { digest: coordinator.put(&bytes).await?, len });
    }
    let mut volunteer = Volunteer::connect(&coordinator.join, 1, 1).await?;
    let mut reported = 0;
    while reported < UNITS {
        let leases = volunteer.lease(1_024).await?;
        reported += leases.iter().map(|lease| u64::from(lease.count)).sum::<u64>();
        let outcome = |_, unit: UnitIndex| {
            let small = || Output::Inline(unit.0.to_le_bytes().to_vec());
            let output = outputs.get(&unit.0).cloned().unwrap_or_else(small);
            (Outcome::Done(output), 1_000 + unit.0)
        };
        volunteer.report(&leases, outcome).await?;
    }
    let status = coordinator.job(job.job_id).await?;
    ensure!(status.state() == pb::job_status::State::Done, "{status:?}");

    let researcher = Researcher::login(Profile::Same, &coordinator)?;
    let fetched = researcher.json(&["fetch", "j1"])?;
    ensure!(fetched["new"] == UNITS && fetched["whole"] == true, "{fetched}");
    each_unit_once(&lines(&researcher.path("j1"))?, UNITS)?;
    for unit in outputs.keys() {
        let found = fs::read(researcher.path(&format!("j1/outputs/u{unit}")))?;
        ensure!(Digest::of(&found) == Digest::of(&content(*unit)), "u{unit}");
    }
    let verified = researcher.json(&["verify", "j1"])?;
    ensure!(verified["receipts"] == UNITS, "{verified}");
    coordinator.stop_and_check().await
}

/// `kill -9` of the fetch, of the coordinator, or of both, while the job goes on: the folder ends up with every unit once.
#[tokio::test]
async fn a_fetch_goes_on_after_any_kill() -> Result<()> {
    const UNITS: u64 = 60_000;
    const KILLS: u32 = 12;
    let mut random = SmallRng::seed_from_u64(17);
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    let mut spec = coordinator.trivial_spec(axis(UNITS), 2).await?;
    // What a volunteer held when its coordinator was killed is lent again soon.
    (spec.lease_s, spec.attempts_max) = (5, 1_000);
    let job = coordinator.submit(&spec).await?;
    let researcher = Researcher::login(Profile::Same, &coordinator)?;
    // Small batches, so that there are many commits to fall between, and slow ones, so that the job outlasts the kills.
    let load = Load::start_stubborn(&coordinator.join, 4, 64, Duration::from_millis(20));
    let folder = researcher.path("j1");
    let results = || fs::metadata(folder.join("results.jsonl")).map_or(0, |file| file.len());
    for _ in 0..KILLS {
        let mut fetch = researcher.start(&["fetch", "j1", "--follow"])?;
        let before = results();
        // The fetch ends by itself when the job does.
        until("results to come", async || Ok((before < results() || !fetch.runs()?).then_some(())))
            .await?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        let which = random.random_range(0..3);
        if which != 0 {
            coordinator.kill()?;
        }
        if which != 1 {
            fetch.kill()?;
        }
        if which != 0 {
            coordinator.restart().await?;
        }
        if which == 1 {
            // It finds the coordinator again by itself.
            let before = results();
            until("the fetch to go on", async || {
                Ok((before < results() || !fetch.runs()?).then_some(()))
            })
            .await?;
            fetch.kill()?;
        }
    }
    let begun = Instant::now();
    let fetched = researcher.json(&["fetch", "j1", "--follow"])?;
    ensure!(fetched["results"] == UNITS && fetched["whole"] == true, "{fetched}");
    drop(load);
    each_unit_once(&lines(&folder)?, UNITS)?;
    let verified = researcher.json(&["verify", "j1"])?;
    ensure!(verified["receipts"] == UNITS, "{verified} after {:?}", begun.elapsed());
    ensure!(coordinator.job(job.job_id).await?.settled == UNITS, "not all are settled");
    coordinator.stop_and_check().await
}

/// Nothing but pages of results has a stream that stays open: a reader that asks for one gets one, and is told when it has
/// come to the end.
#[tokio::test]
async fn pages_end_by_themselves_and_say_when_there_are_no_more() -> Result<()> {
    const UNITS: u64 = 5_000;
    let coordinator = Coordinator::start(Profile::Same).await?;
    let job = coordinator.submit(&coordinator.trivial_spec(axis(UNITS), 1).await?).await?;
    load::settle(&coordinator, job.job_id, 2).await?;
    let (mut units, mut after, mut offset, mut pages) = (BTreeSet::new(), 0, 0, 0);
    let mut jobs = coordinator.jobs().await?;
    loop {
        let ask = pb::FetchRequest {
            job_id: job.job_id,
            after,
            offset,
            results_max: 700,
            receipts: true,
            ..Default::default()
        };
        let mut stream = jobs.fetch(coordinator.with_token(ask)).await?.into_inner();
        let (mut results, mut last) = (0, false);
        while let Some(reply) = stream.message().await? {
            ensure!(reply.page && !last, "{} {}", reply.page, reply.last);
            (after, offset, last) = (reply.cursor, reply.offset, reply.last);
            results += reply.results.len();
            for result in reply.results {
                ensure!(result.receipt.is_some(), "u{} has no receipt", result.unit);
                ensure!(units.insert(result.unit), "u{} came twice", result.unit);
            }
        }
        ensure!(results <= 700, "{results} results in a page");
        pages += 1;
        if last {
            break;
        }
    }
    ensure!((units.len() as u64, pages) == (UNITS, 8), "{} in {pages} pages", units.len());
    coordinator.stop().await
}
