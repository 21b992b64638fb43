//! People who make keys at will, on a real coordinator: they refuse, or they hoard, beside somebody honest.

use anyhow::{Result, ensure};
use proto::cut::Axis;
use proto::join::Join;
use proto::pb;
use proto::pb::worker_message::Kind as Say;
use proto::report::{Outcome, Output};
use proto::{JobId, UnitIndex};
use std::time::Duration;
use tests::grid::{Coordinator, Profile, Worker, until};
use tests::load::Load;
use tests::volunteer::Volunteer;
use tokio::task::JoinSet;

fn axis(units: u64) -> Axis {
    Axis::Range { name: "p".into(), first: 0, end: units, per_unit: 1 }
}

/// Says of each unit that it gets that it has failed, for ever.
async fn refuse(mut volunteer: Volunteer) -> Result<()> {
    loop {
        let leases = volunteer.lease(16).await?;
        let returns = leases.iter().flat_map(|lease| {
            (lease.first..).take(lease.count as usize).map(|unit| pb::Return {
                lease_id: lease.lease_id,
                unit,
                reason: "it cannot be".into(),
                failure: true,
            })
        });
        volunteer.say(Say::Returns(pb::Returns { returns: returns.collect() })).await?;
    }
}

/// Two accounts with 42 keys between them refuse whatever they get: everything is computed all the same.
#[tokio::test]
async fn accounts_that_only_fail_have_nothing_given_up() -> Result<()> {
    const UNITS: u64 = 1_000;
    let coordinator = Coordinator::start(Profile::Same).await?;
    let mut refusers = JoinSet::new();
    for number in 0..42 {
        let volunteer =
            Volunteer::connect(&coordinator.join, 100 + number, 100 + number % 2).await?;
        refusers.spawn(refuse(volunteer));
    }
    let honest = Load::start_stubborn(&coordinator.join, 2, 16, Duration::from_millis(20));
    let job = coordinator.submit(&coordinator.trivial_spec(axis(UNITS), 1).await?).await?;
    let status = until("the job's end", async || {
        let status = coordinator.job(job.job_id).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(status))
    })
    .await?;
    ensure!((status.settled, status.failed) == (UNITS, 0), "{status:?}");
    drop((honest, refusers));
    coordinator.stop_and_check().await
}

/// Seven keys ask for all that there is and compute nothing: they hold little of it, the others get the rest, and what is held is
/// lent again long before its leases end.
#[tokio::test]
async fn those_who_only_ask_get_little() -> Result<()> {
    const UNITS: u64 = 20_000;
    const HOARDERS: u64 = 7;
    let coordinator = Coordinator::start(Profile::Same).await?;
    let mut spec = coordinator.trivial_spec(axis(UNITS), 1).await?;
    spec.lease_s = 3_600;
    let job = coordinator.submit(&spec).await?;
    let mut hoarders = Vec::new();
    for number in 0..HOARDERS {
        let mut volunteer =
            Volunteer::connect(&coordinator.join, 100 + number, 100 + number).await?;
        volunteer.lease(100_000).await?;
        volunteer.want(100_000).await?;
        hoarders.push(volunteer);
    }
    let _honest = Load::start(&coordinator.join, 2);
    let status = until("the job's end", async || {
        let status = coordinator.job(job.job_id).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(status))
    })
    .await?;
    ensure!(status.failed == 0, "{status:?}");
    Ok(())
}

/// What keys of one person agree on, of every unit.
const LIE: &[u8] = b"what eight keys agree on";

fn lie(_: JobId, _: UnitIndex) -> (Outcome, u64) {
    (Outcome::Done(Output::Inline(LIE.to_vec())), 1_000)
}

/// A coordinator as it comes, with its referee.
async fn with_referee() -> Result<Coordinator> {
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    coordinator.kill()?;
    coordinator.referee = true;
    coordinator.restart().await?;
    until("the referee", async || Ok((coordinator.status().await?.referees == 1).then_some(())))
        .await?;
    Ok(coordinator)
}

