//! `starling login`: remembers the coordinator and the token, after trying them.

use proto::pb;
use serde_json::json;

use super::Context;
use crate::args::Login;
use crate::client::Client;
use crate::error::Error;
use crate::profile::Profile;

pub(super) async fn run(args: Login, context: &Context) -> Result<(), Error> {
    let profile = Profile { join: args.join, token: args.token };
    let client = Client::connect(profile.clone()).await?;
    let (jobs, request) = (client.jobs(), pb::ListRequest { after_job_id: 0, count_max: 1 });
    client
        .call("log you in", || {
            let mut jobs = jobs.clone();
            async move { jobs.list(request).await }
        })
        .await?;
    let path = context.profile_path()?;
    profile.save(&path)?;
    let (address, project) = (&profile.join.address, profile.join.project);
    context.output.answer(&json!({ "address": address, "project": project, "profile": path }), || {
        format!("logged in at {address} (kept in {}, which only you can read)\nnext: starling submit job.toml --watch", path.display())
    });
    Ok(())
}
