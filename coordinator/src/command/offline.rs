//! Commands that work on a folder on which no coordinator runs.

use super::{Address, Failure, Output};
use crate::check;
use crate::project::{Folder, names};
use crate::{backup, server};
use bytesize::ByteSize;
use serde_json::json;
use std::path::Path;

pub(super) fn init(data: &Path, address: &Address, output: &Output) -> Result<(), Failure> {
    let folder = Folder::take(data).map_err(|error| Failure::failed(&error))?;
    let identity = folder.identity().map_err(|error| Failure::failed(&error))?;
    let address = address.advertise.clone().unwrap_or_else(|| server::advertised(address.listen));
    let (join, token_file) = (identity.join(address).to_string(), folder.at(names::OPERATOR_TOKEN));
    let text = format!(
        "{join}\n\nThis is the project's join string. The operator's token is in {}.\n\
         Keep a copy of {} and {} elsewhere: without them the project cannot be carried on.",
        token_file.display(),
        folder.at(names::PROJECT_KEY).display(),
        folder.at(names::CA_KEY).display()
    );
    output.result(&text, &json!({ "join": join, "operator_token_file": token_file }))
}

pub(super) fn restore(from: &Path, data: &Path, output: &Output) -> Result<(), Failure> {
    let restored = backup::restore(from, data).map_err(|error| Failure::failed(&error))?;
    let text = format!(
        "{} records and {} blobs ({}) are restored to {}; {}.\n\
         Go on with: {}",
        restored.records,
        restored.blobs,
        ByteSize(restored.blob_bytes),
        data.display(),
        verified(&restored.unverified),
        super::typed(data, "run")
    );
    let value = json!({
        "records": restored.records, "blobs": restored.blobs, "blob_bytes": restored.blob_bytes,
        "unverified": restored.unverified,
    });
    output.result(&text, &value)
}

fn verified(unverified: &[String]) -> String {
    match unverified {
        [] => "every byte was verified".to_owned(),
        some => format!(
            "every byte was verified but those of {}, for which an older release wrote no digest",
            some.join(", ")
        ),
    }
}

pub(super) fn check(data: &Path, output: &Output) -> Result<(), Failure> {
    let folder = Folder::take_existing(data).map_err(|error| Failure::failed(&error))?;
    let findings = check::check(&folder).map_err(|error| Failure::failed(&error))?;
    let mut text = String::new();
    for wrong in &findings.wrong {
        text.push_str(&format!("WRONG  {wrong}\n"));
    }
    text.push_str(&format!(
        "{} records, {} batches of reports, {} entries of the log, {} blobs ({}): {}",
        findings.records,
        findings.batches,
        findings.entries,
        findings.blobs,
        ByteSize(findings.blob_bytes),
        if findings.wrong.is_empty() {
            "all is well".to_owned()
        } else {
            format!("{} things are wrong", findings.wrong.len())
        }
    ));
    let value = json!({
        "records": findings.records,
        "batches": findings.batches,
        "entries": findings.entries,
        "blobs": findings.blobs,
        "blob_bytes": findings.blob_bytes,
        "wrong": findings.wrong,
    });
    output.result(&text, &value)?;
    if findings.wrong.is_empty() { Ok(()) } else { Err(Failure::Wrong) }
}
