//! Length-prefixed frames between a slot and its child, over a socket there and a pipe back, all bounded.
//!
//! A frame is the length of a postcard header and of raw payload (both 32-bit little-endian), the header, the payload.

use super::COMPILED_BYTES_MAX;
use crate::unit::OUTPUT_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Read, Write};

/// Bytes of a header: a batch of units with the longest parameters or with very many segments.
const HEADER_BYTES_MAX: usize = 64 << 20;
/// Bytes of a payload: one output, or one compiled kernel.
const PAYLOAD_BYTES_MAX: u64 =
    if OUTPUT_BYTES_MAX < COMPILED_BYTES_MAX { COMPILED_BYTES_MAX } else { OUTPUT_BYTES_MAX };
/// Bytes taken from a pipe at once.
const READ_BYTES: usize = 256 << 10;

/// Writes one frame.
pub(crate) fn write(
    to: &mut impl Write,
    header: &impl Serialize,
    payload: &[u8],
) -> io::Result<()> {
    let header = postcard::to_allocvec(header).map_err(io::Error::other)?;
    let too_long = |_| io::Error::other("a message between slot and child is too long");
    to.write_all(&u32::try_from(header.len()).map_err(too_long)?.to_le_bytes())?;
    to.write_all(&u32::try_from(payload.len()).map_err(too_long)?.to_le_bytes())?;
    to.write_all(&header)?;
    to.write_all(payload)
}

/// Waits for one frame; none at the end of the input.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut frames = Frames::default();
    loop {
        let missing = frames.missing()?;
        if missing == 0 {
            return Ok(frames.take()?.map(|(header, _)| header));
        }
        let start = frames.bytes.len();
        frames.bytes.reserve(missing.min(READ_BYTES));
        from.take(missing as u64).read_to_end(&mut frames.bytes)?;
        if frames.bytes.len() == start {
            return Ok(None);
        }
    }
}

/// Frames as they come out of a pipe in pieces.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    /// Bytes at the front that were taken already.
    taken: usize,
}

impl Frames {
    /// Reads once what is there; false at the end of the input.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<bool> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let start = self.bytes.len();
        self.bytes.resize(start + READ_BYTES, 0);
        let n = from.read(&mut self.bytes[start..]);
        self.bytes.truncate(start + *n.as_ref().unwrap_or(&0));
        n.map(|n| 0 < n)
    }

    /// The next whole frame, if there is one.
    pub(crate) fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<u8>)>> {
        let Some((header, payload)) = self.lengths()? else { return Ok(None) };
        let frame = &self.bytes[self.taken + 8..];
        if frame.len() < header + payload {
            return Ok(None);
        }
        let message = postcard::from_bytes(&frame[..header]).map_err(io::Error::other)?;
        let output = frame[header..header + payload].to_vec();
        self.taken += 8 + header + payload;
        Ok(Some((message, output)))
    }

    /// Bytes that the frame in front still lacks, as far as is known.
    fn missing(&self) -> io::Result<usize> {
        let have = self.bytes.len() - self.taken;
        Ok(match self.lengths()? {
            None => 8 - have,
            Some((header, payload)) => (8 + header + payload).saturating_sub(have),
        })
    }

    /// Whether the frame in front may be taken in.
    pub(crate) fn within_bounds(&self) -> bool {
        self.lengths().is_ok()
    }

    fn lengths(&self) -> io::Result<Option<(usize, usize)>> {
        let Some(prefix) = self.bytes.get(self.taken..self.taken + 8) else { return Ok(None) };
        let length = |bytes: [u8; 4]| u32::from_le_bytes(bytes) as usize;
        let header = length([prefix[0], prefix[1], prefix[2], prefix[3]]);
        let payload = length([prefix[4], prefix[5], prefix[6], prefix[7]]);
        if HEADER_BYTES_MAX < header || PAYLOAD_BYTES_MAX < payload as u64 {
            return Err(io::Error::other("a message between slot and child is too long"));
        }
        Ok(Some((header, payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::*;

    #[test]
    fn frames_survive_any_cut_and_long_ones_are_refused() {
        let mut bytes = Vec::new();
        for n in 0..20_u16 {
            write(
                &mut bytes,
                &Request::Interrupt { batch: u64::from(n) * 1_000_000 },
                &vec![7; usize::from(n) * 40],
            )
            .unwrap();
        }
        for piece in [1, 3, 7, 50, 4096] {
            let mut frames = Frames::default();
            let mut batches = Vec::new();
            for mut part in bytes.chunks(piece) {
                assert!(frames.fill(&mut part).unwrap());
                while let Some((Request::Interrupt { batch }, payload)) = frames.take().unwrap() {
                    assert_eq!(payload.len() as u64 * 25_000, batch);
                    batches.push(batch / 1_000_000);
                }
            }
            assert_eq!(batches, (0..20).collect::<Vec<_>>());
        }
        assert!(read::<Request>(&mut [255_u8; 100].as_slice()).is_err());
        assert!(read::<Request>(&mut bytes[..5].as_ref()).unwrap().is_none());
    }
}
