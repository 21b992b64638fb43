//! The project's folder: its keys and certificates, made at the first start, and one process at a time.

use ed25519_dalek::SigningKey;
use program::file::Unfit;
use proto::{Digest, ProjectKey, join::Join};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub(crate) mod authority;
pub(crate) mod file;

/// Names of what lies in the folder.
pub mod names {
    /// Held locked by the process that runs on the folder.
    pub const LOCK: &str = "lock";
    /// The project's Ed25519 key: 32 bytes as 64 hexadecimal digits.
    pub const PROJECT_KEY: &str = "project.key";
    /// Key and certificate of the project's own authority; the key may be kept elsewhere once `server.pem` exists.
    pub const CA_KEY: &str = "ca.key";
    /// The authority's certificate, whose fingerprint the join string carries.
    pub const CA: &str = "ca.pem";
    /// Key of the server's certificate.
    pub const SERVER_KEY: &str = "server.key";
    /// The server's certificate, signed by the authority.
    pub const SERVER: &str = "server.pem";
    /// The token that the operator's commands use.
    pub const OPERATOR_TOKEN: &str = "operator.token";
    /// The records.
    pub const STORE: &str = "store";
    /// The blobs.
    pub const BLOBS: &str = "blobs";
    /// Folder of the embedded referee.
    pub const REFEREE: &str = "referee";
    /// Where backups are made.
    pub const BACKUPS: &str = "backups";
    /// What came of building the records up again.
    pub const REBUILT: &str = "rebuilt.txt";
    /// What the records come to, outside the store: a store that has lost something does not agree with it.
    pub const TALLY: &str = "store.tally";
    /// A signed head of the log that a worker has shown, and that the records do not lead to.
    pub const NEWER: &str = "newer.head";
    /// What was missing when the operator went on with what was left.
    pub const ACCEPTED: &str = "accepted.txt";
    /// Address at which the running coordinator can be reached from this machine.
    pub const LISTENING: &str = "listening";
    /// What a project cannot be without.
    pub const KEYS: [&str; 6] = [PROJECT_KEY, CA_KEY, CA, SERVER_KEY, SERVER, OPERATOR_TOKEN];
}

/// Why a project's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others could have replaced what is in the folder.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder itself cannot be made, or nothing can be made in it.
    #[error(
        "cannot use the project's folder {path}: {source}; give one that you may write to with --data DIR, or in the variable STARLING_COORDINATOR_DATA"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process runs on the folder.
    #[error("another process runs on {0}: stop it first, or give another folder with --data")]
    Locked(PathBuf),
    /// A file that cannot be made again is gone.
    #[error(
        "{path} is missing, and {reason}: put it back from a backup (starling-coordinator restore)"
    )]
    Lost {
        /// Which.
        path: PathBuf,
        /// Why it is not simply made anew.
        reason: &'static str,
    },
    /// A file's content is not what it should be.
    #[error("{path} is not {expected}: put it back from a backup (starling-coordinator restore)")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// What lies in the folder could not be put aside.
    #[error("cannot move {from} to {to}: is it of use to somebody? move it by hand")]
    Aside {
        /// From where.
        from: PathBuf,
        /// To where.
        to: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No project has been made there.
    #[error(
        "{0} holds no project: make one with starling-coordinator init, or give its folder with --data"
    )]
    Absent(PathBuf),
    /// No coordinator runs on it.
    #[error("no coordinator runs on {0}: start one with starling-coordinator run")]
    Idle(PathBuf),
    /// The certificates could not be made.
    #[error("cannot make the project's certificates")]
    Certificate(#[from] rcgen::Error),
}

/// What a coordinator needs to show that it is this project's.
#[derive(Debug)]
pub struct Identity {
    /// Signs receipts.
    pub key: SigningKey,
    /// The authority's certificate.
    pub ca: CertificateDer<'static>,
    /// The server's certificate.
    pub server: CertificateDer<'static>,
    /// The key of the server's certificate.
    pub server_key: PrivateKeyDer<'static>,
    /// The token that the operator's commands use.
    pub operator_token: String,
}

impl Identity {
    /// Which project.
    #[must_use]
    pub fn project(&self) -> ProjectKey {
        ProjectKey::from(&self.key)
    }

    /// The join string of the project at `address` (`HOST:PORT`).
    #[must_use]
    pub fn join(&self, address: String) -> Join {
        Join { address, project: self.project(), ca: Digest::of(&self.ca), invitation: None }
    }
}

