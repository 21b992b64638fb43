//! `starling submit`: brings a job to the coordinator, once, however often the connection breaks on the way.

use super::view::{View, line};
use super::{Context, fetch, watch};
use crate::args::Submit;
use crate::client::Client;
use crate::error::Error;
use crate::output::Output;
use crate::profile::write_private;
use crate::upload;
use program::shell::word;
use proto::job::JobSpec;
use proto::{Digest, JobId, pb, text};
use serde_json::json;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub(super) async fn run(args: Submit, context: &Context) -> Result<(), Error> {
    let job = args.job.read(context.output)?;
    let to = args.to.or_else(|| args.job.is_sky_search().then(|| PathBuf::from("result.sah")));
    if let Some(to) = &to {
        can_have(&job.spec, to)?;
    }
    let client = context.connect().await?;
    upload::upload(&client, &job.blobs, context.output).await?;
    let pending = Pending::of(&job.spec, &client, context)?;
    let status = submit(&client, &job.spec, pending.id(context.output)?).await?;
    pending.done()?;
    for warning in &status.warnings {
        context.output.note(&format!("note: {}", text::printable(warning)));
    }
    let id = JobId(status.job_id);
    if !args.watch && to.is_none() {
        context.output.answer(&View::from(&status), || {
            format!(
                "submitted {}\nnext: starling watch {id}, then starling fetch {id}",
                line(&status)
            )
        })?;
        return Ok(());
    }
    context
        .output
        .say(&format!("submitted {id}, {} units; it goes on if you stop watching", status.units))?;
    let status = watch::follow(&client, id, context.output).await?;
    let Some(to) = to else {
        context.output.say(&format!("next: starling fetch {id}"))?;
        return watch::end(&status);
    };
    watch::end(&status)?;
    let folder = to.with_file_name(id.to_string());
    let fetched =
        fetch::all(client, &status, folder.clone(), (true, false), context.output).await?;
    let merged = fetched
        .merged
        .ok_or_else(|| Error::Failed(format!("{id} has ended without a merged output")))?;
    fs::copy(folder.join(merged), &to).map_err(Error::file("write", &to))?;
    let answer = json!({
        "job": id.to_string(), "result": to, "folder": folder, "units": status.units, "fuel": status.fuel,
    });
    context.output.answer(&answer, || {
        format!(
            "{} written; every unit with its receipt is in {} (starling verify {})",
            to.display(),
            folder.display(),
            word(&folder)
        )
    })?;
    Ok(())
}

/// Refuses before anything is computed what could not be written afterwards.
fn can_have(spec: &JobSpec, to: &Path) -> Result<(), Error> {
    if spec.merge.is_none() {
        return Err(Error::Usage(
            "--to takes the merged output, and the job merges nothing: give it a [merge]".into(),
        ));
    }
    if to.exists() {
        return Err(Error::Usage(format!(
            "{} exists already: move it away, or name another file with --to",
            to.display()
        )));
    }
    Ok(())
}

/// Submits a specification whose content is at the coordinator.
pub(super) async fn submit(
    client: &Client,
    spec: &JobSpec,
    submission_id: [u8; 16],
) -> Result<pb::JobStatus, Error> {
    let request = pb::SubmitRequest {
        spec: spec.encode().into(),
        submission_id: submission_id.to_vec().into(),
    };
    let jobs = client.jobs();
    client
        .call("take the job", || {
            let (mut jobs, request) = (jobs.clone(), request.clone());
            async move { jobs.submit(request).await }
        })
        .await
}

/// The id of a submission that may or may not have arrived: kept in a file until there is an answer, so that the same
/// command after a crash gives the same job.
struct Pending(PathBuf);

impl Pending {
    fn of(spec: &JobSpec, client: &Client, context: &Context) -> Result<Self, Error> {
        let what = [client.profile.join.to_string().into_bytes(), spec.encode()].concat();
        let folder = context.profile_path()?.with_extension("pending");
        Ok(Self(folder.join(Digest::of(&what).to_string())))
    }

    fn id(&self, output: Output) -> Result<[u8; 16], Error> {
        if let Some(id) = fs::read(&self.0).ok().and_then(|bytes| bytes.try_into().ok()) {
            return Ok(id);
        }
        let id: [u8; 16] = rand::random();
        if let Err(error) = write_private(&self.0, &id) {
            let why = error.chain();
            output.note(&format!("{why}: should this end before there is an answer, look with starling jobs before you submit again"));
        }
        Ok(id)
    }

    fn done(&self) -> Result<(), Error> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::file("remove", &self.0)(error))
            }
            _ => Ok(()),
        }
    }
}
