//! [`program::file`] with the errors of a project's folder.

use super::Error;
use std::fs::{self, File};
use std::io;
use std::path::Path;

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    |source| Error::File { path: path.to_owned(), source }
}

/// Makes a folder that only its owner may enter, with its parents.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    program::file::make_folder(path).map_err(at(path))
}

/// Opens a file of mode 0600 for writing, made when it is not there, not cut.
pub(crate) fn open_private(path: &Path) -> Result<File, Error> {
    program::file::open_private(path).map_err(at(path))
}

/// The content of a file; `None` when it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

/// Writes a file of mode 0600 so that after a crash it is there whole or not at all.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    program::file::write(path, content).map_err(at(path))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    program::file::sync_folder(path)
}
