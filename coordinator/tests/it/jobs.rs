//! The researcher's calls, and who may make them.

use super::support::{KERNEL, Project, Worker, bearer, inline, spec};
use anyhow::Result;
use proto::cut::Axis;
use proto::pb::issue_token_request::Role;
use proto::pb::jobs_client::JobsClient;
use proto::receipt::Receipt;
use proto::{Digest, pb};
use tonic::Code;

fn range(units: u64) -> Axis {
    Axis::Range { name: "n".into(), first: 0, end: units, per_unit: 1 }
}

#[tokio::test]
async fn results_come_in_order_and_can_be_resumed() -> Result<()> {
    let project = Project::start().await?;
    let (job, spec) = project.job(3_000, 1).await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let mut reported = 0;
    while reported < 3_000 {
        reported += worker.work(&spec, 1_000).await?;
    }
    let mut jobs = JobsClient::new(project.channel().await?);
    let mut fetched = std::collections::BTreeMap::new();
    let (mut after, mut offset) = (0, 0);
    // One message at a time, as if cut off after each.
    loop {
        let ask = pb::FetchRequest { job_id: job.job_id, after, offset, ..Default::default() };
        let request = project.operator(ask);
        let Some(reply) = jobs.fetch(request).await?.into_inner().message().await? else { break };
        (after, offset) = (reply.cursor, reply.offset);
        for result in reply.results {
            assert_eq!(result.fuel, 1_000 + result.unit);
            fetched.insert(result.unit, result);
        }
    }
    assert_eq!(fetched.len(), 3_000);
    let request = project.operator(pb::UnitRequest { job_id: job.job_id, unit: 17 });
    let signed = jobs.receipt(request).await?.into_inner();
    let receipt = Receipt::verify(&signed, &project.coordinator.join().project)?;
    assert_eq!((receipt.fuel, receipt.result), (1_017, Ok(Digest::of(&17_u64.to_le_bytes()))));
    let spec_bytes =
        jobs.spec(project.operator(pb::JobRequest { job_id: job.job_id })).await?.into_inner().spec;
    assert_eq!(receipt.spec, Digest::of(&spec_bytes));
    Ok(())
}

#[tokio::test]
async fn watching_and_following_end_with_the_job() -> Result<()> {
    let project = Project::start().await?;
    let (job, spec) = project.job(20, 1).await?;
    let mut jobs = JobsClient::new(project.channel().await?);
    let mut watched =
        jobs.watch(project.operator(pb::JobRequest { job_id: job.job_id })).await?.into_inner();
    let request = project.operator(pb::FetchRequest {
        job_id: job.job_id,
        follow: true,
        ..Default::default()
    });
    let mut followed = jobs.fetch(request).await?.into_inner();
    assert_eq!(watched.message().await?.unwrap().settled, 0);
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let mut reported = 0;
    while reported < 20 {
        reported += worker.work(&spec, 10).await?;
    }
    let mut last = pb::JobStatus::default();
    while let Some(status) = watched.message().await? {
        last = status;
    }
    assert_eq!((last.state(), last.settled), (pb::job_status::State::Done, 20));
    let mut results = 0;
    while let Some(reply) = followed.message().await? {
        results += reply.results.len();
    }
    assert_eq!(results, 20);
    Ok(())
}

#[tokio::test]
async fn a_submission_that_cannot_be_computed_is_refused_with_its_reason() -> Result<()> {
    let project = Project::start().await?;
    let token = project.coordinator.operator_token().to_owned();
    let check = async |spec: &proto::job::JobSpec, code: Code, expected: &str| {
        let status = project.submit(&token, spec).await.expect_err(expected);
        assert!(status.code() == code && status.message().contains(expected), "{status:?}");
    };
    let job = spec(vec![range(3)], 1);
    check(&job, Code::FailedPrecondition, "is not here: put it").await;
    let text = project.put(&token, b"this is no kernel").await?;
    check(&proto::job::JobSpec { kernel: text, ..job.clone() }, Code::InvalidArgument, "kernel:")
        .await;
    project.put(&token, KERNEL).await?;
    check(
        &proto::job::JobSpec { contract: 1, ..job.clone() },
        Code::InvalidArgument,
        "contract: 1 is not taken any more",
    )
    .await;
    check(
        &proto::job::JobSpec { copies: 0, ..job.clone() },
        Code::InvalidArgument,
        "copies: 0 is not allowed",
    )
    .await;
    let lines = b"{\"a\":1}\nnot json\n";
    let digest = project.put(&token, lines).await?;
    let lined = |count| spec(vec![Axis::Lines { digest, len: lines.len() as u64, count }], 1);
    check(&lined(2), Code::InvalidArgument, "line 2 of the file of lines").await;
    let lines = b"{\"a\":1}\n{\"a\":2}\n";
    let digest = project.put(&token, lines).await?;
    let lined = |count| spec(vec![Axis::Lines { digest, len: lines.len() as u64, count }], 1);
    check(&lined(3), Code::InvalidArgument, "has 2 lines, the job says 3").await;
    assert_eq!(project.submit(&token, &lined(2)).await?.units, 2);
    Ok(())
}

#[tokio::test]
async fn lines_travel_with_their_leases() -> Result<()> {
    let project = Project::start().await?;
    let token = project.coordinator.operator_token();
    project.put(token, KERNEL).await?;
    let lines: String = (0..2_500).map(|line| format!("{{\"n\":{line}}}\r\n")).collect();
    let digest = project.put(token, lines.as_bytes()).await?;
    let spec = spec(vec![Axis::Lines { digest, len: lines.len() as u64, count: 2_500 }], 1);
    project.submit(token, &spec).await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let mut seen = 0;
    while seen < 2_500 {
        let leases = worker.lease(1_000).await?;
        for lease in &leases {
            assert_eq!(lease.extras.len(), lease.count as usize);
            for (unit, extra) in (lease.first..).zip(&lease.extras) {
                assert_eq!(extra.line, format!("{{\"n\":{unit}}}"));
                seen += 1;
            }
        }
        let signed = worker.batch(&spec, &leases, inline);
        worker.report(signed).await?;
    }
    Ok(())
}

