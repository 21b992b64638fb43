//! Files that are whole or absent, and private: written aside, synchronised, renamed. Nothing that somebody has laid in the
//! way, a link least of all, is followed or written over.

use crate::shell;
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bits of a mode by which others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;
/// Bits of a mode by which others than the owner may do anything.
const OTHERS: u32 = 0o077;

/// Makes a folder that only its owner may enter, with its parents, whatever the umask.
///
/// # Errors
/// The system's.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A process that was killed holds its lock until the system has taken all of it down, and one that is being started holds its
/// parent's for a moment: so often, and so long apart, is a lock tried.
const LOCK_TRIES: u32 = 20;
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// Locks a file that [`open_private`] has opened, for as long as it is open; whether nobody else holds it. Tries for a second.
///
/// # Errors
/// The system's.
pub fn lock(file: &File) -> io::Result<bool> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT),
            Err(TryLockError::Error(source)) => return Err(source),
        }
    }
    Ok(false)
}

/// Why a folder cannot hold what nobody else may change.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// Others may write there.
    #[error(
        "others may write into {path} (mode {mode:03o}), and so replace keys and programs in it: look whether all in it is yours, then type `chmod go-rwx {}`",
        shell::word(path)
    )]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error(
        "{path} belongs to another user (number {owner}), who may replace what is in it: run this as that user, or choose another folder"
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// The number of that user.
        owner: u32,
    },
    /// The system's.
    #[error("cannot use the folder {path}: {source}")]
    File {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes a folder private that is to hold keys and what is trusted for lying there, and makes it when it is not there.
/// One that others could only read is closed to them.
///
/// # Errors
/// [`Unfit`] when others could have written there.
pub fn make_private(path: &Path) -> Result<(), Unfit> {
    let at = |source| Unfit::File { path: path.to_owned(), source };
    make_folder(path).map_err(at)?;
    let found = fs::metadata(path).map_err(at)?;
    let mode = found.mode() & 0o777;
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(Unfit::Foreign { path: path.to_owned(), owner: found.uid() });
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(Unfit::Open { path: path.to_owned(), mode });
    }
    if mode & OTHERS != 0 {
        fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)).map_err(at)?;
    }
    Ok(())
}

/// Opens a file of mode 0600 for reading and writing, made when it is not there, not cut; no link.
///
/// # Errors
/// The system's.
pub fn open_private(path: &Path) -> io::Result<File> {
    private().create(true).truncate(false).open(path)
}

/// Opens an empty file of mode 0600 for reading and writing. What lay there is removed, not written to.
///
/// # Errors
/// The system's.
pub fn create_anew(path: &Path) -> io::Result<File> {
    remove(path)?;
    private().create_new(true).open(path)
}

fn private() -> OpenOptions {
    let mut options = no_link();
    options.read(true).write(true).mode(0o600);
    options
}

/// How a file is opened in a folder that others may write to, which must be no link that one of them has laid there.
#[must_use]
pub fn no_link() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Writes a file of mode 0600 so that after a crash it is there whole or not at all; leaves no debris when it fails.
///
/// # Errors
/// The system's.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside =
        path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().display()));
    write_aside(&aside, content).and_then(|()| fs::rename(&aside, path)).inspect_err(|_| {
        // What failed first is told; this would only repeat it.
        let _ = fs::remove_file(&aside);
    })?;
    sync_folder_of(path)
}

fn write_aside(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = create_anew(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The system's.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the name of a file durable.
///
/// # Errors
/// The system's.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    sync_folder(folder.unwrap_or_else(|| Path::new(".")))
}

/// Removes a file if it is there; of a link itself, not what it leads to.
///
/// # Errors
/// The system's.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether an error means that the disk, or the owner's share of it, is full.
#[must_use]
pub fn is_no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_link_that_was_laid_before_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let victim = home.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let path = home.path().join("token");
        symlink(&victim, home.path().join(".token.new")).unwrap();
        write(&path, b"secret").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"secret".to_vec(), 0o600));
        assert!(!home.path().join(".token.new").exists());
        // And the name itself may be one.
        fs::remove_file(&path).unwrap();
        symlink(&victim, &path).unwrap();
        assert!(open_private(&path).is_err());
        write(&path, b"secret").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(path.symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn what_failed_leaves_no_debris() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("folder");
        fs::create_dir_all(path.join("full")).unwrap();
        assert!(write(&path, b"secret").is_err());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused_and_one_that_they_may_read_is_closed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("some folder");
        make_private(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        for open in [0o755, 0o750, 0o711] {
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            make_private(&path).unwrap();
            assert_eq!(mode(&path), 0o700);
        }
        for open in [0o777, 0o770, 0o702] {
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            let refused = make_private(&path).unwrap_err().to_string();
            assert!(refused.contains("chmod go-rwx "), "{refused}");
            assert!(refused.contains(&shell::word(&path)), "{refused}");
            assert_eq!(mode(&path), open);
        }
    }
}
