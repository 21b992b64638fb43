//! Gets one blob into a file, verified, going on where it was stopped.

use super::super::watch::is_lost;
use crate::client::Client;
use crate::error::Error;
use proto::{Digest, pb};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// A connection that breaks this often without a byte in between is not worth more.
const ATTEMPTS_MAX: u32 = 6;

/// Puts the content of `digest` into `path`; what is there already is kept when it is right.
///
/// # Errors
/// When it cannot be had, or what comes is not that content.
pub(crate) async fn get(
    client: &Client,
    digest: Digest,
    len: u64,
    path: &Path,
) -> Result<(), Error> {
    if path.exists() && digest_of(path)? == (digest, len) {
        return Ok(());
    }
    let part = path.with_extension("part");
    let mut attempt = 0;
    loop {
        let mut file = program::file::no_link()
            .create(true)
            .append(true)
            .open(&part)
            .map_err(Error::file("write", &part))?;
        let start = file.metadata().map_err(Error::file("read", &part))?.len();
        if len <= start {
            break;
        }
        let Err(status) = append(client, digest, start, len, &mut file, &part).await? else {
            break;
        };
        let moved = start < file.metadata().map_err(Error::file("read", &part))?.len();
        attempt = if moved { 1 } else { attempt + 1 };
        if ATTEMPTS_MAX < attempt || !is_lost(&status) {
            return Err(client.error("give content", &status));
        }
        tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
    }
    if digest_of(&part)? != (digest, len) {
        fs::remove_file(&part).map_err(Error::file("remove", &part))?;
        return Err(Error::Unverified(format!(
            "the content that came is not {digest}; it was thrown away: try again"
        )));
    }
    File::open(&part).and_then(|file| file.sync_all()).map_err(Error::file("write", &part))?;
    fs::rename(&part, path).map_err(Error::file("write", path))
}

/// Appends what comes; the inner error is the connection's.
async fn append(
    client: &Client,
    digest: Digest,
    offset: u64,
    len: u64,
    file: &mut File,
    path: &Path,
) -> Result<Result<(), tonic::Status>, Error> {
    let request = pb::GetRequest { digest: digest.0.to_vec().into(), offset, ..Default::default() };
    let mut stream = match client.blobs().get(request).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return Ok(Err(status)),
    };
    let mut at = offset;
    loop {
        match stream.message().await {
            Ok(Some(chunk)) => {
                at += chunk.data.len() as u64;
                if len < at {
                    return Err(Error::Unverified(format!(
                        "more came than the {len} bytes of {digest}"
                    )));
                }
                file.write_all(&chunk.data).map_err(Error::file("write", path))?;
            }
            Ok(None) if at == len => return Ok(Ok(())),
            Ok(None) => return Ok(Err(tonic::Status::unavailable("the content ended early"))),
            Err(status) => return Ok(Err(status)),
        }
    }
}

fn digest_of(path: &Path) -> Result<(Digest, u64), Error> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).map_err(Error::file("read", path))?;
    hasher.update_reader(file).map_err(Error::file("read", path))?;
    Ok((Digest(*hasher.finalize().as_bytes()), hasher.count()))
}

/// Bytes of a blob.
///
/// # Errors
/// When the coordinator does not have it.
pub(crate) async fn len(client: &Client, digest: Digest) -> Result<u64, Error> {
    let request = pb::GetRequest { digest: digest.0.to_vec().into(), len: 1, ..Default::default() };
    let answer = client
        .blobs()
        .get(request)
        .await
        .map_err(|status| client.error("give content", &status))?;
    let chunk = answer
        .into_inner()
        .message()
        .await
        .map_err(|status| client.error("give content", &status))?;
    chunk
        .map(|chunk| chunk.total_len)
        .ok_or_else(|| Error::Failed(format!("the coordinator sent nothing of {digest}")))
}