#[tokio::test]
async fn submitting_again_with_the_same_id_gives_the_same_job() -> Result<()> {
    let project = Project::start().await?;
    let (job, spec) = project.job(5, 1).await?;
    let again = project.submit(project.coordinator.operator_token(), &spec).await?;
    assert_eq!(again.job_id, job.job_id);
    Ok(())
}

#[tokio::test]
async fn calls_need_a_token_and_researchers_see_their_own_jobs() -> Result<()> {
    let project = Project::start().await?;
    let (ada, bob) = (
        project.token("ada", Role::Researcher).await?,
        project.token("bob", Role::Researcher).await?,
    );
    let channel = project.channel().await?;
    let mut jobs = JobsClient::new(channel.clone());
    let mut admin = pb::admin_client::AdminClient::new(channel);
    project.put(&ada, KERNEL).await?;
    let job = project.submit(&ada, &spec(vec![range(3)], 1)).await?;
    assert_eq!(job.account, "ada");
    let ask = pb::JobRequest { job_id: job.job_id };
    let worker = Worker::connect(&project, 1, 1).await?;
    let code = |outcome: Result<_, tonic::Status>| {
        outcome.map(|_: tonic::Response<pb::JobStatus>| ()).unwrap_err().code()
    };
    assert_eq!(code(jobs.get(ask).await), Code::Unauthenticated);
    assert_eq!(code(jobs.get(bearer("st-wrong", ask)).await), Code::Unauthenticated);
    assert_eq!(code(jobs.get(bearer(&worker.session_token, ask)).await), Code::PermissionDenied);
    // The same as of one that is not there.
    let cancel = pb::CancelRequest { job_id: job.job_id, outputs: false };
    assert_eq!(code(jobs.get(bearer(&bob, ask)).await), Code::NotFound);
    assert_eq!(code(jobs.cancel(bearer(&bob, cancel)).await), Code::NotFound);
    assert_eq!(code(jobs.get(bearer(&ada, pb::JobRequest { job_id: 99 })).await), Code::NotFound);
    assert!(jobs.get(bearer(&ada, ask)).await.is_ok());
    assert!(jobs.get(project.operator(ask)).await.is_ok());
    let list = pb::ListRequest { after_job_id: 0, count_max: 10 };
    assert_eq!(jobs.list(bearer(&bob, list)).await?.into_inner().jobs.len(), 0);
    assert_eq!(jobs.list(bearer(&ada, list)).await?.into_inner().jobs.len(), 1);
    let refused = admin.status(bearer(&ada, pb::StatusRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let cancelled = jobs.cancel(bearer(&ada, cancel)).await?.into_inner();
    assert_eq!(cancelled.state(), pb::job_status::State::Cancelled);
    let why = jobs
        .why(bearer(&ada, pb::WhyRequest { job_id: job.job_id, unit: None }))
        .await?
        .into_inner();
    assert!(!why.reasons.is_empty());
    Ok(())
}

/// Whatever is asked of another's job is answered as if there were none of that number.
#[tokio::test]
async fn another_s_job_is_as_if_it_were_not_there() -> Result<()> {
    let project = Project::start().await?;
    let ada = project.token("ada", Role::Researcher).await?;
    let bob = project.token("bob", Role::Researcher).await?;
    project.put(&ada, KERNEL).await?;
    let hers = project.submit(&ada, &spec(vec![range(3)], 1)).await?.job_id;
    let channel = project.channel().await?;
    let mut jobs = JobsClient::new(channel.clone());
    let mut log = pb::log_client::LogClient::new(channel);
    let nobodys = 99;
    let mut answers = Vec::new();
    for job_id in [hers, nobodys] {
        let (job, unit) = (pb::JobRequest { job_id }, pb::UnitRequest { job_id, unit: 0 });
        let cancel = pb::CancelRequest { job_id, outputs: true };
        let fetch = pb::FetchRequest { job_id, ..Default::default() };
        let logs = pb::LogsRequest { job_id, unit: None, follow: false };
        let refusals = [
            jobs.get(bearer(&bob, job)).await.err(),
            jobs.watch(bearer(&bob, job)).await.err(),
            jobs.cancel(bearer(&bob, cancel)).await.err(),
            jobs.fetch(bearer(&bob, fetch)).await.err(),
            jobs.logs(bearer(&bob, logs)).await.err(),
            jobs.evidence(bearer(&bob, pb::EvidenceRequest { job_id, number: 0 })).await.err(),
            jobs.why(bearer(&bob, pb::WhyRequest { job_id, unit: None })).await.err(),
            jobs.receipt(bearer(&bob, unit)).await.err(),
            jobs.spec(bearer(&bob, job)).await.err(),
            log.locate(bearer(&bob, unit)).await.err(),
        ];
        let name = proto::JobId(job_id).to_string();
        answers.push(refusals.map(|refusal| {
            let refusal = refusal.expect("it is refused");
            assert_eq!(refusal.code(), Code::NotFound, "{refusal}");
            refusal.message().replace(&name, "")
        }));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(project.coordinator.engine().job(proto::JobId(hers)).await?.unwrap().settled, 0);
    Ok(())
}
