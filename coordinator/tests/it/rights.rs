//! A digest opens nothing: blobs are for those who have put them, whose jobs put them out, and workers of jobs that name
//! them. Outputs are in the quota of who has submitted, and go when nobody wants them.

use super::support::{KERNEL, PATIENCE, Project, Worker, bearer, put, spec};
use anyhow::{Context, Result};
use proto::cut::Axis;
use proto::job::{Input, JobSpec};
use proto::pb::blobs_client::BlobsClient;
use proto::pb::issue_token_request::Role;
use proto::pb::jobs_client::JobsClient;
use proto::report::{Ack, Outcome, Output};
use proto::{Digest, JobId, pb};
use std::time::Duration;
use tonic::{Code, Status};

fn range(units: u64) -> Vec<Axis> {
    vec![Axis::Range { name: "n".into(), first: 0, end: units, per_unit: 1 }]
}

/// Whether `token` is given a blob; else the refusal.
async fn get(project: &Project, token: &str, digest: Digest) -> Result<Vec<u8>, Status> {
    let channel = project.channel().await.map_err(|error| Status::unknown(error.to_string()))?;
    let request = pb::GetRequest { digest: digest.0.to_vec().into(), ..Default::default() };
    let mut chunks = BlobsClient::new(channel).get(bearer(token, request)).await?.into_inner();
    let mut content = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        content.extend_from_slice(&chunk.data);
    }
    Ok(content)
}

async fn have(project: &Project, token: &str, digest: Digest) -> Result<bool> {
    let digests = vec![digest.0.to_vec().into()];
    let request = bearer(token, pb::HaveRequest { digests });
    Ok(BlobsClient::new(project.channel().await?).have(request).await?.into_inner().have == [true])
}

#[tokio::test]
async fn what_is_not_ones_own_is_as_if_it_were_not_there() -> Result<()> {
    let project = Project::start().await?;
    let ada = project.token("ada", Role::Researcher).await?;
    let mallory = project.token("mallory", Role::Researcher).await?;
    let secret = b"what ada has measured and nobody else has seen".as_slice();
    let digest = project.put(&ada, secret).await?;
    let absent = get(&project, &mallory, Digest([9; 32])).await.unwrap_err();
    let refused = get(&project, &mallory, digest).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let same = |status: &Status, digest: Digest| status.message().replace(&digest.to_string(), "");
    assert_eq!(same(&refused, digest), same(&absent, Digest([9; 32])));
    assert!(!have(&project, &mallory, digest).await? && have(&project, &ada, digest).await?);
    assert_eq!(get(&project, &ada, digest).await?, secret);
    assert_eq!(get(&project, project.coordinator.operator_token(), digest).await?, secret);
    // Nor can a kernel be sent for it.
    project.put(&ada, KERNEL).await?;
    project.put(&mallory, KERNEL).await?;
    let input = Input { name: "secret".into(), digest, len: secret.len() as u64 };
    let thief = JobSpec { inputs: vec![input], ..spec(range(2), 1) };
    let refused = project.submit(&mallory, &thief).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    // Whoever brings all of it has it, and so much.
    let short = put(project.channel().await?, &mallory, digest, secret.len() as u64, b"").await;
    assert_eq!(short.unwrap_err().code(), Code::InvalidArgument);
    project.put(&mallory, secret).await?;
    assert!(project.submit(&mallory, &thief).await.is_ok());
    Ok(())
}

