//! `starling-worker join`: keys, one greeting, and the project is noted.

use super::{Failure, Format, output, runtime};
use crate::coordinator::{Introduction, Trouble, greet};
use crate::folder::{Folder, Project};
use proto::bounds::NAME_BYTES_MAX;
use proto::{AccountKey, WorkerKey, text};
use serde_json::json;
use std::path::Path;

pub(super) fn join(data: &Path, arguments: &super::Join, format: Format) -> Result<(), Failure> {
    let name = arguments.name.clone().unwrap_or_else(machine_name);
    for (what, name) in [("--name", &name), ("--account-name", &arguments.account_name)] {
        if NAME_BYTES_MAX < name.len() || name.chars().any(text::is_harmful) {
            return Err(Failure::Failed(format!(
                "{what}: at most {NAME_BYTES_MAX} bytes, no control or format characters"
            )));
        }
    }
    let project = Project {
        join: arguments.join.clone(),
        name,
        account_name: arguments.account_name.clone(),
    };
    let folder = Folder::take(data)?;
    if let Some(joined) = crate::folder::read_project(folder.path())?
        && joined.join.project != project.join.project
    {
        return Err(crate::folder::Error::OtherProject {
            path: data.to_path_buf(),
            address: joined.join.address,
        }
        .into());
    }
    let identity = folder.identity()?;
    let hello = Introduction {
        project: project.clone(),
        identity: identity.clone(),
        slots: 1,
        memory_bytes: 0,
        log_head: None,
        work: folder.work(),
    };
    let greeted = runtime()?.block_on(async { Box::pin(greet(&hello)).await.map(drop) });
    greeted.map_err(|trouble| match trouble {
        Trouble::Refused(reason) => Failure::Refused(format!("the coordinator refuses this worker: {reason}")),
        Trouble::Work(_) => Failure::Refused(trouble.to_string()),
        Trouble::Lost(reason) | Trouble::Wait(reason, _) => Failure::Unreachable(format!(
            "{reason}; is the coordinator at {} running, and reachable from here? Nothing was joined",
            project.join.address
        )),
    })?;
    folder.join(&project)?;
    let (worker, account) =
        (WorkerKey::from(&identity.worker), AccountKey::from(&identity.account));
    let run = super::typed(data, "run");
    let text = format!(
        "joined the project at {}\n  worker  {worker}\n  account {account}\nnow type: {run}",
        project.join.address
    );
    let json = json!({ "coordinator": project.join.address, "worker": worker, "account": account, "next": run });
    output::print(format, &text, &json)
}

/// What this machine calls itself.
fn machine_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let end = name.floor_char_boundary(NAME_BYTES_MAX);
    text::shortened(&name[..end], NAME_BYTES_MAX)
}
