//! `starling cancel`: stops a job.

use proto::{JobId, pb};

use super::Context;
use super::view::{View, line};
use crate::error::Error;

pub(super) async fn run(job: JobId, context: &Context) -> Result<(), Error> {
    let client = context.connect().await?;
    let (jobs, request) = (client.jobs(), pb::JobRequest { job_id: job.0 });
    let status = client
        .call("cancel the job", || {
            let mut jobs = jobs.clone();
            async move { jobs.cancel(request).await }
        })
        .await?;
    context.output.answer(&View::from(&status), || line(&status))?;
    Ok(())
}
