//! What was committed, read from the store without the core: the core as it was, results, receipts, the log, whose blobs are.

pub mod check;
pub mod load;
pub mod log;
pub mod read;
pub mod results;
pub mod whose;

use crate::Core;
use crate::event::{Earlier, Incoming, Missing, SignedBatch};
use crate::record::{Table, batch_key, decode_batch};
use crate::store::{self, Store};
use proto::job::JobSpec;
use proto::{Digest, ProjectKey};

pub use load::load;
pub use results::Results;

/// Why what was committed cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A record does not decode: it was damaged, or written by a newer release.
    #[error(
        "the record {key} cannot be read: it is damaged or of a newer release; run `starling-coordinator check`"
    )]
    Record {
        /// Its key, for people.
        key: String,
    },
    /// The records contradict each other.
    #[error(
        "the records contradict each other: {0}; run `starling-coordinator check`, or restore a backup"
    )]
    Contradiction(String),
    /// The records are of another project.
    #[error("the store belongs to project {0}: each project needs a folder of its own")]
    OtherProject(ProjectKey),
}

/// A batch as the core takes it in: `missing` are its reports whose output is not here, in order, and what is known under its
/// sequence is looked up.
///
/// # Errors
/// [`Error`] when the store cannot be read.
pub fn intake(
    core: &Core,
    store: &dyn Store,
    signed: SignedBatch,
    missing: Vec<Missing>,
) -> Result<Incoming, Error> {
    let earlier = match core.worker_number(&signed.batch.worker) {
        Some(worker) => earlier(core, store, worker, &signed)?,
        None => Earlier::Nothing,
    };
    Ok(Incoming { signed, missing, earlier })
}

fn earlier(
    core: &Core,
    store: &dyn Store,
    worker: u32,
    signed: &SignedBatch,
) -> Result<Earlier, Error> {
    let sequence = signed.batch.sequence;
    if core.sequence(worker) < sequence {
        return Ok(Earlier::Nothing);
    }
    let same =
        |payload: &[u8]| if payload == &*signed.payload { Earlier::Same } else { Earlier::Other };
    if let Some(payload) = core.batch_in_commit(worker, sequence) {
        return Ok(same(payload));
    }
    let stored = store.get(&batch_key(Table::Batch, worker, sequence))?;
    Ok(stored
        .as_deref()
        .and_then(decode_batch)
        .map_or(Earlier::Nothing, |(_, payload)| same(payload)))
}

/// The blobs that a specification names: what each is, its digest, and its length where the specification says it. Those
/// that a list of files names are not among them.
#[must_use]
pub fn blobs_of(spec: &JobSpec) -> Vec<(String, Digest, Option<u64>)> {
    let mut blobs = vec![("the kernel".to_owned(), spec.kernel, None)];
    if let Some(kernel) = spec.merge.and_then(|merge| merge.kernel) {
        blobs.push(("the merge kernel".to_owned(), kernel, None));
    }
    blobs.extend(
        spec.inputs
            .iter()
            .map(|input| (format!("input \"{}\"", input.name), input.digest, Some(input.len))),
    );
    let lines = spec.line_file().map(|(digest, len, _)| {
        let what = if spec.list().is_some() { "the list of files" } else { "the file of lines" };
        (what.to_owned(), digest, Some(len))
    });
    blobs.extend(lines);
    blobs
}
