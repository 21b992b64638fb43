//! `starling receipt`: a unit's receipt and its place in the log, as one file that anybody can check.

use super::Context;
use super::audit::path_of;
use crate::args::Receipt;
use crate::client::Client;
use crate::error::Error;
use crate::shown::{self, ReceiptFile};
use program::error::chain;
use program::shell::word;
use proto::id::UnitId;
use proto::log::{Head, Logged};
use proto::{merkle, pb};
use serde_json::json;

pub(super) async fn run(args: Receipt, context: &Context) -> Result<(), Error> {
    let client = context.connect().await?;
    let project = client.profile.join.project;
    let UnitId { job, unit } = args.unit;
    let logged = get(&client, args.unit).await?;
    let (receipt, _, head) = logged
        .verify(&project)
        .map_err(|error| Error::Unverified(format!("{}: {}", args.unit, chain(&error))))?;
    let path = args.to.unwrap_or_else(|| format!("{job}-{unit}.receipt").into());
    shown::save(&path, &ReceiptFile::new(project, &logged))?;
    let answer = json!({
        "unit": args.unit.to_string(), "file": path, "index": logged.index, "size": head.size,
        "copies": receipt.copies.len(),
    });
    context.output.answer(&answer, || {
        format!(
            "{}: entry {} in the log of {}, in {}\ncheck it anywhere: starling verify receipt {} --project {project}",
            args.unit,
            logged.index,
            head.size,
            path.display(),
            word(&path),
        )
    })?;
    Ok(())
}

/// The receipt, and the proof that its verdict is in the log.
async fn get(client: &Client, UnitId { job, unit }: UnitId) -> Result<Logged, Error> {
    let (jobs, log) = (client.jobs(), client.log());
    let request = pb::UnitRequest { job_id: job.0, unit: unit.0 };
    let receipt = client
        .call("give a receipt", || {
            let mut jobs = jobs.clone();
            async move { jobs.receipt(request).await }
        })
        .await?;
    let place = client
        .call("find the unit in the log", || {
            let mut log = log.clone();
            async move { log.locate(request).await }
        })
        .await?;
    let head = super::audit::head(client).await?;
    let size = Head::verify(&head, &client.profile.join.project)
        .map_err(|error| Error::Unverified(chain(&error)))?
        .size;
    let request = pb::LogInclusionRequest { index: place.index, size };
    let proof = client
        .call("prove that the verdict is in the log", || {
            let mut log = log.clone();
            async move { log.inclusion(request).await }
        })
        .await?;
    let request = pb::LogEntriesRequest { from: place.index, count_max: 1, bytes_max: 0 };
    let mut entries = client
        .call("show the log", || {
            let mut log = log.clone();
            async move { log.entries(request).await }
        })
        .await?;
    let entry = match entries.message().await {
        Ok(Some(pb::LogEntries { from, entries })) if from == place.index => {
            entries.into_iter().next()
        }
        Ok(_) => None,
        Err(status) => return Err(client.error("show the log", &status)),
    };
    let entry = entry.ok_or_else(|| {
        Error::Unverified(format!("the coordinator does not show entry {}", place.index))
    })?;
    let path: merkle::Path = path_of(&proof.path)?;
    Ok(Logged { receipt, entry: entry.to_vec(), index: place.index, path, head })
}