/// Eight keys of one person agree with each other beside three honest machines, and come first: the coordinator's own referee finds
/// them out, and everything comes out right.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_agree_with_each_other_settle_nothing_wrong() -> Result<()> {
    const UNITS: u64 = 120;
    let coordinator = with_referee().await?;
    let mut spec = coordinator.trivial_spec(axis(UNITS), 1).await?;
    spec.confidence = Some(1e-6);
    let job = coordinator.submit(&spec).await?;
    ensure!(job.warnings.is_empty(), "{job:?}");
    let mut liars = JoinSet::new();
    for number in 100..108 {
        let volunteer = Volunteer::connect(&coordinator.join, number, number).await?;
        liars.spawn(volunteer.work(lie));
    }
    until("lies of every liar", async || {
        Ok((UNITS <= coordinator.job(job.job_id).await?.copies).then_some(()))
    })
    .await?;
    let _honest = ["ada", "ben", "eve"]
        .map(|name| Worker::start(Profile::Same, &coordinator.join, name))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let status = until("the job's end", async || {
        let status = coordinator.job(job.job_id).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(status))
    })
    .await?;
    ensure!((status.settled, status.failed) == (UNITS, 0), "{status:?}");
    let lie = Some(pb::output::Kind::Inline(LIE.into()));
    for result in coordinator.results(JobId(job.job_id)).await? {
        let told = match &result.outcome {
            Some(pb::unit_result::Outcome::Output(output)) => output.kind.clone(),
            _ => None,
        };
        ensure!(told.is_some() && told != lie, "{result:?}");
    }
    drop(liars);
    coordinator.stop_and_check().await
}

/// One person with two machines gets answers, as the referee is somebody else; without it he is told what he is not protected from.
#[tokio::test(flavor = "multi_thread")]
async fn one_owner_and_the_referee_are_enough() -> Result<()> {
    const UNITS: u64 = 40;
    let coordinator = with_referee().await?;
    let _worker = Worker::start(Profile::Same, &coordinator.join, "ada")?;
    let mut spec = coordinator.trivial_spec(axis(UNITS), 1).await?;
    spec.confidence = Some(1e-3);
    let job = coordinator.submit(&spec).await?;
    let status = until("the job's end", async || {
        let status = coordinator.job(job.job_id).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(status))
    })
    .await?;
    ensure!((status.settled, status.failed) == (UNITS, 0), "{status:?}");
    ensure!(status.copies < 2 * UNITS, "{status:?}");
    coordinator.stop_and_check().await?;
    let without = Coordinator::start(Profile::Same).await?;
    let job = without.submit(&without.trivial_spec(axis(1), 2).await?).await?;
    ensure!(job.warnings.iter().any(|text| text.contains("copies protect")), "{job:?}");
    let mut spec = without.trivial_spec(axis(1), 1).await?;
    spec.confidence = Some(1e-3);
    let job = without.submit(&spec).await?;
    ensure!(job.warnings.iter().any(|text| text.contains("no referee")), "{job:?}");
    Ok(())
}

/// An operator asks newcomers for work, then lets in those who were invited: real machines do what is asked, and who is known stays.
#[tokio::test(flavor = "multi_thread")]
async fn an_operator_chooses_who_may_join() -> Result<()> {
    let mut coordinator = Coordinator::start(Profile::Same).await?;
    let mut ask = async |admission: &str| {
        coordinator.kill()?;
        coordinator.arguments = vec![format!("--admission={admission}")];
        coordinator.restart().await?;
        anyhow::Ok(coordinator.join.clone())
    };
    let join = ask("work=18").await?;
    let idle = Volunteer::connect(&join, 1, 1).await.map(drop);
    ensure!(idle.is_err_and(|error| error.to_string().contains("work of 18 bits")));
    let ada = Worker::start(Profile::Same, &join, "ada")?;
    let join = ask("invited").await?;
    let stranger = Worker::join(Profile::Same, &join, "eve").map(drop);
    ensure!(stranger.is_err_and(|error| error.to_string().contains("who were invited")));
    let request = pb::IssueTokenRequest {
        account: "friends".into(),
        role: pb::issue_token_request::Role::Volunteer.into(),
        accounts: 1,
    };
    let mut admin = pb::admin_client::AdminClient::new(coordinator.channel().await?);
    let token = admin.issue_token(coordinator.with_token(request)).await?.into_inner().token;
    let invited = Join { invitation: Some(token.clone()), ..join.clone() };
    let ben = Worker::start(Profile::Same, &invited, "ben")?;
    let late = Worker::join(Profile::Same, &invited, "eve").map(drop);
    ensure!(late.is_err_and(|error| error.to_string().contains("as many accounts")));
    // An invitation opens nothing else.
    let mut request = tonic::Request::new(pb::ListRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let jobs = pb::jobs_client::JobsClient::new(coordinator.channel().await?);
    let refused = { jobs }.list(request).await.map(drop);
    ensure!(refused.as_ref().is_err_and(|status| status.code() != tonic::Code::Ok), "{refused:?}");
    let job = coordinator.submit(&coordinator.trivial_spec(axis(40), 1).await?).await?;
    let status = until("the job's end", async || {
        let status = coordinator.job(job.job_id).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(status))
    })
    .await?;
    ensure!(status.failed == 0, "{status:?}");
    ensure!(2 <= coordinator.status().await?.workers_known);
    drop((ada, ben));
    coordinator.stop_and_check().await
}
