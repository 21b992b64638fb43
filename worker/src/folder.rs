//! The worker's folder: its keys, the project it has joined, what it holds. One process at a time.

use ed25519_dalek::SigningKey;
use program::file::{self, Unfit};
use proto::id::UnitId;
use proto::join::Join;
use proto::{AccountKey, Digest, WorkerKey};
use rand::TryRng;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const ACCOUNT_KEY: &str = "account.key";
const WORKER_KEY: &str = "worker.key";
const PROJECT: &str = "project.json";
const WORK: &str = "work";
const LOCK: &str = "lock";
/// Version of the form of `project.json`.
const VERSION: u32 = 1;
/// Why a worker's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others could have replaced what is in the folder.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder itself cannot be made, or nothing can be made in it.
    #[error(
        "cannot use the worker's folder {path}: {source}; give one that you may write to with --data DIR, or in the variable STARLING_WORKER_DATA"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process runs on the folder.
    #[error("another worker runs on {0}: stop it first, or give another folder with --data")]
    Locked(PathBuf),
    /// No project was joined.
    #[error(
        "{0} belongs to no project, for it has no project.json: `starling-worker join JOIN_STRING` first"
    )]
    NotJoined(PathBuf),
    /// Another project was joined.
    #[error(
        "{path} belongs to the project at {address}: `starling-worker leave` first, or give another folder with --data"
    )]
    OtherProject {
        /// The folder.
        path: PathBuf,
        /// Of its project.
        address: String,
    },
    /// A file's content is not what it should be.
    #[error("{path} is damaged: it should hold {expected}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// A file that cannot be made again is gone.
    #[error(
        "{0} is gone, and the project knows this worker by it: put it back, or `leave` and `join` as somebody new"
    )]
    Lost(PathBuf),
    /// An account key that is no key.
    #[error(
        "that is no account key: 64 hexadecimal digits, as `starling-worker key export` prints them"
    )]
    NoKey,
    /// The account cannot change while a project is joined.
    #[error(
        "{0} works for a project already: import the account's key before `join`, or `leave` first"
    )]
    Joined(PathBuf),
}

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
struct ProjectFile {
    version: u32,
    join: String,
    name: String,
    account_name: String,
    /// Whose keys the project knows; none in a file of a release that did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Keys>,
    /// Digest of all else, by which damage is known; as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    check: Option<Digest>,
}

/// The public parts of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Keys {
    account: AccountKey,
    worker: WorkerKey,
}

impl Keys {
    fn of(identity: &Identity) -> Self {
        let (account, worker) = (&identity.account, &identity.worker);
        Self { account: AccountKey::from(account), worker: WorkerKey::from(worker) }
    }
}

