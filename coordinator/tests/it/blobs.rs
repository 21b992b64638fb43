//! Content in and out.

use super::support::{KERNEL, Project, Worker, bearer, put, spec};
use anyhow::Result;
use proto::cut::Axis;
use proto::pb::admin_client::AdminClient;
use proto::pb::blobs_client::BlobsClient;
use proto::pb::issue_token_request::Role;
use proto::report::{Ack, Outcome, Output};
use proto::{Digest, pb};
use std::fs;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

fn content(len: usize) -> Vec<u8> {
    (0..=250).cycle().step_by(7).take(len).collect()
}

pub(super) async fn get(
    project: &Project,
    token: &str,
    digest: Digest,
    offset: u64,
    len: u64,
) -> Result<Vec<u8>, Status> {
    let channel = project.channel().await.map_err(|error| Status::unknown(error.to_string()))?;
    let request =
        pb::GetRequest { digest: digest.0.to_vec().into(), offset, len, ..Default::default() };
    let mut chunks = BlobsClient::new(channel).get(bearer(token, request)).await?.into_inner();
    let mut all = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        assert!(chunk.data.len() <= proto::bounds::CHUNK_BYTES_MAX);
        all.extend_from_slice(&chunk.data);
    }
    Ok(all)
}

/// Files below the folder of blobs that are not bookkeeping.
fn files(project: &Project) -> Vec<String> {
    fn walk(folder: &std::path::Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder of ours") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if !path.ends_with("owners.log") {
                found.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(&super::support::data(&project.dir).join("blobs"), &mut found);
    found
}

#[tokio::test]
async fn ranges_are_given_as_asked() -> Result<()> {
    let project = Project::start().await?;
    let token = project.coordinator.operator_token().to_owned();
    let content = content(1_000_000);
    let digest = project.put(&token, &content).await?;
    for (offset, len) in
        [(0, 0), (0, 1), (999_999, 5), (300_000, 600_000), (1_000_000, 0), (5, 262_144)]
    {
        let end = if len == 0 { 1_000_000 } else { 1_000_000.min(offset + len) };
        let expected = &content[usize::try_from(offset)?..usize::try_from(end)?];
        assert!(get(&project, &token, digest, offset, len).await? == expected, "{offset}+{len}");
    }
    assert_eq!(
        get(&project, &token, digest, 1_000_001, 1).await.unwrap_err().code(),
        Code::OutOfRange
    );
    assert_eq!(
        get(&project, &token, Digest([1; 32]), 0, 0).await.unwrap_err().code(),
        Code::NotFound
    );
    let empty = project.put(&token, b"").await?;
    assert_eq!(get(&project, &token, empty, 0, 0).await?, b"");
    let request = pb::HaveRequest { digests: vec![digest.0.to_vec().into(), vec![1; 32].into()] };
    let have = BlobsClient::new(project.channel().await?)
        .have(bearer(&token, request))
        .await?
        .into_inner()
        .have;
    assert_eq!(have, [true, false]);
    Ok(())
}

#[tokio::test]
async fn what_is_not_what_it_says_leaves_nothing() -> Result<()> {
    let project = Project::start().await?;
    let token = project.coordinator.operator_token().to_owned();
    let content = content(300_000);
    let check = async |digest: Digest, len: u64, code: Code| {
        let channel = project.channel().await.unwrap();
        assert_eq!(put(channel, &token, digest, len, &content).await.unwrap_err().code(), code);
        assert_eq!(files(&project), Vec::<String>::new());
    };
    check(Digest([3; 32]), 300_000, Code::DataLoss).await;
    check(Digest::of(&content), 299_999, Code::InvalidArgument).await;
    check(Digest::of(&content), 300_001, Code::InvalidArgument).await;
    check(Digest::of(&content), 1 << 50, Code::InvalidArgument).await;
    Ok(())
}

#[tokio::test]
async fn a_put_that_is_cut_or_stalls_leaves_nothing() -> Result<()> {
    let project =
        Project::start_with(|config| config.patience = super::support::impatient()).await?;
    let token = project.coordinator.operator_token().to_owned();
    for stall in [false, true] {
        let (messages, queue) = mpsc::channel(4);
        let request = bearer(&token, ReceiverStream::new(queue));
        let mut client = BlobsClient::new(project.channel().await?);
        let putting = async { client.put(request).await };
        let sending = async {
            let head = pb::PutRequest {
                digest: vec![5; 32].into(),
                len: 1 << 20,
                data: vec![1; 1000].into(),
            };
            messages.send(head).await.unwrap();
            if !stall {
                drop(messages);
            } else {
                std::future::pending::<()>().await;
            }
        };
        let status = tokio::select! {
            status = putting => status.unwrap_err(),
            () = async { sending.await; std::future::pending().await } => unreachable!(),
        };
        let expected = if stall { Code::DeadlineExceeded } else { Code::InvalidArgument };
        assert_eq!(status.code(), expected, "{status:?}");
        assert_eq!(files(&project), Vec::<String>::new());
    }
    Ok(())
}

#[tokio::test]
async fn an_account_has_a_quota() -> Result<()> {
    let project = Project::start_with(|config| config.account_bytes = 1_000).await?;
    let (ada, bob) = (
        project.token("ada", Role::Researcher).await?,
        project.token("bob", Role::Researcher).await?,
    );
    project.put(&ada, &content(900)).await?;
    let status = project.put(&ada, &content(101)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("\"ada\" has put 900 of the 1000 bytes"), "{status:?}");
    project.put(&bob, &content(101)).await?;
    // What one has put already costs nothing, and what others have put as much as if it were not here.
    project.put(&ada, &content(900)).await?;
    let status = project.put(&ada, &content(101)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_told() -> Result<()> {
    let project = Project::start_with(|config| config.reserve_bytes = u64::MAX / 2).await?;
    let status = project.put(project.coordinator.operator_token(), b"x").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("disk is full"), "{status:?}");
    assert_eq!(files(&project), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn workers_get_what_jobs_name_and_put_outputs() -> Result<()> {
    let project = Project::start().await?;
    let (_, job) = project.job(1, 1).await?;
    let secret = project.put(project.coordinator.operator_token(), b"not of any job").await?;
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let token = worker.session_token.clone();
    assert_eq!(get(&project, &token, Digest::of(KERNEL), 0, 0).await?, KERNEL);
    assert_eq!(
        get(&project, &token, secret, 0, 0).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    assert_eq!(get(&project, "", secret, 0, 0).await.unwrap_err().code(), Code::Unauthenticated);
    let leases = worker.lease(1).await?;
    let output = content(5_000);
    let outcome = |_| Outcome::Done(Output::Blob { digest: Digest::of(&output), len: 5_000 });
    let early = worker.batch(&job, &leases, outcome);
    assert_eq!(worker.report(early).await?, [Ack::OutputMissing]);
    let too_large = content(usize::try_from(job.limits.output_bytes)? + 1);
    assert_eq!(project.put(&token, &too_large).await.unwrap_err().code(), Code::InvalidArgument);
    project.put(&token, &output).await?;
    let late = worker.batch(&job, &leases, outcome);
    assert_eq!(worker.report(late).await?, [Ack::Accepted]);
    drop(worker);
    let again = spec(vec![], 1);
    let status = project.submit(&token, &again).await.unwrap_err();
    assert!(matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn workers_get_what_a_list_of_files_names() -> Result<()> {
    let project = Project::start().await?;
    let operator = project.coordinator.operator_token();
    project.put(operator, KERNEL).await?;
    let mut lines = String::new();
    for number in 0..300_u32 {
        let content = number.to_le_bytes();
        let digest = project.put(operator, &content).await?;
        let file = proto::job::Input { name: format!("{number}.dat"), digest, len: 4 };
        lines += &serde_json::to_string(&file)?;
        lines += "\n";
    }
    let secret = project.put(operator, b"not of any job").await?;
    let list = project.put(operator, lines.as_bytes()).await?;
    let axis = |count| Axis::Listed { digest: list, len: lines.len() as u64, count };
    let status = project.submit(operator, &spec(vec![axis(299)], 1)).await.unwrap_err();
    assert!(status.message().contains("has 300 lines, the job says 299"), "{status:?}");
    let mut worker = Worker::connect(&project, 1, 1).await?;
    let token = worker.session_token.clone();
    let wanted = Digest::of(&17_u32.to_le_bytes());
    let early = get(&project, &token, wanted, 0, 0).await.unwrap_err();
    assert_eq!(early.code(), Code::PermissionDenied);
    let job = spec(vec![axis(300)], 1);
    project.submit(operator, &job).await?;
    for number in [0_u32, 17, 299] {
        let content = number.to_le_bytes();
        assert_eq!(get(&project, &token, Digest::of(&content), 0, 0).await?, content);
    }
    let refused = get(&project, &token, secret, 0, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    for lease in worker.lease(300).await? {
        for (unit, extra) in (lease.first..).zip(&lease.extras) {
            let file = proto::cut::listed(&extra.line)?;
            assert_eq!(file.digest, Digest::of(&u32::try_from(unit)?.to_le_bytes()));
        }
    }
    Ok(())
}

/// The list of a blob's pieces, and the blob's length.
async fn list(project: &Project, token: &str, digest: Digest) -> Result<(Vec<u8>, u64), Status> {
    let request = pb::PiecesRequest { digest: digest.0.to_vec().into() };
    let channel = project.channel().await.map_err(|error| Status::unknown(error.to_string()))?;
    let mut stream = BlobsClient::new(channel).pieces(bearer(token, request)).await?.into_inner();
    let (mut list, mut len) = (Vec::new(), 0);
    while let Some(chunk) = stream.message().await? {
        list.extend_from_slice(&chunk.data);
        len = chunk.total_len;
    }
    Ok((list, len))
}

#[tokio::test]
async fn pieces_are_checked_one_by_one_and_given_so_often() -> Result<()> {
    let project = Project::start().await?;
    let token = project.coordinator.operator_token().to_owned();
    let content = content(1_000_000);
    let digest = project.put(&token, &content).await?;
    for _ in 0..2 {
        let (list, len) = list(&project, &token, digest).await?;
        let pieces = proto::pieces::Pieces::parse(digest, len, &list)?;
        for index in 0..pieces.cut().n_pieces() {
            let range = pieces.cut().range(index);
            let piece = get(&project, &token, digest, range.start, range.end - range.start).await?;
            assert!(pieces.is_piece(index, &piece));
        }
        // A damaged list is made anew.
        let kept = super::support::data(&project.dir).join("blobs/pieces").join(digest.to_string());
        fs::write(kept, b"damaged")?;
    }
    assert_eq!(
        list(&project, &token, Digest::of(b"other")).await.unwrap_err().code(),
        Code::NotFound
    );
    let piece = |last_resort| pb::GetRequest {
        digest: digest.0.to_vec().into(),
        len: 500_000,
        sparing: true,
        last_resort,
        ..Default::default()
    };
    let mut client = BlobsClient::new(project.channel().await?);
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(client.get(bearer(&token, piece(false))).await.map(drop));
    }
    assert!(answers[..3].iter().all(Result::is_ok), "a copy and a half");
    let refusal = answers[3].as_ref().unwrap_err();
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    assert!(refusal.message().contains("ask your peers"), "{refusal:?}");
    client.get(bearer(&token, piece(true))).await?;
    let mut admin = AdminClient::new(project.channel().await?);
    let status = admin.status(project.operator(pb::StatusRequest {})).await?.into_inner();
    let given = status.blob_bytes_given;
    assert!(2 * 1_000_000 < given, "{given} bytes: two copies of pieces, and the lists");
    Ok(())
}
