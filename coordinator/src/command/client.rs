//! Commands that ask the running coordinator, with the operator's token from the folder.

use super::{Failure, Output, Role, Token};
use crate::project;
use bytesize::ByteSize;
use client::bearer::Bearer;
use program::error::chain;
use program::stdout::Trouble;
use proto::pb::{self, admin_client::AdminClient, issue_token_request};
use proto::{AccountKey, Digest, WorkerKey};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// Workers asked for at once.
const PAGE_WORKERS: u32 = 1_000;

type Admin = AdminClient<InterceptedService<Channel, Bearer>>;

/// Connects to the coordinator that runs on `data`, and lets `ask` ask it.
fn with_admin<T>(
    data: &Path,
    ask: impl AsyncFnOnce(Admin) -> Result<T, Status>,
) -> Result<T, Failure> {
    let (join, token) = project::running(data).map_err(|error| match error {
        project::Error::Idle(_) => Failure::Unreachable(error.to_string()),
        error => Failure::failed(&error),
    })?;
    let bearer = Bearer::new(&token).map_err(|_| {
        Failure::Failed("the operator's token is damaged: remove operator.token and start the coordinator again".into())
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(&error))?;
    runtime.block_on(async {
        let channel = client::tls::connect(&join).await.map_err(|error| {
            Failure::Unreachable(format!(
                "the coordinator at {} does not answer ({}): is it running? start it with {}",
                join.address,
                chain(&error),
                super::typed(data, "run")
            ))
        })?;
        ask(AdminClient::with_interceptor(channel, bearer)).await.map_err(|status| {
            match status.code() {
                tonic::Code::Unavailable => Failure::Unreachable(status.message().to_owned()),
                _ => Failure::Refused(status.message().to_owned()),
            }
        })
    })
}

pub(super) fn token(data: &Path, token: Token, output: &Output) -> Result<(), Failure> {
    match token {
        Token::Issue { account, role, accounts } => issue(data, account, role, accounts, output),
        Token::List => list(data, output),
        Token::Revoke { id } => {
            let request = pb::RevokeTokenRequest { token_id: id.clone() };
            with_admin(data, async |mut admin| admin.revoke_token(request).await)?;
            output.result(&format!("Token {id} is revoked."), &json!({ "revoked": id }))
        }
    }
}

fn issue(
    data: &Path,
    account: String,
    role: Role,
    accounts: u32,
    output: &Output,
) -> Result<(), Failure> {
    let asked = match role {
        Role::Researcher => issue_token_request::Role::Researcher,
        Role::Operator => issue_token_request::Role::Operator,
        Role::Volunteer => issue_token_request::Role::Volunteer,
    };
    let request = pb::IssueTokenRequest { account, role: asked.into(), accounts };
    let (reply, join) = with_admin(data, async |mut admin| {
        let join = admin.status(pb::StatusRequest {}).await?.into_inner().join;
        Ok((admin.issue_token(request).await?.into_inner(), join))
    })?;
    let mut json = json!({ "token": reply.token, "token_id": reply.token_id });
    let secret = match role {
        Role::Researcher | Role::Operator => reply.token,
        Role::Volunteer => {
            json["join"] = format!("{join}/{}", reply.token).into();
            format!("{join}/{}", reply.token)
        }
    };
    let text = format!("{secret}\n\nIt is shown only now; its id is {}.", reply.token_id);
    let written = output.secret(&text, &json);
    written.map_err(|trouble| not_handed_out(data, reply.token_id, &trouble))
}

/// A token that nobody has read is of use to nobody: it is revoked again.
fn not_handed_out(data: &Path, token_id: String, trouble: &Trouble) -> Failure {
    let request = pb::RevokeTokenRequest { token_id: token_id.clone() };
    match with_admin(data, async |mut admin| admin.revoke_token(request).await) {
        Ok(_) => Failure::Failed(format!(
            "the token was not handed out ({trouble}): it is revoked again, issue another one"
        )),
        Err(_) => Failure::Failed(format!(
            "the token was not handed out ({trouble}), and could not be revoked: {}",
            super::typed(data, &format!("token revoke {token_id}"))
        )),
    }
}

fn role_name(token: &pb::Token) -> &'static str {
    match token.role() {
        issue_token_request::Role::Operator => "operator",
        issue_token_request::Role::Researcher => "researcher",
        issue_token_request::Role::Volunteer => "volunteer",
        issue_token_request::Role::Unspecified => "of a newer release",
    }
}

