//! Who put how many bytes, for quotas: a line of text for each new blob. A line that a crash cut is passed over: a quota
//! is a bound, not an account.

use super::Error;
use crate::core::saved::whose::Owned;
use proto::Digest;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What each whole line of the log says.
pub(super) fn lines(log: &[u8]) -> impl Iterator<Item = Owned> {
    log.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.splitn(3, ' ');
        let (digest, len) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((digest, len, fields.next()?.to_owned()))
    })
}

/// Bytes put by account.
#[derive(Debug)]
pub(super) struct Owners {
    path: PathBuf,
    inner: Mutex<(HashMap<String, u64>, File)>,
}

impl Owners {
    /// Reads the log at `path`, or begins it.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let open = || {
            let mut options = OpenOptions::new();
            let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            if text.last().is_some_and(|last| *last != b'\n') {
                file.write_all(b"\n")?;
            }
            Ok((text, file))
        };
        let (text, file) = open().map_err(Error::disk(path))?;
        let mut bytes = HashMap::new();
        for (_, len, account) in lines(&text) {
            *bytes.entry(account).or_default() += len;
        }
        Ok(Self { path: path.to_owned(), inner: Mutex::new((bytes, file)) })
    }

    /// Bytes that `account` has put.
    pub(super) fn bytes(&self, account: &str) -> u64 {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0.get(account).copied().unwrap_or(0)
    }

    /// Counts a new blob to `account`.
    pub(super) fn add(&self, account: &str, digest: &Digest, len: u64) -> Result<(), Error> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *inner.0.entry(account.to_owned()).or_default() += len;
        let line = format!("{digest} {len} {account}\n");
        inner.1.write_all(line.as_bytes()).map_err(Error::disk(&self.path))
    }
}