impl ProjectFile {
    fn new(project: &Project, identity: &Identity) -> Self {
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

/// Who a worker is.
#[derive(Clone)]
pub struct Identity {
    /// Of its owner.
    pub account: SigningKey,
    /// Its own.
    pub worker: SigningKey,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// A worker's folder, held by this process until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

/// Where a worker's folder is unless it is told otherwise: `$XDG_DATA_HOME/starling-worker` or its like.
#[must_use]
pub fn default_path() -> PathBuf {
    directories::ProjectDirs::from("", "", "starling-worker").map_or_else(
        || PathBuf::from("starling-worker"),
        |folders| folders.data_dir().to_path_buf(),
    )
}

/// Where the worker on the folder at `path` keeps the nonce of the work that its project asked of the account.
#[must_use]
pub fn work(path: &Path) -> PathBuf {
    path.join(WORK)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    |source| Error::File { path: path.to_path_buf(), source }
}

impl Folder {
    /// Takes the folder at `path` for this process alone, and makes it when it is not there.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it, [`Error::File`] when it cannot be made.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let unusable = |source| Error::Folder { path: path.to_path_buf(), source };
        file::make_private(path).map_err(|unfit| match unfit {
            Unfit::File { source, .. } => unusable(source),
            unfit => Error::Unfit(unfit),
        })?;
        // Paths go to the children and into the journal.
        let path = fs::canonicalize(path).map_err(unusable)?;
        let lock_path = path.join(LOCK);
        let lock = file::open_private(&lock_path).map_err(unusable)?;
        match file::lock(&lock) {
            Ok(true) => Ok(Self { path, _lock: lock }),
            Ok(false) => Err(Error::Locked(path)),
            Err(source) => Err(Error::File { path: lock_path, source }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Joins a project: notes it, makes the keys that are missing.
    ///
    /// # Errors
    /// [`Error::OtherProject`] when another was joined, [`Error::File`].
    pub fn join(&self, project: &Project) -> Result<Identity, Error> {
        if let Some(joined) = read_project(&self.path)?
            && joined.join.project != project.join.project
        {
            return Err(Error::OtherProject {
                path: self.path.clone(),
                address: joined.join.address,
            });
        }
        let identity = self.identity()?;
        self.write_project(project, &identity)?;
        Ok(identity)
    }

    fn write_project(&self, project: &Project, identity: &Identity) -> Result<(), Error> {
        let content = ProjectFile::new(project, identity);
        let content = serde_json::to_vec_pretty(&content).expect("plain data");
        let path = self.path.join(PROJECT);
        file::write(&path, &content).map_err(at(&path))
    }

    /// Notes the keys beside the project, where an older release did not.
    ///
    /// # Errors
    /// As for [`Self::identity`].
    pub fn note_keys(&self) -> Result<(), Error> {
        match read_file(&self.path)? {
            Some((file, project)) if file.keys.is_none() => {
                self.write_project(&project, &self.identity()?)
            }
            _ => Ok(()),
        }
    }

    /// The project that was joined.
    ///
    /// # Errors
    /// [`Error::NotJoined`], [`Error::File`], [`Error::Damaged`].
    pub fn project(&self) -> Result<Project, Error> {
        read_project(&self.path)?.ok_or_else(|| Error::NotJoined(self.path.clone()))
    }

    /// The keys; made when they are missing and no project knows them.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Damaged`], [`Error::Lost`].
    pub fn identity(&self) -> Result<Identity, Error> {
        let known = read_file(&self.path)?.and_then(|(file, _)| file.keys);
        let made = known.is_none();
        let (account, worker) = (self.key(ACCOUNT_KEY, made)?, self.key(WORKER_KEY, made)?);
        let identity = Identity { account, worker };
        let here = Keys::of(&identity);
        let Some(known) = known.filter(|known| *known != here) else { return Ok(identity) };
        let name = if known.account == here.account { WORKER_KEY } else { ACCOUNT_KEY };
        let expected = "the key with which the project was joined; put it back, or `leave` and `join` as somebody new";
        Err(Error::Damaged { path: self.path.join(name), expected })
    }

    /// Takes over an account, by its key as [`Identity::export_account`] wrote it. The worker gets a new key of its own,
    /// for a worker belongs to one account.
    ///
    /// # Errors
    /// [`Error::NoKey`], [`Error::Joined`], [`Error::File`].
    pub fn import_account(&self, text: &str) -> Result<(), Error> {
        if read_project(&self.path)?.is_some() {
            return Err(Error::Joined(self.path.clone()));
        }
        let key = parse_key(text).ok_or(Error::NoKey)?;
        let worker = self.path.join(WORKER_KEY);
        file::remove(&worker).map_err(at(&worker))?;
        self.write_key(ACCOUNT_KEY, &key)
    }

    /// Leaves the project: forgets where it is and all that was held or kept for it. The keys stay, unless `forget`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn leave(&self, forget: bool) -> Result<(), Error> {
        let keys: &[&str] = if forget { &[ACCOUNT_KEY, WORKER_KEY, WORK] } else { &[] };
        let files = [PROJECT, "journal"].into_iter().chain(keys.iter().copied());
        for path in files.map(|name| self.path.join(name)) {
            file::remove(&path).map_err(at(&path))?;
        }
        crate::network::store::forget(&self.path).map_err(at(&self.path))?;
        for path in [self.snapshots(), self.outputs(), self.traces(), self.errands(), self.held()] {
            match fs::remove_dir_all(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::File { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The nonce of the work that the project asked of the account.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        work(&self.path)
    }

    /// What is held.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Reports held for others and one's own.
    #[must_use]
    pub fn held(&self) -> PathBuf {
        self.path.join("held")
    }

    /// Kernels and inputs.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// Outputs of units that are not acknowledged.
    #[must_use]
    pub fn outputs(&self) -> PathBuf {
        self.path.join("outputs")
    }

    /// The output of a unit.
    #[must_use]
    pub fn output(&self, id: UnitId) -> PathBuf {
        self.outputs().join(unit_name(id))
    }

    /// Snapshots of units, and inputs that came inside their leases.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The snapshot of a unit.
    #[must_use]
    pub fn snapshot(&self, id: UnitId) -> PathBuf {
        self.snapshots().join(unit_name(id))
    }

    /// Inputs of a unit that came inside its lease, one after the other.
    #[must_use]
    pub fn inline_inputs(&self, id: UnitId) -> PathBuf {
        self.snapshots().join(format!("{}.in", unit_name(id)))
    }

    /// What kernels of units that are held have logged, of the last run of the program.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Traces of units that were run here, and states on them.
    #[must_use]
    pub fn traces(&self) -> PathBuf {
        self.path.join("traces")
    }

    /// Files of runs for errands: of no use to anybody after a restart.
    #[must_use]
    pub fn errands(&self) -> PathBuf {
        self.path.join("errands")
    }

    /// The state that a run for a show was to reach.
    #[must_use]
    pub fn errand_state(&self, run: u64) -> PathBuf {
        self.errands().join(format!("{run}.state"))
    }

    /// Inputs of a run for an errand that came with it, one after the other.
    #[must_use]
    pub fn errand_inputs(&self, run: u64) -> PathBuf {
        self.errands().join(format!("{run}.in"))
    }

    /// Compiled kernels.
    #[must_use]
    pub fn compiled(&self) -> PathBuf {
        self.path.join("compiled")
    }

    /// Where the trial unit runs.
    #[must_use]
    pub fn trial(&self) -> PathBuf {
        self.path.join("trial")
    }

    /// The socket by which the owner's commands reach the running worker.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(&self.path)
    }

    /// A key; a missing one is made if it may be.
    fn key(&self, name: &str, made: bool) -> Result<SigningKey, Error> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => parse_key(&text)
                .ok_or(Error::Damaged { path, expected: "a key, 64 hexadecimal digits" }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !made => {
                Err(Error::Lost(path))
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Error::Damaged { path, expected: "a key, 64 hexadecimal digits" })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0; 32];
                rand::rngs::SysRng
                    .try_fill_bytes(&mut bytes)
                    .map_err(|error| Error::File { path, source: io::Error::other(error) })?;
                let key = SigningKey::from_bytes(&bytes);
                self.write_key(name, &key)?;
                Ok(key)
            }
            Err(source) => Err(Error::File { path, source }),
        }
    }

    fn write_key(&self, name: &str, key: &SigningKey) -> Result<(), Error> {
        let path = self.path.join(name);
        file::write(&path, format!("{}\n", export(key)).as_bytes()).map_err(at(&path))
    }
}

impl Identity {
    /// The account's key, to be imported on another machine of the same owner. Whoever has it owns the account.
    #[must_use]
    pub fn export_account(&self) -> String {
        export(&self.account)
    }
}

fn export(key: &SigningKey) -> String {
    data_encoding::HEXLOWER.encode(key.as_bytes())
}

fn parse_key(text: &str) -> Option<SigningKey> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok()?;
    Some(SigningKey::from_bytes(&bytes.try_into().ok()?))
}

/// The socket of the worker that runs on the folder at `path`.
#[must_use]
pub fn socket(path: &Path) -> PathBuf {
    path.join("control.sock")
}

/// The project that the folder at `path` has joined, if any.
///
/// # Errors
/// [`Error::File`], [`Error::Damaged`].
pub fn read_project(path: &Path) -> Result<Option<Project>, Error> {
    Ok(read_file(path)?.map(|(_, project)| project))
}

fn read_file(path: &Path) -> Result<Option<(ProjectFile, Project)>, Error> {
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

/// The name of a unit's files: `j7-u12`.
pub(crate) fn unit_name(id: UnitId) -> String {
    format!("{}-{}", id.job, id.unit)
}

/// The unit of a file whose name begins as `unit_name` says.
#[must_use]
pub fn unit_of(name: &str) -> Option<UnitId> {
    let (job, rest) = name.split_once('-')?;
    let unit = rest.split('.').next()?;
    Some(UnitId {
        job: job.strip_prefix('j')?.parse().ok()?,
        unit: unit.strip_prefix('u')?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests;
