//! Brings the content of a job to the coordinator: what is there already is not sent again.

use crate::client::{Client, is_passing};
use crate::error::Error;
use crate::job_file::{Blob, Content};
use crate::output::Output;
use indicatif::ProgressBar;
use proto::bounds::CHUNK_BYTES_MAX;
use proto::pb;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::{JoinError, JoinSet};

/// Digests in one question, as the protocol allows.
const HAVE_DIGESTS_MAX: usize = 10_000;
/// Blobs that are sent at once: each waits for the coordinator's disk at its end, and many are small.
const SENDING_MAX: usize = 16;
/// A connection that breaks this often in the middle of one blob is not worth more.
const ATTEMPTS_MAX: u32 = 5;

/// Bytes sent.
///
/// # Errors
/// As for [`Client::call`], and when a file cannot be read or changes meanwhile.
pub async fn upload(client: &Client, blobs: &[Blob], output: Output) -> Result<u64, Error> {
    let missing = missing(client, blobs).await?;
    let bytes = missing.iter().map(|blob| blob.len).sum();
    let bar = output.bar(bytes, "uploading [{bar:30}] {binary_bytes}/{binary_total_bytes}, {binary_bytes_per_sec}, {eta} left");
    let mut sending = JoinSet::new();
    for blob in missing {
        if SENDING_MAX <= sending.len()
            && let Some(sent) = sending.join_next().await
        {
            ended(sent)?;
        }
        let (client, blob, bar) = (client.clone(), blob.clone(), bar.clone());
        sending.spawn(async move { put(&client, &blob, &bar).await });
    }
    while let Some(sent) = sending.join_next().await {
        ended(sent)?;
    }
    bar.finish_and_clear();
    Ok(bytes)
}

/// How sending a blob ended.
fn ended(sent: Result<Result<(), Error>, JoinError>) -> Result<(), Error> {
    sent.unwrap_or_else(|error| Err(Error::Failed(format!("content was not sent: {error}"))))
}

async fn missing<'a>(client: &Client, blobs: &'a [Blob]) -> Result<Vec<&'a Blob>, Error> {
    let mut missing = Vec::new();
    for blobs in blobs.chunks(HAVE_DIGESTS_MAX) {
        let digests = blobs.iter().map(|blob| blob.digest.0.to_vec().into()).collect();
        let (service, request) = (client.blobs(), pb::HaveRequest { digests });
        let reply = client
            .call("tell which content it has", || {
                let (mut service, request) = (service.clone(), request.clone());
                async move { service.have(request).await }
            })
            .await?;
        if reply.have.len() != blobs.len() {
            return Err(Error::Failed(
                "the coordinator's answer about its content makes no sense".into(),
            ));
        }
        missing
            .extend(blobs.iter().zip(reply.have).filter(|(_, have)| !have).map(|(blob, _)| blob));
    }
    Ok(missing)
}

async fn put(client: &Client, blob: &Blob, bar: &ProgressBar) -> Result<(), Error> {
    for attempt in 1.. {
        let trouble = Arc::new(Mutex::new(None));
        let sent = Arc::new(AtomicU64::new(0));
        let chunks = Chunks::open(blob, bar.clone(), Arc::clone(&sent), Arc::clone(&trouble))?;
        let Err(status) = client.blobs().put(tokio_stream::iter(chunks)).await else { break };
        bar.dec(sent.load(Ordering::Relaxed));
        if let Some(error) = trouble.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        if ATTEMPTS_MAX <= attempt || !is_passing(&status) {
            return Err(client.error("take content", &status));
        }
        tokio::time::sleep(std::time::Duration::from_secs(1 << attempt)).await;
    }
    Ok(())
}

/// The messages that carry one blob.
struct Chunks {
    reader: Box<dyn Read + Send>,
    digest: proto::Digest,
    /// Of what was read.
    hasher: blake3::Hasher,
    begun: bool,
    len: u64,
    sent: Arc<AtomicU64>,
    bar: ProgressBar,
    trouble: Arc<Mutex<Option<Error>>>,
    name: std::path::PathBuf,
}

impl Chunks {
    fn open(
        blob: &Blob,
        bar: ProgressBar,
        sent: Arc<AtomicU64>,
        trouble: Arc<Mutex<Option<Error>>>,
    ) -> Result<Self, Error> {
        let (reader, name): (Box<dyn Read + Send>, _) = match &blob.content {
            Content::File(path) => {
                (Box::new(File::open(path).map_err(Error::file("read", path))?), path.clone())
            }
            Content::Bytes(bytes) => {
                (Box::new(std::io::Cursor::new(bytes.clone())), "what was made here".into())
            }
        };
        let (digest, len) = (blob.digest, blob.len);
        let hasher = blake3::Hasher::new();
        Ok(Self { reader, digest, hasher, begun: false, len, sent, bar, trouble, name })
    }

    /// Whether the next piece is of what was read before: at its end all of it must be.
    fn fits(&mut self, data: &[u8]) -> bool {
        let sent = self.sent.load(Ordering::Relaxed) + data.len() as u64;
        self.hasher.update(data);
        match sent.cmp(&self.len) {
            std::cmp::Ordering::Less => !data.is_empty(),
            std::cmp::Ordering::Equal => self.hasher.finalize().as_bytes() == &self.digest.0,
            std::cmp::Ordering::Greater => false,
        }
    }

    fn read(&mut self) -> std::io::Result<Vec<u8>> {
        let mut data = Vec::with_capacity(CHUNK_BYTES_MAX);
        self.reader.by_ref().take(CHUNK_BYTES_MAX as u64).read_to_end(&mut data)?;
        Ok(data)
    }
}

impl Iterator for Chunks {
    type Item = pb::PutRequest;

    fn next(&mut self) -> Option<pb::PutRequest> {
        let first = !std::mem::replace(&mut self.begun, true);
        if !first && self.len <= self.sent.load(Ordering::Relaxed) {
            return None;
        }
        let data = match self.read() {
            Ok(data) if self.fits(&data) => data,
            Ok(_) => {
                let message = format!(
                    "{} has changed since it was looked at: submit again once nobody writes to it",
                    self.name.display()
                );
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Error::Failed(message));
                return None;
            }
            Err(source) => {
                *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Error::file("read", &self.name)(source));
                return None;
            }
        };
        self.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.bar.inc(data.len() as u64);
        let (digest, len) =
            if first { (self.digest.0.to_vec().into(), self.len) } else { Default::default() };
        Some(pb::PutRequest { digest, len, data: data.into() })
    }
}
