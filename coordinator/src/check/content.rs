//! Every blob: it is what its digest says, and what jobs and verdicts need is there.

use super::Findings;
use crate::blobs::{self, BlobStore};
use crate::core::saved;
use crate::core::saved::check::Tables;
use program::error::chain;

/// Reads every blob, then looks for those that are named.
pub(super) fn check(
    blobs: &BlobStore,
    tables: &Tables,
    findings: &mut Findings,
) -> Result<(), blobs::Error> {
    for digest in blobs.list()? {
        findings.blobs += 1;
        match blobs.verify(&digest) {
            Ok(len) => findings.blob_bytes += len,
            Err(error @ (blobs::Error::Digest { .. } | blobs::Error::Disk { .. })) => {
                findings.wrong(format!("blob {digest} is damaged: {}", chain(&error)));
            }
            Err(error) => return Err(error),
        }
    }
    for (id, (_, spec)) in &tables.specs {
        for (what, digest, len) in saved::blobs_of(spec) {
            match blobs.len(&digest) {
                None => findings.wrong(format!("{what} of {id} ({digest}) is not there")),
                Some(here) if len.is_some_and(|len| len != here) => {
                    findings.wrong(format!(
                        "{what} of {id} ({digest}) has {here} bytes, not as the job says"
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some((list, ..)) = spec.list().filter(|(list, ..)| blobs.len(list).is_some()) {
            let read = blobs.each_listed(&list, |_, file| {
                if blobs.len(&file.digest) != Some(file.len) {
                    let (name, digest, len) = (file.name, file.digest, file.len);
                    findings.wrong(format!(
                        "file \"{name}\" of {id} ({digest}), of {len} bytes, is not there"
                    ));
                }
                Ok(())
            });
            if let Err(error) = read {
                findings.wrong(format!("the list of files of {id} ({list}): {}", chain(&error)));
            }
        }
    }
    for (digest, len) in &tables.outputs {
        if blobs.len(digest) != Some(*len) {
            findings.wrong(format!(
                "the output {digest} of {len} bytes, on which a verdict rests, is not there"
            ));
        }
    }
    Ok(())
}
