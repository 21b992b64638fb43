//! `starling evidence`: the proofs that reports of a job were wrong, each a file with all that is needed to run the
//! segment in question again.

use super::view::counted;
use super::{Context, fetch, verify};
use crate::args;
use crate::client::Client;
use crate::error::Error;
use crate::local::{self, Local};
use crate::shown::{self, EvidenceFile};
use program::error::chain;
use program::shell::word;
use proto::evidence::{Evidence, Segment};
use proto::job::JobSpec;
use proto::trace::Claim;
use proto::{Digest, JobId, ProjectKey, UnitIndex, pb};
use sandbox::{Begin, Outcome, TracePlan, Until};
use serde_json::json;
use std::path::{Path, PathBuf};

pub(super) async fn run(args: args::Evidence, context: &Context) -> Result<(), Error> {
    let client = context.connect().await?;
    let project = client.profile.join.project;
    let request = pb::JobRequest { job_id: args.job.0 };
    let status = client.call("tell of the job", || {
        let mut jobs = client.jobs();
        async move { jobs.get(request).await }
    });
    let (status, spec) = (status.await?, spec_of(&client, args.job).await?);
    let parsed = JobSpec::parse(&spec).map_err(|error| Error::Unverified(chain(&error)))?;
    let folder = args.to.unwrap_or_else(|| format!("{}-evidence", args.job).into());
    let blobs = folder.join("blobs");
    std::fs::create_dir_all(&blobs).map_err(Error::file("create", &blobs))?;
    let mut files = Vec::new();
    for number in 0..status.evidence {
        let request = pb::EvidenceRequest { job_id: args.job.0, number };
        let bytes = match client.jobs().evidence(request).await {
            Ok(reply) => reply.into_inner().evidence,
            // One that accuses nobody's report, only somebody who ran a segment.
            Err(status) if status.code() == tonic::Code::NotFound => continue,
            Err(status) => return Err(client.error("give evidence", &status)),
        };
        let (evidence, _) = Evidence::verify(&bytes, &project, parsed.trace_fuel)
            .map_err(|error| Error::Unverified(chain(&error)))?;
        if let Some((digest, len)) = evidence.state {
            fetch::get_blob(&client, digest, len, &blobs.join(digest.to_string())).await?;
        }
        let mut local = Local::new()?;
        verify::gather(&parsed, evidence.statement.unit, &folder, &mut local, context).await?;
        let path = folder.join(format!("{number}.evidence"));
        shown::save(&path, &EvidenceFile::new(project, &spec, &bytes))?;
        files.push(path);
    }
    let answer = json!({ "job": args.job.to_string(), "files": files });
    context.output.answer(&answer, || match files.first() {
        None => format!("no report of {} was proved wrong", args.job),
        Some(first) => format!(
            "{} of wrong reports in {}\ncheck one anywhere: starling verify evidence {} --rerun --project {project}",
            counted(files.len() as u64, "proof"),
            folder.display(),
            word(first)
        ),
    })?;
    Ok(())
}

async fn spec_of(client: &Client, job: JobId) -> Result<Vec<u8>, Error> {
    let request = pb::JobRequest { job_id: job.0 };
    let reply = client.call("give the specification", || {
        let mut jobs = client.jobs();
        async move { jobs.spec(request).await }
    });
    Ok(reply.await?.spec.to_vec())
}

/// Checks a file of evidence, and, if asked, runs its segment here.
pub(super) fn check(
    path: &Path,
    project: &ProjectKey,
    rerun: bool,
    context: &Context,
) -> Result<(), Error> {
    let wrong = |why: &str| Error::Unverified(format!("{}: {why}", path.display()));
    let file: EvidenceFile = shown::load(path)?;
    verify::of_project(path, &file.project(), project)?;
    let (spec, bytes) = file.decode().ok_or_else(|| wrong("it is damaged"))?;
    let parsed = JobSpec::parse(&spec).map_err(|error| wrong(&chain(&error)))?;
    let (evidence, segment) = Evidence::verify(&bytes, project, parsed.trace_fuel)
        .map_err(|error| wrong(&chain(&error)))?;
    if evidence.statement.spec != Digest::of(&spec) {
        return Err(wrong("it is about another job than the specification in it"));
    }
    if rerun {
        let found = run_again(path, &parsed, &evidence, &segment)?;
        if found == segment.claimed {
            return Err(wrong("run here, the segment ends as the accused say: nothing is proved"));
        }
        if found != evidence.truth {
            return Err(wrong(
                "run here, the segment ends neither as the accused nor as the others say",
            ));
        }
    }
    let accused: Vec<String> = (evidence.accused.iter())
        .map(|accused| format!("  worker {} of account {}", accused.proof.worker, accused.account))
        .collect();
    let UnitIndex(unit) = evidence.statement.unit;
    let answer = json!({
        "project": project, "spec": evidence.statement.spec, "unit": unit, "rerun": rerun,
        "from_fuel": segment.from.map_or(0, |from| from.fuel),
        "accused": evidence.accused.iter().map(|accused| accused.proof.worker.to_string()).collect::<Vec<_>>(),
    });
    context.output.answer(&answer, || {
        let how = if rerun {
            "run again here, it ends otherwise than they signed"
        } else {
            "those who ran it found otherwise than they signed (--rerun runs it here)"
        };
        format!(
            "u{unit} of the job {}: of the segment from fuel {} on, {how}:\n{}",
            evidence.statement.spec,
            segment.from.map_or(0, |from| from.fuel),
            accused.join("\n")
        )
    })?;
    Ok(())
}

/// How the segment ends here. Content is looked for in the folder `blobs` beside the file.
fn run_again(
    path: &Path,
    spec: &JobSpec,
    evidence: &Evidence,
    segment: &Segment,
) -> Result<Claim, Error> {
    let blobs: PathBuf = path.parent().unwrap_or_else(|| Path::new("")).join("blobs");
    let mut local = Local::new()?;
    for shipped in shipped::ALL {
        local.add_bytes(shipped.wasm)?;
    }
    for entry in std::fs::read_dir(&blobs).map_err(Error::file("read", &blobs))? {
        let entry = entry.map_err(Error::file("read", &blobs))?;
        if let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            local.add_file(digest, entry.path());
        }
    }
    let begin = match (segment.from, evidence.state) {
        (Some(point), Some((digest, _))) => Begin::State { path: local.path(&digest)?, point },
        (Some(_), None) => {
            return Err(Error::Unverified(
                "the state at which the segment begins is missing".into(),
            ));
        }
        (None, _) => Begin::Start,
    };
    let (spacing, until) = match evidence.spacing {
        0 => (u64::MAX, Until::End),
        spacing => (spacing, Until::NextPoint),
    };
    let mut unit = local.unit(spec, evidence.statement.unit, Vec::new())?;
    unit.trace = Some(TracePlan { spacing, begin, until, archive: None });
    let finished = local.finish(unit)?;
    if let Outcome::Reached(point) = finished.outcome {
        return Ok(Claim::Point(point));
    }
    let run = local::outcome(finished, Vec::new())?;
    Ok(Claim::End { result: run.digest(), fuel: run.fuel })
}
