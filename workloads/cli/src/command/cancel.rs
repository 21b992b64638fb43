//! `starling cancel`: stops a job, and removes its outputs if asked to.

use super::Context;
use super::view::{View, line};
use crate::args::Cancel;
use crate::error::Error;
use proto::pb;

pub(super) async fn run(args: &Cancel, context: &Context) -> Result<(), Error> {
    let client = context.connect().await?;
    let request = pb::CancelRequest { job_id: args.job.0, outputs: args.outputs };
    let jobs = client.jobs();
    let status = client
        .call("cancel the job", || {
            let mut jobs = jobs.clone();
            async move { jobs.cancel(request).await }
        })
        .await?;
    context.output.answer(&View::from(&status), || line(&status))?;
    Ok(())
}