#[tokio::test]
async fn a_report_opens_nothing_that_its_worker_has_not_brought() -> Result<()> {
    let project = Project::start().await?;
    let ada = project.token("ada", Role::Researcher).await?;
    let mallory = project.token("mallory", Role::Researcher).await?;
    let secret = vec![7; 1000];
    let digest = project.put(&ada, &secret).await?;
    project.put(&mallory, KERNEL).await?;
    let job = spec(range(2), 1);
    let id = JobId(project.submit(&mallory, &job).await?.job_id);
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let leases = worker.lease(2).await?;
    let token = worker.session_token.clone();
    assert!(!have(&project, &token, digest).await?);
    let claimed = |_| Outcome::Done(Output::Blob { digest, len: 1000 });
    let signed = worker.batch(&job, &leases, claimed);
    assert_eq!(worker.report(signed).await?, [Ack::OutputMissing; 2]);
    assert_eq!(get(&project, &mallory, digest).await.unwrap_err().code(), Code::NotFound);
    // An output that is the same by chance is brought, and then is mallory's too.
    put(worker.channel.clone(), &token, digest, 1000, &secret).await?;
    let signed = worker.batch(&job, &leases, claimed);
    assert_eq!(worker.report(signed).await?, [Ack::Accepted; 2]);
    assert_eq!(get(&project, &mallory, digest).await?, secret);
    // Dropped by one, it is still the other's.
    let mut jobs = JobsClient::new(project.channel().await?);
    let drop = pb::CancelRequest { job_id: id.0, outputs: true };
    jobs.cancel(bearer(&mallory, drop)).await?;
    until(async || Ok(get(&project, &mallory, digest).await.is_err())).await?;
    assert_eq!(get(&project, &ada, digest).await?, secret);
    Ok(())
}

/// Waits until something holds.
async fn until(mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let waiting = async {
        while !holds().await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, waiting).await.context("it never does")?
}

/// An output of a unit.
fn content(unit: u64) -> Vec<u8> {
    unit.to_le_bytes().repeat(2_000)
}

#[tokio::test]
async fn outputs_stay_within_the_quota_and_make_room_when_they_are_dropped() -> Result<()> {
    const QUOTA: u64 = 64 << 10;
    let project = Project::start_with(|config| config.account_bytes = QUOTA).await?;
    let ada = project.token("ada", Role::Researcher).await?;
    project.put(&ada, KERNEL).await?;
    let mut job = spec(range(20), 1);
    job.limits.output_bytes = 16_000;
    let id = project.submit(&ada, &job).await?.job_id;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let token = worker.session_token.clone();
    let leases = worker.lease(20).await?;
    let mut put_out = Vec::new();
    for unit in 0..20 {
        let content = content(unit);
        let (digest, len) = (Digest::of(&content), content.len() as u64);
        match put(worker.channel.clone(), &token, digest, len, &content).await {
            Ok(digest) => put_out.push((unit, digest)),
            Err(refused) => assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}"),
        }
    }
    assert_eq!(put_out.len(), 4, "64 KiB hold no more beside kernel and specification");
    let outcome = |unit| {
        let content = content(unit);
        Outcome::Done(Output::Blob { digest: Digest::of(&content), len: content.len() as u64 })
    };
    let signed = worker.batch(&job, &leases, outcome);
    let acks = worker.report(signed).await?;
    let accepted = acks.iter().filter(|ack| **ack == Ack::Accepted).count();
    assert_eq!((accepted, acks[19]), (4, Ack::OutputMissing), "{acks:?}");
    let refused = project.put(&ada, &vec![1; 20_000]).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let mut jobs = JobsClient::new(project.channel().await?);
    let why = pb::WhyRequest { job_id: id, unit: None };
    let why = jobs.why(bearer(&ada, why)).await?.into_inner().reasons.join("; ");
    assert!(why.contains("--account-bytes"), "{why}");
    // Settled results stay when the job is cancelled, and go when they are dropped.
    let mut cancel =
        async |outputs| jobs.cancel(bearer(&ada, pb::CancelRequest { job_id: id, outputs })).await;
    cancel(false).await?;
    assert_eq!(get(&project, &ada, put_out[0].1).await?, content(0));
    cancel(true).await?;
    until(async || Ok(project.put(&ada, &vec![1; 20_000]).await.is_ok())).await?;
    let operator = project.coordinator.operator_token();
    for (_, digest) in put_out {
        assert_eq!(get(&project, operator, digest).await.unwrap_err().code(), Code::NotFound);
    }
    Ok(())
}
