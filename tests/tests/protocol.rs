//! What strangers may say to a real coordinator process, and what comes of it.

use anyhow::{Result, bail, ensure};
use client::tls;
use proto::cut::Axis;
use proto::pb::coordinator_message::Kind as Said;
use proto::pb::worker_message::Kind as Say;
use proto::report::{Ack, Outcome, Output};
use proto::{Digest, JobId, UnitIndex, pb};
use std::time::Duration;
use tests::grid::{Coordinator, Profile, until};
use tests::volunteer::{Volunteer, honest, key};
use tokio::task::JoinSet;

const LIE: &[u8] = b"a lie";

fn range(units: u64) -> Axis {
    Axis::Range { name: "p".into(), first: 0, end: units, per_unit: 1 }
}

fn lying(_: JobId, _: UnitIndex) -> (Outcome, u64) {
    (Outcome::Done(Output::Inline(LIE.to_vec())), 1)
}

fn statuses(acks: &pb::Acks) -> Vec<Ack> {
    acks.status.iter().map(|status| Ack::try_from(*status).expect("a known status")).collect()
}

async fn done(coordinator: &Coordinator, job_id: u64) -> Result<pb::JobStatus> {
    until("the job's end", async || {
        let status = coordinator.job(job_id).await?;
        ensure!(
            status.state() == pb::job_status::State::Done,
            "{status:?}, {:?}",
            coordinator.why(job_id, None).await?
        );
        Ok((status.state() == pb::job_status::State::Done).then_some(status))
    })
    .await
}

