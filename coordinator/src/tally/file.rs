//! The newest tally outside the store: a file of two places, written in turn, each with a digest over it. Whatever a
//! crash or a damaged byte does to one of them, the other is the tally of the commit before.

use super::Tally;
use crate::project::{self, file};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Begins each place: what it is, and its version.
const MAGIC: &[u8; 8] = b"strtally";
/// Bytes of one place: more than a tally has, and no more than a disk writes at once.
const PLACE_BYTES: usize = 512;
/// From one place to the next, bytes: places of their own for the file system too.
const STRIDE_BYTES: usize = 4096;
/// The file is given to the system with each commit, so that it is exact after any end of the process; it is forced onto
/// the disk as often as this, so that a loss of power leaves it so far behind the store at most...
pub const SYNC_EVERY: Duration = Duration::from_secs(1);
/// ...or so many commits, whichever comes first.
pub const SYNC_COMMITS: u64 = 4096;

/// The file, open.
#[derive(Debug)]
pub struct TallyFile {
    file: File,
    synced_at: Instant,
    synced_commit: u64,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The newest tally in it.
    pub tally: Tally,
    /// Whether one of its places cannot be read.
    pub torn: bool,
}

impl TallyFile {
    /// Writes a new file at `path`, whole or not at all, over one that is there.
    ///
    /// # Errors
    /// [`project::Error::File`] when the disk does not let us.
    pub fn create(path: &Path, tally: &Tally) -> Result<Self, project::Error> {
        let place = encode(tally);
        let mut content = vec![0; STRIDE_BYTES + PLACE_BYTES];
        content[..PLACE_BYTES].copy_from_slice(&place);
        content[STRIDE_BYTES..].copy_from_slice(&place);
        file::write(path, &content)?;
        Self::open(path, tally.commit)
    }

    /// Opens the file at `path`, which holds the tally of `commit`, to go on with.
    ///
    /// # Errors
    /// [`project::Error::File`] when it cannot be written.
    pub fn open(path: &Path, commit: u64) -> Result<Self, project::Error> {
        let opened = OpenOptions::new().write(true).open(path);
        let file =
            opened.map_err(|source| project::Error::File { path: path.to_owned(), source })?;
        let (synced_at, synced_commit) = (Instant::now(), commit);
        Ok(Self { file, synced_at, synced_commit })
    }

    /// The newest tally in the file at `path`; none when there is no such file, the inner one when nothing in it can be
    /// read.
    ///
    /// # Errors
    /// [`project::Error::File`] when the disk does not let us.
    pub fn read(path: &Path) -> Result<Option<Option<Read>>, project::Error> {
        let Some(content) = file::read(path)? else { return Ok(None) };
        let places = [0, STRIDE_BYTES].map(|at| content.get(at..).and_then(decode));
        let torn = places.iter().any(Option::is_none);
        let newest = places.into_iter().flatten().max_by_key(|tally| tally.commit);
        Ok(Some(newest.map(|tally| Read { tally, torn })))
    }

    /// Writes the tally of a commit that is in the store.
    ///
    /// # Errors
    /// When the disk does not let us.
    pub fn write(&mut self, tally: &Tally) -> io::Result<()> {
        let at = if tally.commit.is_multiple_of(2) { 0 } else { STRIDE_BYTES as u64 };
        self.file.write_all_at(&encode(tally), at)?;
        if SYNC_EVERY <= self.synced_at.elapsed()
            || SYNC_COMMITS <= tally.commit.saturating_sub(self.synced_commit)
        {
            self.file.sync_data()?;
            (self.synced_at, self.synced_commit) = (Instant::now(), tally.commit);
        }
        Ok(())
    }
}

impl Drop for TallyFile {
    fn drop(&mut self) {
        // A file that is behind after a loss of power is within what is allowed.
        let _ = self.file.sync_data();
    }
}

fn encode(tally: &Tally) -> [u8; PLACE_BYTES] {
    let payload = postcard::to_allocvec(tally).expect("plain data always encodes");
    let mut place = [0; PLACE_BYTES];
    let end = MAGIC.len() + payload.len();
    place[..MAGIC.len()].copy_from_slice(MAGIC);
    place[MAGIC.len()..end].copy_from_slice(&payload);
    let check = blake3::hash(&place[..end]);
    place[end..end + 32].copy_from_slice(check.as_bytes());
    place
}

fn decode(place: &[u8]) -> Option<Tally> {
    let payload = place.strip_prefix(MAGIC)?;
    let (tally, rest) = postcard::take_from_bytes::<Tally>(payload).ok()?;
    let end = place.len() - rest.len();
    let check = rest.first_chunk::<32>()?;
    (blake3::hash(&place[..end]) == *check).then_some(tally)
}
