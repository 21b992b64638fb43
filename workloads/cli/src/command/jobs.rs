//! `starling jobs`: lists the jobs.

use super::Context;
use super::view::{View, details, state};
use crate::amount;
use crate::error::Error;
use crate::output::table;
use proto::{JobId, pb};

/// Jobs asked for at a time.
const PAGE: u32 = 100;

pub(super) async fn run(context: &Context) -> Result<(), Error> {
    let client = context.connect().await?;
    let mut rows = vec![
        ["JOB", "STATE", "UNITS", "SETTLED", "FAILED", "FUEL", "NAME", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut after_job_id = 0;
    loop {
        let (jobs, request) = (client.jobs(), pb::ListRequest { after_job_id, count_max: PAGE });
        let page = client
            .call("list the jobs", || {
                let mut jobs = jobs.clone();
                async move { jobs.list(request).await }
            })
            .await?;
        let Some(last) = page.jobs.last() else { break };
        if last.job_id <= after_job_id {
            return Err(Error::Failed("the coordinator's list of jobs does not end".into()));
        }
        after_job_id = last.job_id;
        for job in &page.jobs {
            if context.output.is_json() {
                context.output.answer(&View::from(job), String::new)?;
            } else {
                rows.push(row(job));
            }
        }
    }
    let empty = rows.len() == 1;
    context.output.say(&if empty {
        "no jobs yet: starling submit job.toml".to_owned()
    } else {
        table(&rows)
    })?;
    Ok(())
}

fn row(job: &pb::JobStatus) -> Vec<String> {
    let running = state(job) == "running";
    vec![
        JobId(job.job_id).to_string(),
        state(job).to_owned(),
        job.units.to_string(),
        job.settled.to_string(),
        job.failed.to_string(),
        amount::count(job.fuel),
        job.name.clone(),
        if running { details(job) } else { String::new() },
    ]
}
