//! The profile: which coordinator, and the token that says who asks.

use crate::error::Error;
use directories::ProjectDirs;
use proto::join::Join;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Who asks whom. Kept in a file that only its owner may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The coordinator.
    pub join: Join,
    /// The researcher's token.
    pub token: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    join: String,
    token: String,
}

/// The file that is used when none is named.
///
/// # Errors
/// When the user has no home directory.
pub fn default_path() -> Result<PathBuf, Error> {
    Ok(dirs()?.config_dir().join("profile.json"))
}

/// Where compiled kernels are kept.
///
/// # Errors
/// When the user has no home directory.
pub fn cache_path() -> Result<PathBuf, Error> {
    Ok(dirs()?.cache_dir().join("kernels"))
}

fn dirs() -> Result<ProjectDirs, Error> {
    ProjectDirs::from("", "", "starling").ok_or_else(|| {
        Error::Failed(
            "this user has no home directory: name the profile with --profile FILE, or in the variable STARLING_PROFILE"
                .into(),
        )
    })
}

impl Profile {
    /// Reads a profile.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::Refused {
                    doing: "answer".into(),
                    message: format!("you are not logged in (there is no {})", path.display()),
                    hint: ": starling login JOIN, with the join string and then the token that the operator gave you",
                });
            }
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        let damaged = || Error::Failed(format!("{} is damaged: log in again", path.display()));
        let stored: Stored = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        Ok(Self { join: stored.join.parse().map_err(|_| damaged())?, token: stored.token })
    }

    /// Writes the profile, mode 0600.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let stored = Stored { join: self.join.to_string(), token: self.token.clone() };
        let bytes =
            serde_json::to_vec_pretty(&stored).map_err(|error| Error::Failed(error.to_string()))?;
        write_private(path, &bytes)
    }
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        program::file::make_folder(folder).map_err(Error::file("create", folder))?;
    }
    program::file::write(path, content).map_err(Error::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_profile_is_private_and_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/profile.json");
        let join = Join {
            address: "h:1".into(),
            project: proto::ProjectKey([1; 32]),
            ca: proto::Digest([2; 32]),
            invitation: None,
        };
        let profile = Profile { join, token: "t".into() };
        assert_eq!(Profile::load(&path).unwrap_err().exit_code(), 4);
        profile.save(&path).unwrap();
        assert_eq!(Profile::load(&path).unwrap(), profile);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "{").unwrap();
        assert_eq!(Profile::load(&path).unwrap_err().exit_code(), 1);
    }
}