fn list(data: &Path, output: &Output) -> Result<(), Failure> {
    let tokens = with_admin(data, async |mut admin| admin.tokens(pb::TokensRequest {}).await)?
        .into_inner()
        .tokens;
    let mut text = format!("{:<14}{:<12}{:<22}account\n", "id", "role", "issued");
    let mut values = Vec::new();
    for token in &tokens {
        let (id, role, issued) = (&token.token_id, role_name(token), time(token.issued_at_ms));
        let invitation = token.role() == issue_token_request::Role::Volunteer;
        let left =
            if invitation { format!(" ({} to join yet)", token.accounts) } else { String::new() };
        writeln!(text, "{id:<14}{role:<12}{issued:<22}{}{left}", token.account)
            .expect("a string takes all");
        let mut value =
            json!({ "token_id": id, "role": role, "issued": issued, "account": token.account });
        if invitation {
            value["accounts"] = token.accounts.into();
        }
        values.push(value);
    }
    output
        .result(if tokens.is_empty() { "No tokens." } else { &text }, &json!({ "tokens": values }))
}

/// A moment of the wall clock, for people and programs alike.
fn time(ms: u64) -> String {
    let moment = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| "?".into(), |moment| moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

pub(super) fn status(data: &Path, workers: bool, output: &Output) -> Result<(), Failure> {
    let (status, workers) = with_admin(data, async |mut admin| {
        let status = admin.status(pb::StatusRequest {}).await?.into_inner();
        let workers = if workers { Some(all_workers(&mut admin).await?) } else { None };
        Ok((status, workers))
    })?;
    let mut text = status_text(&status);
    let mut value = status_value(&status);
    if let Some(workers) = workers {
        text.push_str(&workers_text(&workers));
        value["workers"] = workers.iter().map(worker_value).collect();
    }
    output.result(&text, &value)
}

async fn all_workers(admin: &mut Admin) -> Result<Vec<pb::WorkerStatus>, Status> {
    let mut workers: Vec<pb::WorkerStatus> = Vec::new();
    loop {
        let after_worker_key =
            workers.last().map(|worker| worker.worker_key.clone()).unwrap_or_default();
        let request = pb::WorkersRequest { after_worker_key, count_max: PAGE_WORKERS };
        let page = admin.workers(request).await?.into_inner().workers;
        if page.is_empty() {
            return Ok(workers);
        }
        workers.extend(page);
    }
}

fn status_text(status: &pb::StatusReply) -> String {
    let uptime = Duration::from_secs(status.uptime_ms / 1_000);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        writeln!(text, "{name:<10}{value}").expect("a string takes all")
    };
    line("running", format!("{}, for {}", status.software, humantime::format_duration(uptime)));
    line("join", status.join.clone());
    line(
        "workers",
        format!("{} connected, {} known", status.workers_connected, status.workers_known),
    );
    line("jobs", format!("{} running, {} known", status.jobs_running, status.jobs_known));
    line("units", format!("{} settled, {} lent now", status.units_settled, status.units_leased));
    line("credit", format!("{} fuel", status.credit));
    line(
        "disk",
        format!("{} records, {} blobs", ByteSize(status.store_bytes), ByteSize(status.blob_bytes)),
    );
    line("given", format!("{} of blobs since the start", ByteSize(status.blob_bytes_given)));
    for blob in &status.given_most {
        let copies = blob.given_bytes as f64 / blob.len.max(1) as f64;
        let digest = digest_text(&blob.digest);
        line("", format!("{copies:.2} copies of {digest} ({})", ByteSize(blob.len)));
    }
    let checks = format!("{} units in a row checked and right", status.crowd_checks);
    match status.referees {
        0 => line(
            "referees",
            "NONE: people with many keys who agree with themselves are believed. Run without --no-referee, or appoint a worker of \
             yours"
                .into(),
        ),
        referees => line("referees", format!("{referees} connected, {checks}")),
    }
    if !status.compile_walls.is_empty() {
        line("walls", format!("{} (where kernels are compiled)", status.compile_walls));
    }
    if !status.trouble.is_empty() {
        line("TROUBLE", status.trouble.clone());
    }
    text
}

