//! The operator's calls, and the operator's command.

use super::support::{PROGRAM, Project, Worker, bearer};
use anyhow::{Context, Result, ensure};
use proto::pb;
use proto::pb::admin_client::AdminClient;
use proto::pb::issue_token_request::Role;
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

/// Runs the command on a folder; its exit code and what it printed as JSON.
async fn command(data: &Path, words: &str) -> Result<(i32, Value, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling-coordinator"));
    command.arg("--data").arg(data).args(["--output", "json"]).args(words.split(' '));
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output()).await??;
    let printed = serde_json::from_slice(&stdout).unwrap_or(Value::Null);
    Ok((status.code().context("killed")?, printed, String::from_utf8_lossy(&stderr).into_owned()))
}

#[tokio::test]
async fn tokens_work_until_they_are_revoked() -> Result<()> {
    let project = Project::start().await?;
    let token = project.token("grace", Role::Operator).await?;
    let mut admin = AdminClient::new(project.channel().await?);
    let tokens = admin.tokens(bearer(&token, pb::TokensRequest {})).await?.into_inner().tokens;
    assert_eq!(
        (tokens.len(), tokens[0].account.as_str(), tokens[0].role()),
        (1, "grace", Role::Operator)
    );
    let revoke = pb::RevokeTokenRequest { token_id: tokens[0].token_id.clone() };
    admin.revoke_token(project.operator(revoke.clone())).await?;
    assert_eq!(
        admin.status(bearer(&token, pb::StatusRequest {})).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    assert_eq!(
        admin.revoke_token(project.operator(revoke)).await.unwrap_err().code(),
        Code::NotFound
    );
    for name in ["", "two\nlines", &"x".repeat(1_000)] {
        let request = pb::IssueTokenRequest {
            account: name.into(),
            role: Role::Researcher.into(),
            accounts: 0,
        };
        assert_eq!(
            admin.issue_token(project.operator(request)).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_command_asks_the_running_coordinator() -> Result<()> {
    let project = Project::start().await?;
    let _worker = Worker::connect(&project, 1, 1).await?;
    let data = super::support::data(&project.dir);
    let (code, status, _) = command(&data, "status --workers").await?;
    assert_eq!((code, &status["workers_connected"]), (0, &Value::from(1)));
    assert_eq!(status["join"], project.coordinator.join().to_string());
    assert_eq!(
        (&status["workers"][0]["name"], &status["workers"][0]["connected"]),
        (&"machine".into(), &true.into())
    );
    let (code, issued, _) = command(&data, "token issue ada").await?;
    assert_eq!(code, 0);
    let token = issued["token"].as_str().context("a token")?;
    let list = pb::ListRequest { after_job_id: 0, count_max: 0 };
    pb::jobs_client::JobsClient::new(project.channel().await?).list(bearer(token, list)).await?;
    let (_, listed, _) = command(&data, "token list").await?;
    assert_eq!(listed["tokens"][0]["account"], "ada");
    let id = listed["tokens"][0]["token_id"].as_str().context("an id")?;
    assert_eq!(command(&data, &format!("token revoke {id}")).await?.0, 0);
    let (code, _, said) = command(&data, &format!("token revoke {id}")).await?;
    ensure!(code == 4 && said.contains("there is no token"), "{code}: {said}");
    let (code, _, said) = command(&data, "check").await?;
    ensure!(code == 1 && said.contains("another process runs on"), "{code}: {said}");
    let dir = project.stop().await;
    let (code, _, said) = command(&super::support::data(&dir), "status").await?;
    ensure!(code == 3 && said.contains("no coordinator runs"), "{code}: {said}");
    assert_eq!(command(&super::support::data(&dir), "check").await?.0, 0);
    Ok(())
}

/// What a collector is told.
async fn collected(address: std::net::SocketAddr) -> Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn collectors_are_told_the_numbers() -> Result<()> {
    let project =
        Project::start_with(|config| config.metrics = Some(([127, 0, 0, 1], 0).into())).await?;
    let address = project.coordinator.metrics_addr().context("an address")?;
    let token = project.coordinator.operator_token();
    let content = [7; 1_000];
    let digest = project.put(token, &content).await?;
    for (offset, len) in [(0, 0), (200, 500)] {
        super::blobs::get(&project, token, digest, offset, len).await?;
    }
    let told = command(&super::support::data(&project.dir), "status").await?.1;
    let given =
        serde_json::json!({"digest": digest.to_string(), "len": 1_000, "given_bytes": 1_500});
    ensure!(
        told["blob_bytes_given"] == 1_500 && told["given_most"] == Value::from([given]),
        "{told}"
    );
    let of_blob =
        format!("blob_given_most_bytes_total{{blob=\"{}\"}} 1500", &digest.to_string()[..8]);
    let wanted = ["workers_connected 0", "trouble 0", "blob_given_bytes_total 1500", &of_blob];
    let all_told = async {
        loop {
            let text = collected(address).await?;
            let told = |line: &&str| text.contains(&format!("\nstarling_coordinator_{line}\n"));
            if wanted.iter().all(told) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(super::support::PATIENCE, all_told).await??;
    let taken = coordinator::Config {
        metrics: Some(address),
        ..coordinator::Config::new(project.dir.path().join("other"), PROGRAM)
    };
    let error = coordinator::Coordinator::start(taken).await.err().context("it is taken")?;
    ensure!(error.to_string().contains("--metrics"), "{error}");
    project.stop().await;
    Ok(())
}

#[tokio::test]
async fn init_is_done_once_and_run_prints_the_same_project() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("p");
    let (_, first, _) = command(&data, "init --advertise example.org:7700").await?;
    let (_, second, _) = command(&data, "init --advertise example.org:7700").await?;
    assert!(
        first["join"]
            .as_str()
            .context("a join string")?
            .starts_with("starling://example.org:7700/")
    );
    assert_eq!(first, second);
    let config = coordinator::Config {
        advertise: Some("example.org:7700".into()),
        ..coordinator::Config::new(&data, PROGRAM)
    };
    let running = coordinator::Coordinator::start(config).await?;
    assert_eq!(running.join().to_string(), first["join"].as_str().unwrap_or_default());
    running.shutdown(super::support::PATIENCE).await;
    assert_eq!(command(&dir.path().join("nothing"), "check").await?.0, 1);
    Ok(())
}

/// Runs the command with its standard output led elsewhere; its exit code and what it complained of.
async fn command_to(data: &Path, words: &str, to: Stdio) -> Result<(i32, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling-coordinator"));
    command.arg("--data").arg(data).args(words.split(' ')).stdout(to).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.spawn()?.wait_with_output()).await??;
    Ok((output.status.code().context("killed")?, String::from_utf8(output.stderr)?))
}

/// A standard output on which there is no room.
fn full() -> Result<Stdio> {
    Ok(File::options().write(true).open("/dev/full")?.into())
}

/// A standard output that nobody reads.
fn closed() -> Result<Stdio> {
    Ok(std::io::pipe()?.1.into())
}

#[tokio::test]
async fn what_cannot_be_printed_is_not_lost() -> Result<()> {
    let project = Project::start().await?;
    let data = super::support::data(&project.dir);
    for words in ["status", "status --workers", "token list", "backup one", "--help", "--version"] {
        let (code, said) = command_to(&data, words, full()?).await?;
        ensure!(
            code == 1 && said.contains("could not write to standard output"),
            "{words}: {said}"
        );
        ensure!(said.contains("No space left"), "{words}: {said}");
        let (code, said) = command_to(&data, &words.replace("one", "two"), closed()?).await?;
        ensure!((code, said.as_str()) == (0, ""), "{words}: {code} {said}");
    }
    let (_, said) = command_to(&data, "backup three", full()?).await?;
    ensure!(said.contains("backups/three") && data.join("backups/three").is_dir(), "{said}");
    for to in [full()?, closed()?] {
        let (code, said) = command_to(&data, "token issue ada", to).await?;
        ensure!(code == 1 && said.contains("it is revoked again"), "{code}: {said}");
    }
    let (_, listed, _) = command(&data, "token list").await?;
    ensure!(listed["tokens"].as_array().is_some_and(Vec::is_empty), "{listed}");
    let dir = project.stop().await;
    let data = super::support::data(&dir);
    for words in ["init", "check"] {
        let (code, said) = command_to(&data, words, full()?).await?;
        ensure!(code == 1 && said.contains("this is what it did not take"), "{words}: {said}");
        let (code, said) = command_to(&data, words, closed()?).await?;
        ensure!((code, said.as_str()) == (0, ""), "{words}: {code} {said}");
    }
    let (code, said) = command_to(&data, "run --listen 127.0.0.1:0", full()?).await?;
    ensure!(code == 1 && said.contains("starling-worker join"), "{code}: {said}");
    Ok(())
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_told_with_the_way_out() -> Result<()> {
    for words in ["init", "run --listen 127.0.0.1:0"] {
        let (code, said) = command_to(Path::new("/dev/null/grid"), words, Stdio::null()).await?;
        ensure!(code == 1 && said.contains("--data DIR"), "{words}: {said}");
        ensure!(said.contains("STARLING_COORDINATOR_DATA"), "{words}: {said}");
    }
    Ok(())
}