/// A project's folder, held by this process until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes the folder at `path` for this process alone, and makes it when it is not there.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it, [`Error::File`] when it cannot be made.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let unusable = |error| match error {
            Error::File { source, .. } | Error::Unfit(Unfit::File { source, .. }) => {
                Error::Folder { path: path.to_owned(), source }
            }
            error => error,
        };
        program::file::make_private(path).map_err(Error::Unfit).map_err(unusable)?;
        let lock_path = path.join(names::LOCK);
        let lock = file::open_private(&lock_path).map_err(unusable)?;
        match program::file::lock(&lock) {
            Ok(true) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Ok(false) => Err(Error::Locked(path.to_owned())),
            Err(source) => Err(Error::File { path: lock_path, source }),
        }
    }

    /// Takes a folder that must hold a project already.
    ///
    /// # Errors
    /// As [`Self::take`], and [`Error::Absent`].
    pub fn take_existing(path: &Path) -> Result<Self, Error> {
        if !path.join(names::PROJECT_KEY).exists() && !path.join(names::STORE).exists() {
            return Err(Error::Absent(path.to_owned()));
        }
        Self::take(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Something in it, by one of [`names`].
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Moves what there is of this name to a place beside it, where nothing of it is lost; where that is.
    ///
    /// # Errors
    /// [`Error::Aside`].
    pub fn put_aside(&self, name: &str, why: &str) -> Result<Option<PathBuf>, Error> {
        let from = self.at(name);
        if !from.exists() {
            return Ok(None);
        }
        let to = (1_u32..)
            .map(|number| self.at(&format!("{name}.{why}-{number}")))
            .find(|path| !path.exists())
            .unwrap_or_else(|| self.at(&format!("{name}.{why}")));
        fs::rename(&from, &to).map_err(|source| Error::Aside { from, to: to.clone(), source })?;
        Ok(Some(to))
    }

    /// The project's identity; whatever of it has not been made yet is made. A start that was cut short is completed by
    /// the next one. What others rely on (the project's key, the authority) is never made a second time.
    ///
    /// # Errors
    /// [`Error::Lost`] and [`Error::Damaged`] when only a backup can help, [`Error::File`] when the disk does not let us.
    pub fn identity(&self) -> Result<Identity, Error> {
        let key = self.project_key()?;
        let (ca, server, server_key) = authority::certificates(self)?;
        let operator_token = self.operator_token()?;
        Ok(Identity { key, ca, server, server_key, operator_token })
    }

    /// Whether there are records that rely on the keys.
    fn in_use(&self) -> bool {
        self.at(names::STORE).exists()
    }

    fn project_key(&self) -> Result<SigningKey, Error> {
        let path = self.at(names::PROJECT_KEY);
        if path.exists() {
            return read_key(&path);
        }
        if self.in_use() {
            return Err(Error::Lost { path, reason: "the project's receipts are signed with it" });
        }
        let seed = crate::random::bytes();
        file::write(&path, format!("{}\n", Digest(seed)).as_bytes())?;
        Ok(SigningKey::from_bytes(&seed))
    }

    fn operator_token(&self) -> Result<String, Error> {
        let path = self.at(names::OPERATOR_TOKEN);
        if path.exists() {
            return read_token(&path);
        }
        let token = crate::random::token();
        file::write(&path, format!("{token}\n").as_bytes())?;
        Ok(token)
    }
}

/// How the operator's commands reach the coordinator that runs on the folder at `path`: its join string from here, and
/// the operator's token.
///
/// # Errors
/// [`Error::Absent`] and [`Error::Idle`] when there is no project or no coordinator, [`Error::File`].
pub fn running(path: &Path) -> Result<(Join, String), Error> {
    let at = |name: &str| path.join(name);
    if !at(names::PROJECT_KEY).exists() {
        return Err(Error::Absent(path.to_owned()));
    }
    let address = file::read(&at(names::LISTENING))?.ok_or_else(|| Error::Idle(path.to_owned()))?;
    let address = String::from_utf8_lossy(&address).trim().to_owned();
    let ca = authority::certificate(at(names::CA))?;
    let project = ProjectKey::from(&read_key(&at(names::PROJECT_KEY))?);
    Ok((
        Join { address, project, ca: Digest::of(&ca), invitation: None },
        read_token(&at(names::OPERATOR_TOKEN))?,
    ))
}

fn read_key(path: &Path) -> Result<SigningKey, Error> {
    let text = String::from_utf8(file::read(path)?.unwrap_or_default()).unwrap_or_default();
    let damaged = |_| Error::Damaged { path: path.to_owned(), expected: "64 hexadecimal digits" };
    let seed: Digest = text.trim().parse().map_err(damaged)?;
    Ok(SigningKey::from_bytes(&seed.0))
}

fn read_token(path: &Path) -> Result<String, Error> {
    let text = String::from_utf8(file::read(path)?.unwrap_or_default()).unwrap_or_default();
    let token = text.trim();
    if token.len() < TOKEN_CHARS_MIN {
        return Err(Error::Damaged { path: path.to_owned(), expected: "a token" });
    }
    Ok(token.to_owned())
}

/// A shorter operator token than this could be guessed; ours are longer.
const TOKEN_CHARS_MIN: usize = 32;
/// Key files that others than their owner may read.
///
/// # Errors
/// [`Error::File`] when the folder cannot be read.
pub fn readable_by_others(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    use std::os::unix::fs::PermissionsExt;
    let mut open = Vec::new();
    for name in names::KEYS {
        let path = folder.join(name);
        match fs::metadata(&path) {
            Ok(meta) if meta.permissions().mode() & 0o077 != 0 => open.push(path),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::File { path, source }),
        }
    }
    Ok(open)
}

#[cfg(test)]
mod tests;