fn status_value(status: &pb::StatusReply) -> Value {
    json!({
        "software": status.software,
        "uptime_ms": status.uptime_ms,
        "join": status.join,
        "workers_connected": status.workers_connected,
        "workers_known": status.workers_known,
        "jobs_running": status.jobs_running,
        "jobs_known": status.jobs_known,
        "units_settled": status.units_settled,
        "units_leased": status.units_leased,
        "credit": status.credit,
        "store_bytes": status.store_bytes,
        "blob_bytes": status.blob_bytes,
        "blob_bytes_given": status.blob_bytes_given,
        "given_most": status.given_most.iter().map(given_value).collect::<Vec<_>>(),
        "referees": status.referees,
        "crowd_checks": status.crowd_checks,
        "trouble": status.trouble,
        "compile_walls": status.compile_walls,
    })
}

fn given_value(blob: &pb::GivenBlob) -> Value {
    json!({
        "digest": digest_text(&blob.digest),
        "len": blob.len,
        "given_bytes": blob.given_bytes,
    })
}

fn digest_text(digest: &[u8]) -> String {
    Digest::try_from(digest).map_or_else(|_| "?".into(), |digest| digest.to_string())
}

fn key_text(key: &[u8]) -> String {
    WorkerKey::try_from(key).map_or_else(|_| "?".into(), |key| key.to_string())
}

fn workers_text(workers: &[pb::WorkerStatus]) -> String {
    let mut text = format!(
        "\n{:<14}{:<5}{:>8}{:>10}{:>9}{:>9}{:>9}  name\n",
        "worker", "here", "lent", "reported", "lost", "caught", "failed"
    );
    for worker in workers {
        let here = if worker.connected { "yes" } else { "no" };
        let key = key_text(&worker.worker_key);
        let name = format!("{} of {}", worker.name, worker.account_name);
        let referee = if worker.referee { " (referee)" } else { "" };
        writeln!(
            text,
            "{:<14}{here:<5}{:>8}{:>10}{:>9}{:>9}{:>9}  {name}{referee}",
            key.get(..12).unwrap_or(&key),
            worker.leased,
            worker.reported,
            worker.disagreed,
            worker.caught,
            worker.failures
        )
        .expect("a string takes all");
    }
    text
}

fn worker_value(worker: &pb::WorkerStatus) -> Value {
    json!({
        "worker": key_text(&worker.worker_key),
        "account": AccountKey::try_from(worker.account_key.as_ref()).map(|key| key.to_string()).unwrap_or_default(),
        "name": worker.name,
        "account_name": worker.account_name,
        "connected": worker.connected,
        "leased": worker.leased,
        "reported": worker.reported,
        "disagreed": worker.disagreed,
        "caught": worker.caught,
        "referee": worker.referee,
        "failures": worker.failures,
        "credit": worker.credit,
        "seen": time(worker.seen_at_ms),
    })
}

pub(super) fn referee(
    data: &Path,
    worker: WorkerKey,
    dismiss: bool,
    output: &Output,
) -> Result<(), Failure> {
    let request = pb::AppointRequest { worker_key: worker.0.to_vec().into(), appointed: !dismiss };
    with_admin(data, async |mut admin| admin.appoint(request).await)?;
    let text = if dismiss { "is no referee any more" } else { "is a referee now" };
    output.result(
        &format!("Worker {worker} {text}."),
        &json!({ "worker": worker.to_string(), "referee": !dismiss }),
    )
}

pub(super) fn backup(data: &Path, name: Option<String>, output: &Output) -> Result<(), Failure> {
    let name =
        name.unwrap_or_else(|| jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string());
    let made = with_admin(data, async |mut admin| admin.backup(pb::BackupRequest { name }).await)?
        .into_inner();
    let text = format!("{} ({}); copy it to another machine.", made.path, ByteSize(made.bytes));
    output.result(&text, &json!({ "path": made.path, "bytes": made.bytes }))
}
