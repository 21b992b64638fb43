//! `starling why`: asks why a job or a unit is not done.

use super::Context;
use super::logs::{self, Shown};
use crate::args::What;
use crate::error::Error;
use proto::pb;
use serde_json::json;

/// Lines of a failed unit that are shown: a panic and what led to it.
const LINES_MAX: usize = 10;

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
    let log = match what {
        What::Job(_) => Vec::new(),
        What::Unit(_) => logs::last(&client, what, LINES_MAX).await,
    };
    let answer = json!({ "of": name, "reasons": reply.reasons, "log": log });
    context.output.answer(&answer, || described(&name, &reply.reasons, &log))?;
    Ok(())
}

fn described(name: &str, reasons: &[String], log: &[Shown]) -> String {
    let mut lines: Vec<String> = reasons.iter().map(|reason| format!("{name}: {reason}")).collect();
    if lines.is_empty() {
        lines.push(format!("{name}: nothing stands in its way"));
    }
    if !log.is_empty() {
        lines.push(format!(
            "{name}: its last lines, as one worker tells them (starling logs {name} has all):"
        ));
        lines.extend(log.iter().map(Shown::line));
    }
    lines.join("\n")
}
