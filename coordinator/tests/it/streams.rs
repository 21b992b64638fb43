//! Streams of answers that go on: what kernels log while their units run, and what ends a stream.

use super::support::{KERNEL, PATIENCE, Project, Worker, bearer, spec};
use anyhow::{Context, Result, ensure};
use proto::cut::Axis;
use proto::job::{JobSpec, Limits};
use proto::pb;
use proto::pb::admin_client::AdminClient;
use proto::pb::blobs_client::BlobsClient;
use proto::pb::issue_token_request::Role;
use proto::pb::jobs_client::JobsClient;
use proto::pb::unit_log::Phase;
use proto::pb::worker_message::Kind as Say;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

/// A job whose units may log.
fn talking(units: u64) -> JobSpec {
    let quiet = spec(vec![Axis::Range { name: "n".into(), first: 0, end: units, per_unit: 1 }], 1);
    JobSpec { limits: Limits { log_bytes: 1 << 16, ..quiet.limits }, ..quiet }
}

fn logs(lease: &pb::Lease, unit: u64, at: u64, texts: &[&str]) -> Say {
    let line = |(n, text): (u64, &&str)| pb::LogLine {
        at: at + n * 10,
        len: 10,
        level: 2,
        text: (*text).to_owned(),
    };
    let lines = (0..).zip(texts).map(line).collect();
    let log = pb::KernelLog { lease_id: lease.lease_id, job_id: lease.job_id, unit, lines };
    Say::Logs(pb::KernelLogs { logs: vec![log] })
}

/// The next logs, as unit, phase and texts.
async fn next(stream: &mut Streaming<pb::LogsReply>) -> Result<Vec<(u64, Phase, Vec<String>)>> {
    let reply = timeout(PATIENCE, stream.message()).await.context("nothing came")??;
    let logs = reply.context("the stream ended")?.logs.into_iter();
    let texts = |log: &pb::UnitLog| log.lines.iter().map(|line| line.text.clone()).collect();
    Ok(logs.map(|log| (log.unit, log.phase(), texts(&log))).collect())
}

/// How a stream ends.
async fn end<T>(stream: &mut Streaming<T>) -> Result<Result<(), Status>> {
    let to_the_end = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(status) => return Err(status),
            }
        }
    };
    timeout(PATIENCE, to_the_end).await.context("the stream goes on")
}

#[tokio::test]
async fn lines_are_followed_while_their_unit_runs_and_kept_with_its_report() -> Result<()> {
    let project = Project::start().await?;
    let token = project.coordinator.operator_token().to_owned();
    project.put(&token, KERNEL).await?;
    let spec = talking(2);
    let job = project.submit(&token, &spec).await?.job_id;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let leases = worker.lease(2).await?;
    let mut jobs = JobsClient::new(project.channel().await?);
    let follow = pb::LogsRequest { job_id: job, unit: None, follow: true };
    let mut stream = jobs.logs(bearer(&token, follow)).await?.into_inner();
    worker.say(logs(&leases[0], 0, 0, &["one", "\u{202e}two\x1b"])).await?;
    let told = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    assert_eq!(next(&mut stream).await?, [(0, Phase::Running, told(&["one", " two "]))]);
    worker.say(logs(&leases[0], 0, 20, &["three"])).await?;
    assert_eq!(next(&mut stream).await?, [(0, Phase::Running, told(&["three"]))]);
    worker.say(logs(&leases[0], 0, 30, &["four"])).await?;
    let signed = worker.batch(&spec, &leases, super::support::inline);
    worker.report(signed).await?;
    // The last line comes with the unit's end, unless it was seen before it.
    let mut last = Vec::new();
    while let Ok(more) = next(&mut stream).await {
        last.extend(more.into_iter().flat_map(|(_, _, texts)| texts));
    }
    assert_eq!(last, ["four"]);
    let kept = pb::LogsRequest { job_id: job, unit: Some(0), follow: false };
    let mut stream = jobs.logs(bearer(&token, kept)).await?.into_inner();
    let all = told(&["one", " two ", "three", "four"]);
    assert_eq!(next(&mut stream).await?, [(0, Phase::Done, all)]);
    let beyond = pb::LogsRequest { job_id: job, unit: Some(2), follow: false };
    let status = jobs.logs(bearer(&token, beyond)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    Ok(())
}

#[tokio::test]
async fn more_units_in_one_message_than_may_be_end_the_stream() -> Result<()> {
    let project = Project::start().await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let logs = vec![pb::KernelLog::default(); proto::bounds::LOGS_PER_MESSAGE_MAX + 1];
    worker.say(Say::Logs(pb::KernelLogs { logs })).await?;
    assert_eq!(worker.refusal().await?.code(), pb::refusal::Code::Malformed);
    Ok(())
}

#[tokio::test]
async fn whatever_a_revoked_token_has_begun_ends() -> Result<()> {
    let project = Project::start().await?;
    let token = project.token("ada", Role::Researcher).await?;
    let other = project.token("grace", Role::Researcher).await?;
    project.put(&token, KERNEL).await?;
    project.put(&other, KERNEL).await?;
    // Longer than what may be under way unread.
    let large = vec![7; 32 << 20];
    let large = project.put(&token, &large).await?;
    let job = project.submit(&token, &talking(5)).await?.job_id;
    let others = project.submit(&other, &talking(6)).await?.job_id;

    let channel = project.channel().await?;
    let mut jobs = JobsClient::new(channel.clone());
    let one = pb::JobRequest { job_id: job };
    let mut watch = jobs.watch(bearer(&token, one)).await?.into_inner();
    let fetch = pb::FetchRequest { job_id: job, after: 0, follow: true, ..Default::default() };
    let mut fetch = jobs.fetch(bearer(&token, fetch)).await?.into_inner();
    let logs = pb::LogsRequest { job_id: job, unit: None, follow: true };
    let mut logs = jobs.logs(bearer(&token, logs)).await?.into_inner();
    let get = pb::GetRequest { digest: large.0.to_vec().into(), ..Default::default() };
    let mut blobs = BlobsClient::new(project.channel().await?);
    let mut get = blobs.get(bearer(&token, get)).await?.into_inner();
    let untouched = pb::JobRequest { job_id: others };
    let mut untouched = jobs.watch(bearer(&other, untouched)).await?.into_inner();
    ensure!(timeout(PATIENCE, watch.message()).await??.is_some(), "no status came");
    ensure!(timeout(PATIENCE, untouched.message()).await??.is_some(), "no status came");

    let mut admin = AdminClient::new(channel);
    let tokens = admin.tokens(project.operator(pb::TokensRequest {})).await?.into_inner().tokens;
    let ada = tokens.into_iter().find(|token| token.account == "ada").context("no token")?;
    let revoke = pb::RevokeTokenRequest { token_id: ada.token_id };
    admin.revoke_token(project.operator(revoke)).await?;
    for ended in [
        end(&mut watch).await?,
        end(&mut fetch).await?,
        end(&mut logs).await?,
        end(&mut get).await?,
    ] {
        let status = ended.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains("was revoked"), "{status}");
    }
    // Another account's stream goes on until its job ends.
    admin.status(project.operator(pb::StatusRequest {})).await?;
    jobs.cancel(bearer(&other, pb::CancelRequest { job_id: others, outputs: false })).await?;
    assert!(end(&mut untouched).await?.is_ok());
    Ok(())
}
