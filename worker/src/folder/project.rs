//! The project that a worker has joined, and the file that says which.

use super::{Error, Identity, PROJECT};
use proto::join::Join;
use proto::{AccountKey, Digest, WorkerKey};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::{fs, io};

/// Version of the form of `project.json`.
const VERSION: u32 = 1;

/// The project that a worker has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Where its coordinator is and how to know it.
    pub join: Join,
    /// The machine's name.
    pub name: String,
    /// The account's name; empty keeps the one that the coordinator knows.
    pub account_name: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ProjectFile {
    version: u32,
    join: String,
    name: String,
    account_name: String,
    /// Whose keys the project knows; none in a file of a release that did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) keys: Option<Keys>,
    /// Digest of all else, by which damage is known; as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<Digest>,
}

/// The public parts of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Keys {
    pub(super) account: AccountKey,
    worker: WorkerKey,
}

impl Keys {
    pub(super) fn of(identity: &Identity) -> Self {
        let (account, worker) = (&identity.account, &identity.worker);
        Self { account: AccountKey::from(account), worker: WorkerKey::from(worker) }
    }
}

impl ProjectFile {
    pub(super) fn new(project: &Project, identity: &Identity) -> Self {
        let mut file = Self {
            version: VERSION,
            join: project.join.to_string(),
            name: project.name.clone(),
            account_name: project.account_name.clone(),
            keys: Some(Keys::of(identity)),
            check: None,
        };
        file.check = Some(file.digest());
        file
    }

    fn digest(&self) -> Digest {
        let Self { version, join, name, account_name, keys, check: _ } = self;
        Digest::of(
            &serde_json::to_vec(&(version, join, name, account_name, keys)).expect("plain data"),
        )
    }

    /// Whether it is what was written, as far as that can be told.
    fn holds(&self) -> bool {
        self.version == VERSION && self.check.is_none_or(|check| check == self.digest())
    }
}

/// The project that the folder at `path` has joined, if any.
///
/// # Errors
/// [`Error::File`], [`Error::Damaged`].
pub fn read_project(path: &Path) -> Result<Option<Project>, Error> {
    Ok(read_file(path)?.map(|(_, project)| project))
}

pub(super) fn read_file(path: &Path) -> Result<Option<(ProjectFile, Project)>, Error> {
    let path = path.join(PROJECT);
    let content = match fs::read(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::File { path, source }),
    };
    let file = serde_json::from_slice(&content).ok().filter(ProjectFile::holds);
    let read = file.and_then(|file| {
        let join = file.join.parse().ok()?;
        let (name, account_name) = (file.name.clone(), file.account_name.clone());
        Some((file, Project { join, name, account_name }))
    });
    match read {
        Some(read) => Ok(Some(read)),
        None => Err(Error::Damaged {
            path,
            expected: "the project that was joined; `join` again writes it anew",
        }),
    }
}
