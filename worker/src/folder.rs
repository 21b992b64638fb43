//! The worker's folder: its keys, the project it has joined, what it holds. One process at a time.

mod error;
mod paths;
mod project;

pub use error::Error;
pub use paths::{default_path, socket, unit_of, work};
pub use project::{Project, read_project};

pub(crate) use paths::unit_name;

use ed25519_dalek::SigningKey;
use program::file::{self, Unfit};
use project::{Keys, ProjectFile, read_file};
use rand::TryRng;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const ACCOUNT_KEY: &str = "account.key";
const WORKER_KEY: &str = "worker.key";
const PROJECT: &str = "project.json";
const WORK: &str = "work";
const LOCK: &str = "lock";

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

#[cfg(test)]
mod tests;
