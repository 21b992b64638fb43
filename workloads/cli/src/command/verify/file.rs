//! Files that are checked alone, without the coordinator: a receipt in the log, and heads that contradict each other.

use super::super::{Context, evidence};
use crate::args::{VerifyFile, VerifyOne};
use crate::error::Error;
use crate::profile::Profile;
use crate::shown::{self, HeadsFile, ReceiptFile};
use program::error::chain;
use proto::log::{Entry, Head};
use proto::receipt::Receipt;
use proto::{ProjectKey, UnitIndex};
use serde_json::json;
use std::path::Path;

pub(super) fn run(what: &VerifyFile, context: &Context) -> Result<(), Error> {
    match what {
        VerifyFile::Receipt(args) => receipt(args, context),
        VerifyFile::Evidence { one, rerun } => {
            evidence::check(&one.file, &project(one, context)?, *rerun, context)
        }
        VerifyFile::Heads(args) => heads(args, context),
    }
}

/// The project that must have signed. The file's own word for it would prove nothing.
fn project(args: &VerifyOne, context: &Context) -> Result<ProjectKey, Error> {
    if let Some(project) = args.project {
        return Ok(project);
    }
    match context.profile_path().and_then(|path| Profile::load(&path)) {
        Ok(profile) => Ok(profile.join.project),
        Err(_) => Err(Error::Usage(
            "say which project must have signed it, with --project KEY (it is in the join string), or log in".into(),
        )),
    }
}

/// What a file says of itself must fit what it holds, though nothing is believed for it.
pub(in crate::command) fn of_project(
    path: &Path,
    says: &ProjectKey,
    project: &ProjectKey,
) -> Result<(), Error> {
    if says == project {
        return Ok(());
    }
    Err(wrong(path, &format!("it says that it is of project {says}, not of {project}")))
}

fn wrong(path: &Path, why: &str) -> Error {
    Error::Unverified(format!("{}: {why}", path.display()))
}

fn receipt(args: &VerifyOne, context: &Context) -> Result<(), Error> {
    let project = project(args, context)?;
    let file: ReceiptFile = shown::load(&args.file)?;
    of_project(&args.file, &file.project(), &project)?;
    let logged = file.decode().ok_or_else(|| wrong(&args.file, "it is damaged"))?;
    let (receipt, entry, head) =
        logged.verify(&project).map_err(|error| wrong(&args.file, &chain(&error)))?;
    let answer = json!({
        "project": project, "job": entry.job.to_string(), "unit": receipt.unit.to_string(),
        "spec": receipt.spec, "kernel": receipt.kernel, "fuel": receipt.fuel,
        "output": receipt.result.ok(), "failure": receipt.result.err().map(|failure| failure.to_string()),
        "copies": receipt.copies.len(), "settled_at_ms": receipt.settled_at_ms,
        "index": logged.index, "size": head.size, "root": head.root,
    });
    context.output.answer(&answer, || described(&receipt, &entry, &head, logged.index))?;
    Ok(())
}

fn described(receipt: &Receipt, entry: &Entry, head: &Head, index: u64) -> String {
    let UnitIndex(unit) = receipt.unit;
    let result = match receipt.result {
        Ok(output) => format!("output {output}"),
        Err(failure) => format!("failure: {failure}"),
    };
    let accounts: Vec<String> = receipt
        .copies
        .iter()
        .map(|copy| format!("  worker {} of account {}", copy.proof.worker, copy.account))
        .collect();
    format!(
        "{}/u{unit} holds: {result}, fuel {}\n  of the job {} with kernel {}\non the word of\n{}\nentry {index} of {} in the log of project {}",
        entry.job,
        receipt.fuel,
        receipt.spec,
        receipt.kernel,
        accounts.join("\n"),
        head.size,
        head.project,
    )
}

fn heads(args: &VerifyOne, context: &Context) -> Result<(), Error> {
    let project = project(args, context)?;
    let file: HeadsFile = shown::load(&args.file)?;
    of_project(&args.file, &file.project(), &project)?;
    let heads = file.decode().ok_or_else(|| wrong(&args.file, "it is damaged"))?;
    let found = heads.contradiction(&project).map_err(|error| wrong(&args.file, &chain(&error)))?;
    let Some(contradiction) = found else {
        return Err(wrong(&args.file, "both heads can be of one log: they prove nothing"));
    };
    let answer = json!({ "project": project, "contradiction": contradiction.to_string() });
    context.output.answer(&answer, || format!("proved of project {project}: {contradiction}"))?;
    Ok(())
}
