//! The volunteer's stream.

use super::support::{PATIENCE, Project, Stranger, Worker, impatient, inline, key, next};
use anyhow::{Result, bail};
use proto::pb::coordinator_message::Kind as Said;
use proto::pb::refusal::Code;
use proto::pb::worker_message::Kind as Say;
use proto::report::Ack;
use proto::{pb, version};

async fn refused(project: &Project, change: impl FnOnce(&mut pb::Hello)) -> Result<pb::Refusal> {
    let mut stranger = Stranger::attach(project).await?;
    let mut hello = stranger.hello(&key(1), &key(2))?;
    change(&mut hello);
    stranger.say(Say::Hello(hello)).await?;
    stranger.refusal().await
}

#[tokio::test]
async fn units_are_lent_reported_and_settled() -> Result<()> {
    let project = Project::start().await?;
    let (job, spec) = project.job(100, 1).await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let mut reported = 0;
    while reported < 100 {
        reported += worker.work(&spec, 40).await?;
    }
    let status = project.coordinator.engine().job(proto::JobId(job.job_id)).await?.unwrap();
    assert_eq!((status.settled, status.credit), (100, (0..100).map(|unit| 1_000 + unit).sum()));
    Ok(())
}

#[tokio::test]
async fn another_major_version_is_refused_and_a_newer_minor_one_served() -> Result<()> {
    let project = Project::start().await?;
    for major in [0, version::MAJOR + 1] {
        let refusal =
            refused(&project, |hello| hello.version.as_mut().unwrap().major = major).await?;
        assert_eq!((refusal.code(), refusal.retry_after_ms), (Code::Version, 0));
        assert!(refusal.message.contains("install"), "{}", refusal.message);
    }
    let mut stranger = Stranger::attach(&project).await?;
    let mut hello = stranger.hello(&key(1), &key(1))?;
    hello.version.as_mut().unwrap().minor = 99;
    stranger.say(Say::Hello(hello)).await?;
    assert!(matches!(next(&mut stranger.said).await?, Some(Said::Welcome(_))));
    Ok(())
}

#[tokio::test]
async fn a_hello_with_a_wrong_signature_is_refused() -> Result<()> {
    let project = Project::start().await?;
    let changes: [fn(&mut pb::Hello); 4] = [
        |hello| hello.worker_signature = vec![0; 64].into(),
        |hello| hello.account_signature = vec![0; 64].into(),
        |hello| hello.worker_signature = vec![].into(),
        |hello| hello.account_key = proto::AccountKey::from(&key(9)).0.to_vec().into(),
    ];
    for change in changes {
        assert_eq!(refused(&project, change).await?.code(), Code::Signature);
    }
    assert_eq!(
        refused(&project, |hello| hello.worker_key = vec![1; 31].into()).await?.code(),
        Code::Malformed
    );
    Ok(())
}

#[tokio::test]
async fn who_does_not_say_hello_first_or_in_time_is_sent_away() -> Result<()> {
    let project = Project::start_with(|config| config.patience = impatient()).await?;
    let mut rude = Stranger::attach(&project).await?;
    rude.say(Say::Want(pb::Want::default())).await?;
    assert_eq!(rude.refusal().await?.code(), Code::Malformed);
    let mut stalled = Stranger::attach(&project).await?;
    let refusal = stalled.refusal().await?;
    assert!(
        refusal.message.contains("no Hello came in time") && 0 < refusal.retry_after_ms,
        "{refusal:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_worker_that_falls_silent_is_dropped() -> Result<()> {
    let project = Project::start_with(|config| config.patience = impatient()).await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let refusal = worker.refusal().await?;
    assert!(refusal.message.contains("nothing was heard"), "{refusal:?}");
    Ok(())
}

#[tokio::test]
async fn a_second_stream_of_a_worker_replaces_the_first() -> Result<()> {
    let project = Project::start().await?;
    let (_, spec) = project.job(10, 1).await?;
    let mut first = Worker::connect(&project, 1, 1).await?;
    let mut second = Worker::connect(&project, 1, 1).await?;
    assert_eq!(first.refusal().await?.code(), Code::Replaced);
    assert_eq!(second.work(&spec, 10).await?, 10);
    Ok(())
}

#[tokio::test]
async fn forged_batches_end_the_stream_and_change_nothing() -> Result<()> {
    let project = Project::start().await?;
    let (job, spec) = project.job(10, 1).await?;
    for forgery in 0..3 {
        let mut worker = Worker::connect(&project, 1, 1).await?;
        let mut other = Worker::connect(&project, 2, 2).await?;
        let leases = vec![pb::Lease {
            lease_id: 1,
            job_id: job.job_id,
            first: 0,
            count: 10,
            ..Default::default()
        }];
        let mut signed = worker.batch(&spec, &leases, inline);
        let expected = match forgery {
            0 => {
                signed.signature = vec![1; 64].into();
                Code::Signature
            }
            1 => {
                signed = other.batch(&spec, &leases, inline);
                Code::Signature
            }
            _ => {
                signed.payload = vec![9; 100].into();
                Code::Malformed
            }
        };
        worker.say(Say::Reports(signed)).await?;
        assert_eq!(worker.refusal().await?.code(), expected, "forgery {forgery}");
    }
    let status = project.coordinator.engine().job(proto::JobId(job.job_id)).await?.unwrap();
    assert_eq!((status.settled, status.copies), (0, 0));
    Ok(())
}

#[tokio::test]
async fn the_same_batch_again_counts_once() -> Result<()> {
    let project = Project::start().await?;
    let (job, spec) = project.job(10, 1).await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let leases = worker.lease(10).await?;
    let signed = worker.batch(&spec, &leases, inline);
    assert!(worker.report(signed.clone()).await?.iter().all(|ack| *ack == Ack::Accepted));
    assert!(
        worker
            .report(signed)
            .await?
            .iter()
            .all(|ack| matches!(ack, Ack::Duplicate | Ack::Accepted))
    );
    let status = project.coordinator.engine().job(proto::JobId(job.job_id)).await?.unwrap();
    assert_eq!((status.settled, status.credit), (10, (0..10).map(|unit| 1_000 + unit).sum()));
    Ok(())
}

#[tokio::test]
async fn an_oversized_message_ends_its_stream_only() -> Result<()> {
    let project = Project::start().await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let payload = vec![1; proto::bounds::MESSAGE_BYTES_MAX + 1].into();
    worker.say(Say::Reports(pb::SignedReports { payload, signature: vec![0; 64].into() })).await?;
    match next(&mut worker.said).await {
        Ok(Some(Said::Refusal(refusal))) => assert_eq!(refusal.code(), Code::Malformed),
        Ok(None) | Err(_) => {}
        Ok(other) => bail!("{other:?}"),
    }
    let mut again = Worker::connect(&project, 1, 1).await?;
    let (_, spec) = project.job(1, 1).await?;
    assert_eq!(again.work(&spec, 1).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_stop_is_told_to_workers() -> Result<()> {
    let project = Project::start().await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let told = async {
        let refusal = worker.refusal().await?;
        assert_eq!(refusal.code(), Code::ShuttingDown);
        assert!(0 < refusal.retry_after_ms);
        drop(worker);
        anyhow::Ok(())
    };
    let (told, _) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(told, project.stop()) }).await?;
    told
}
