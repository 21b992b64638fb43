//! `starling login`: remembers the coordinator and the token, after trying them.

use super::Context;
use crate::args::Login;
use crate::client::Client;
use crate::error::Error;
use crate::output::Output;
use crate::profile::Profile;
use proto::pb;
use serde_json::json;
use std::io::{IsTerminal, Read, stdin};

/// The variable that may hold the token.
const VARIABLE: &str = "STARLING_TOKEN";
/// Of standard input, what is read, bytes: many times a token.
const INPUT_BYTES_MAX: u64 = 4096;

pub(super) async fn run(args: Login, context: &Context) -> Result<(), Error> {
    let path = context.profile_path()?;
    let profile = Profile { join: args.join, token: token(args.token, context.output)? };
    let client = Client::connect(profile.clone()).await?;
    let (jobs, request) = (client.jobs(), pb::ListRequest { after_job_id: 0, count_max: 1 });
    client
        .call("log you in", || {
            let mut jobs = jobs.clone();
            async move { jobs.list(request).await }
        })
        .await?;
    profile.save(&path).map_err(|error| {
        Error::Failed(format!(
            "{}: name a file that you may write with --profile FILE, or in the variable STARLING_PROFILE",
            error.chain()
        ))
    })?;
    let (address, project) = (&profile.join.address, profile.join.project);
    context.output.answer(&json!({ "address": address, "project": project, "profile": path }), || {
        format!("logged in at {address} (kept in {}, which only you can read)\nnext: starling submit job.toml --watch", path.display())
    })
}

/// The token, from where it is least seen.
fn token(argument: Option<String>, output: Output) -> Result<String, Error> {
    let token = match argument {
        Some(dash) if dash == "-" => read()?,
        Some(token) => {
            output.note(
                "the token stands in this machine's list of processes while this runs, and in your shell's history: leave --token away, and it is asked for",
            );
            token
        }
        None => match std::env::var(VARIABLE) {
            Ok(token) => token,
            Err(_) if stdin().is_terminal() => ask()?,
            Err(_) => read()?,
        },
    };
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message =
            "that is no token: it is one word, as starling-coordinator token issue printed it";
        return Err(Error::Usage(message.into()));
    }
    Ok(token.to_owned())
}

fn ask() -> Result<String, Error> {
    rpassword::prompt_password("token (not shown): ")
        .map_err(|error| Error::Failed(format!("could not ask for the token: {error}")))
}

/// The first line of standard input.
fn read() -> Result<String, Error> {
    let mut text = String::new();
    let read = stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Error::Failed(format!("could not read the token: {error}")))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