/// The fuel that honest reports of `units` units come to.
fn honest_fuel(units: u64) -> u64 {
    (0..units).map(|unit| honest(JobId(1), UnitIndex(unit)).1).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_counts_once_however_often_it_is_sent() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let job = coordinator.submit(&coordinator.trivial_spec(range(10), 1).await?).await?;
    let mut volunteer = Volunteer::connect(&coordinator.join, 1, 1).await?;
    let leases = volunteer.lease_all(10).await?;
    let (signed, sequence) = volunteer.batch(&leases, honest);
    let mut answers = Vec::new();
    for _ in 0..3 {
        volunteer.say(Say::Reports(signed.clone())).await?;
        answers.push(volunteer.acks(sequence).await?);
    }
    ensure!(statuses(&answers[0]) == [Ack::Accepted; 10], "{answers:?}");
    ensure!(answers[1..].iter().all(|acks| statuses(acks) == [Ack::Duplicate; 10]), "{answers:?}");
    // The same once more in a batch of its own.
    let again = volunteer.report(&leases, honest).await?;
    ensure!(
        statuses(&again).iter().all(|ack| matches!(ack, Ack::Duplicate | Ack::Late)),
        "{again:?}"
    );
    ensure!(again.credit == honest_fuel(10), "{again:?}");
    let status = done(&coordinator, job.job_id).await?;
    ensure!((status.fuel, status.credit) == (honest_fuel(10), honest_fuel(10)), "{status:?}");
    drop(volunteer);
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_is_outvoted_and_earns_nothing() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let job = coordinator.submit(&coordinator.trivial_spec(range(50), 2).await?).await?;
    let mut liar = Volunteer::connect(&coordinator.join, 1, 1).await?;
    let leases = liar.lease_all(50).await?;
    let acks = liar.report(&leases, lying).await?;
    ensure!(
        statuses(&acks).iter().all(|ack| *ack == Ack::Accepted),
        "nobody learns before the verdict: {acks:?}"
    );
    let mut honest_ones = JoinSet::new();
    for number in 2..5 {
        honest_ones
            .spawn(Volunteer::connect(&coordinator.join, number, number).await?.work(honest));
    }
    let status = done(&coordinator, job.job_id).await?;
    ensure!(status.credit == 2 * honest_fuel(50) && status.fuel == honest_fuel(50), "{status:?}");
    ensure!(status.copies == 150, "{status:?}");
    for result in coordinator.results(JobId(job.job_id)).await? {
        let Some(pb::unit_result::Outcome::Output(output)) = &result.outcome else {
            bail!("{result:?}")
        };
        let (Outcome::Done(expected), _) = honest(JobId(1), UnitIndex(result.unit)) else {
            bail!("no output")
        };
        ensure!(Output::try_from(output)? == expected, "{result:?}");
    }
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_of_one_account_are_one_voice() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let job = coordinator.submit(&coordinator.trivial_spec(range(5), 2).await?).await?;
    let mut first = Volunteer::connect(&coordinator.join, 1, 7).await?;
    let leases = first.lease_all(5).await?;
    first.report(&leases, lying).await?;
    let mut second = Volunteer::connect(&coordinator.join, 2, 7).await?;
    second.want(5).await?;
    match second.hear().await? {
        Said::Idle(idle) => ensure!(!idle.reason.is_empty()),
        other => bail!("the second worker of the account got {other:?}"),
    }
    ensure!(coordinator.job(job.job_id).await?.settled == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_after_the_lease_has_expired_is_late_or_counts_but_never_twice() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let mut spec = coordinator.trivial_spec(range(4), 1).await?;
    spec.lease_s = 1;
    let job = coordinator.submit(&spec).await?;
    let mut slow = Volunteer::connect(&coordinator.join, 1, 1).await?;
    let leases = slow.lease_all(4).await?;
    let mut quick = Volunteer::connect(&coordinator.join, 2, 2).await?;
    let mut reported = 0;
    while reported < 4 {
        let again = quick.lease(4).await?;
        reported += quick.report(&again, honest).await?.status.len();
    }
    let status = done(&coordinator, job.job_id).await?;
    ensure!(status.failed == 0, "{status:?}");
    let acks = slow.report(&leases, honest).await?;
    ensure!(statuses(&acks).iter().all(|ack| *ack == Ack::Late), "{acks:?}");
    let status = coordinator.job(job.job_id).await?;
    ensure!(status.fuel == honest_fuel(4), "{status:?}");
    drop((slow, quick));
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_leased_is_not_taken() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let job = coordinator.submit(&coordinator.trivial_spec(range(10), 1).await?).await?;
    let mut volunteer = Volunteer::connect(&coordinator.join, 1, 1).await?;
    let mut thief = Volunteer::connect(&coordinator.join, 2, 2).await?;
    let leases = volunteer.lease(5).await?;
    thief.jobs = volunteer.jobs.clone();
    let stolen = thief.report(&leases, lying).await?;
    ensure!(statuses(&stolen).iter().all(|ack| *ack == Ack::NotLeased), "{stolen:?}");
    let invented =
        pb::Lease { lease_id: 999, job_id: job.job_id, first: 3, count: 2, ..Default::default() };
    let invented = volunteer.report(&[invented], lying).await?;
    ensure!(statuses(&invented) == [Ack::NotLeased; 2], "{invented:?}");
    let beyond = pb::Lease {
        lease_id: leases[0].lease_id,
        job_id: job.job_id,
        first: u64::MAX - 3,
        count: 2,
        ..Default::default()
    };
    let beyond = volunteer.report(&[beyond], lying).await?;
    ensure!(statuses(&beyond) == [Ack::NotLeased; 2], "{beyond:?}");
    let elsewhere = pb::Lease {
        lease_id: leases[0].lease_id,
        job_id: 77,
        first: 0,
        count: 1,
        ..Default::default()
    };
    let elsewhere = volunteer.report(&[elsewhere], lying).await?;
    ensure!(matches!(statuses(&elsewhere)[..], [Ack::NoJob | Ack::NotLeased]), "{elsewhere:?}");
    ensure!(coordinator.job(job.job_id).await?.settled == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_put_before_they_are_reported_and_must_be_what_they_say() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let job = coordinator.submit(&coordinator.trivial_spec(range(1), 1).await?).await?;
    let mut volunteer = Volunteer::connect(&coordinator.join, 1, 1).await?;
    let leases = volunteer.lease(1).await?;
    let content = vec![7; 5_000];
    let blob = |len| (Outcome::Done(Output::Blob { digest: Digest::of(&content), len }), 50);
    let early = volunteer.report(&leases, |_, _| blob(5_000)).await?;
    ensure!(statuses(&early) == [Ack::OutputMissing], "{early:?}");
    let mut blobs = pb::blobs_client::BlobsClient::new(volunteer.channel.clone());
    let token = volunteer.welcome.session_token.clone();
    let mut put = async |content: Vec<u8>, digest: Digest, token: &str| {
        let head = pb::PutRequest {
            digest: digest.0.to_vec().into(),
            len: content.len() as u64,
            data: content.into(),
        };
        let mut request = tonic::Request::new(tokio_stream::iter([head]));
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().expect("plain text"));
        blobs.put(request).await
    };
    let other = put(vec![8; 5_000], Digest::of(&content), &token).await;
    ensure!(other.is_err(), "bytes that do not match their digest were taken");
    let nobody = put(content.clone(), Digest::of(&content), "nobody's token").await;
    ensure!(nobody.is_err(), "a stranger's blob was taken");
    put(content.clone(), Digest::of(&content), &token).await?;
    let wrong = volunteer.report(&leases, |_, _| blob(4_999)).await?;
    ensure!(statuses(&wrong) == [Ack::Invalid], "{wrong:?}");
    let leases = if coordinator.job(job.job_id).await?.leased == 0 {
        volunteer.lease(1).await?
    } else {
        leases
    };
    // What was put for a report that was not taken is let go.
    put(content.clone(), Digest::of(&content), &token).await?;
    let good = volunteer.report(&leases, |_, _| blob(5_000)).await?;
    ensure!(statuses(&good) == [Ack::Accepted], "{good:?}");
    done(&coordinator, job.job_id).await?;
    drop(volunteer);
    coordinator.stop_and_check().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_signature_or_garbage_ends_only_the_strangers_stream() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let job = coordinator.submit(&coordinator.trivial_spec(range(100), 1).await?).await?;
    let mut good = Volunteer::connect(&coordinator.join, 1, 1).await?;
    let leases = good.lease(10).await?;

    let mut forger = Volunteer::connect(&coordinator.join, 2, 2).await?;
    forger.key = key(1); // reports in the good one's name
    forger.jobs = good.jobs.clone();
    let (signed, _) = forger.batch(&leases, lying);
    forger.say(Say::Reports(signed)).await?;
    ensure!(refused(&mut forger).await, "a batch in another worker's name was taken");

    for (number, payload) in
        [(3, vec![]), (4, vec![1; 100]), (5, vec![0xff; 3 << 20]), (6, vec![1; 5 << 20])]
    {
        let mut stranger = Volunteer::connect(&coordinator.join, number, number).await?;
        let signed = pb::SignedReports { payload: payload.into(), signature: vec![0; 64].into() };
        stranger.say(Say::Reports(signed)).await?;
        ensure!(refused(&mut stranger).await, "garbage of stranger {number} was taken");
    }
    let acks = good.report(&leases, honest).await?;
    ensure!(statuses(&acks).iter().all(|ack| *ack == Ack::Accepted), "{acks:?}");
    ensure!(coordinator.job(job.job_id).await?.settled == acks.status.len() as u64);
    drop((good, forger));
    coordinator.stop_and_check().await
}

/// Whether the coordinator refuses the volunteer or ends its stream, soon.
async fn refused(volunteer: &mut Volunteer) -> bool {
    let listen = async {
        loop {
            match volunteer.hear().await {
                Err(_) | Ok(Said::Refusal(_)) => return true,
                Ok(Said::Acks(_)) => return false,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), listen).await.unwrap_or(false)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_minor_version_is_served_and_another_major_is_told_why_not() -> Result<()> {
    let coordinator = Coordinator::start(Profile::Same).await?;
    let attach = async |major, minor| {
        let channel = tls::connect(&coordinator.join).await?;
        Volunteer::attach_as(channel, &coordinator.join, &key(1), &key(1), |hello| {
            hello.version = Some(pb::Version { major, minor, software: "from the future".into() });
        })
        .await
    };
    attach(proto::version::MAJOR, proto::version::MINOR + 9).await?;
    let refusal = attach(proto::version::MAJOR + 1, 0)
        .await
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(refusal.contains("CodeVersion") || refusal.contains("Version"), "{refusal}");
    ensure!(refusal.contains("install"), "it says what to do: {refusal}");
    Ok(())
}
