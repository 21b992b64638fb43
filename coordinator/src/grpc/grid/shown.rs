//! What workers show: a state is read and its digest computed here, before the engine hears of it.

use super::End;
use crate::core::event::Shown;
use crate::grpc::Services;
use crate::grpc::access::Volunteer;
use crate::grpc::refusal::blocking;
use proto::bounds::{REASON_BYTES_MAX, STATE_MEMORY_BYTES_MAX};
use proto::pb::{self, refusal::Code};
use proto::trace::Point;
use proto::{Digest, bounds, state};
use std::io::{self, BufReader, Read};
use std::sync::Arc;

/// Bytes read of a state at once.
const READ_BYTES: usize = 1 << 20;

/// What a worker shows, for the engine. A blob that is not the state it should be counts as not shown.
pub(super) async fn checked(
    shared: &Services,
    volunteer: Volunteer,
    shown: pb::Shown,
) -> Result<Shown, End> {
    let ask = shown.show_id;
    if !shared.blob_access.take_show(ask, volunteer.worker) {
        // Late, or never asked for; the core says nothing to it either.
        return Ok(Shown { ask, trace: Err("not asked for".into()), state: None });
    }
    let gone = |reason: &str| {
        let reason = reason.chars().take(REASON_BYTES_MAX).collect();
        Ok(Shown { ask, trace: Err(reason), state: None })
    };
    if !shown.gone.is_empty() {
        return gone(&shown.gone);
    }
    let state = match &shown.state {
        None => None,
        Some(blob) => {
            let digest = Digest::try_from(blob.digest.as_ref())
                .map_err(|error| End::refusal(Code::Malformed, error.to_string(), 0))?;
            let blobs = Arc::clone(&shared.blobs);
            let read = move || {
                let blob = blobs.open_blob(&digest)?;
                let len = blob.len();
                let reader = BufReader::with_capacity(READ_BYTES, Reader { blob, at: 0 });
                let point =
                    state::verify(reader, STATE_MEMORY_BYTES_MAX, bounds::OUTPUT_BYTES_MAX).ok();
                Ok::<_, crate::blobs::Error>((len, point))
            };
            match blocking(read).await {
                Ok((len, point)) => {
                    let _ = shared.blob_access.reported(volunteer.network, &digest);
                    // A blob that is no state is shown all the same: it is not what the report commits to.
                    let nothing = Point { fuel: 0, state: Digest([0; 32]) };
                    Some((digest, len, point.unwrap_or(nothing)))
                }
                Err(refusal) => return gone(refusal.0.message()),
            }
        }
    };
    Ok(Shown { ask, trace: Ok(shown.trace.to_vec()), state })
}

/// A blob as a stream of bytes.
struct Reader {
    blob: crate::blobs::Blob,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.blob.read(self.at, buffer.len()).map_err(io::Error::other)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}
