//! Lists of files: a blob whose line *i* names the file of position *i*. Beside it, the digests of all its files in order,
//! so that whether a list names a blob is answered by a few short reads, whatever its length.

use super::{BlobStore, Error, LISTS, LinesInvalid};
use crate::project::file;
use proto::Digest;
use proto::cut::listed;
use proto::job::Input;
use proto::lines::Lines;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes of a digest in the file.
const ENTRY: u64 = 32;

impl BlobStore {
    /// Checks that each line of a list names a file that is here; returns their number.
    pub(super) fn check_list(
        &self,
        list: &Digest,
        len: &dyn Fn(&Digest) -> Option<u64>,
    ) -> Result<u64, LinesInvalid> {
        let mut digests = Vec::new();
        let count = self.each_listed(list, |number, file| {
            let why = match len(&file.digest) {
                Some(here) if here == file.len => {
                    digests.push(file.digest);
                    return Ok(());
                }
                Some(here) => format!("\"{}\" ({}) has {here} bytes", file.name, file.digest),
                None => format!("\"{}\" ({}) is not here: put it first", file.name, file.digest),
            };
            Err(LinesInvalid::Line { number, why })
        })?;
        self.keep_digests(list, digests)?;
        Ok(count)
    }

    /// Reads a list, each file with the number of its line, from 1; returns how many there are.
    ///
    /// # Errors
    /// [`LinesInvalid`], or what `take` gives.
    pub fn each_listed(
        &self,
        list: &Digest,
        mut take: impl FnMut(u64, Input) -> Result<(), LinesInvalid>,
    ) -> Result<u64, LinesInvalid> {
        let mut lines = Lines::default();
        self.index_lines(list, |_, raw| {
            let Some(line) = lines.next(raw)? else { return Ok(()) };
            let file = listed(line).map_err(|invalid| LinesInvalid::Line {
                number: lines.count(),
                why: invalid.to_string(),
            })?;
            take(lines.count(), file)
        })?;
        Ok(lines.count())
    }

    /// Whether a list names a blob.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn lists(&self, list: &Digest, blob: &Digest) -> Result<bool, LinesInvalid> {
        let path = self.digests_path(list);
        if !path.exists() {
            let mut digests = Vec::new();
            self.each_listed(list, |_, file| {
                digests.push(file.digest);
                Ok(())
            })?;
            self.keep_digests(list, digests)?;
        }
        Ok(search(&path, blob).map_err(Error::disk(&path))?)
    }

    fn digests_path(&self, list: &Digest) -> PathBuf {
        self.folder.join(LISTS).join(list.to_string())
    }

    fn keep_digests(&self, list: &Digest, mut digests: Vec<Digest>) -> Result<(), Error> {
        digests.sort_unstable();
        digests.dedup();
        let bytes: Vec<u8> = digests.iter().flat_map(|digest| digest.0).collect();
        file::write(&self.digests_path(list), &bytes).map_err(|error| match error {
            crate::project::Error::File { path, source } => Error::disk(&path)(source),
            other => Error::Disk { path: self.digests_path(list), source: io::Error::other(other) },
        })
    }
}

/// Looks for a digest in a file of digests in order.
fn search(path: &std::path::Path, wanted: &Digest) -> io::Result<bool> {
    let file = File::open(path)?;
    let (mut from, mut to) = (0, file.metadata()?.len() / ENTRY);
    while from < to {
        let middle = from + (to - from) / 2;
        let mut digest = Digest([0; 32]);
        file.read_exact_at(&mut digest.0, middle * ENTRY)?;
        match digest.cmp(wanted) {
            std::cmp::Ordering::Equal => return Ok(true),
            std::cmp::Ordering::Less => from = middle + 1,
            std::cmp::Ordering::Greater => to = middle,
        }
    }
    Ok(false)
}
