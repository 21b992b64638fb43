//! `starling why`: asks why a job or a unit is not done.

use proto::pb;
use serde_json::json;

use super::Context;
use crate::args::What;
use crate::error::Error;

pub(super) async fn run(what: What, context: &Context) -> Result<(), Error> {
    let (request, name) = match what {
        What::Job(job) => (pb::WhyRequest { job_id: job.0, unit: None }, job.to_string()),
        What::Unit(id) => {
            (pb::WhyRequest { job_id: id.job.0, unit: Some(id.unit.0) }, id.to_string())
        }
    };
    let client = context.connect().await?;
    let jobs = client.jobs();
    let reply = client
        .call("say why", || {
            let mut jobs = jobs.clone();
            async move { jobs.why(request).await }
        })
        .await?;
    context.output.answer(&json!({ "of": name, "reasons": reply.reasons }), || {
        match reply.reasons.as_slice() {
            [] => format!("{name}: nothing stands in its way"),
            reasons => reasons
                .iter()
                .map(|reason| format!("{name}: {reason}"))
                .collect::<Vec<_>>()
                .join("\n"),
        }
    })?;
    Ok(())
}
