//! Inputs as a kernel sees them: numbered, of known length, read anywhere.

use crate::child::files::Files;
use crate::protocol::Need;
use crate::unit::Input;
use std::io;
use std::os::unix::fs::FileExt;

/// The inputs of a unit.
pub(crate) struct Inputs {
    inputs: Vec<Placed>,
    files: Files,
}

/// An input with the place at which each of its segments ends.
#[derive(Debug)]
struct Placed {
    input: Input,
    ends: Vec<u64>,
}

impl Inputs {
    pub(crate) fn new(inputs: &[Input], files: Files) -> Self {
        let place = |input: &Input| {
            let mut end = 0_u64;
            let ends = input.segments.iter().map(|segment| {
                end = end.saturating_add(segment.len);
                end
            });
            Placed { ends: ends.collect(), input: input.clone() }
        };
        Self { inputs: inputs.iter().map(place).collect(), files }
    }

    pub(crate) fn count(&self) -> usize {
        self.inputs.len()
    }

    /// Bytes of an input; none if there is no such input.
    pub(crate) fn len(&self, input: usize) -> Option<u64> {
        self.inputs.get(input).map(|placed| placed.ends.last().copied().unwrap_or(0))
    }

    /// Fills `buffer` from `offset` as far as the input goes and returns the bytes read. An error means that a file is
    /// not what it was said to be.
    pub(crate) fn read(&self, input: usize, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(placed) = self.inputs.get(input) else { return Ok(0) };
        let mut index = placed.ends.partition_point(|end| *end <= offset);
        let mut at = offset;
        let mut filled = 0;
        while filled < buffer.len() {
            let (Some(segment), Some(end)) =
                (placed.input.segments.get(index), placed.ends.get(index))
            else {
                break;
            };
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len() - filled);
            let from = segment.offset.saturating_add(segment.len - (end - at));
            let number = |n: usize| u32::try_from(n).map_err(io::Error::other);
            let need = Need::Input { input: number(input)?, segment: number(index)? };
            let file = self.files.input(&segment.path, need)?;
            file.read_exact_at(&mut buffer[filled..filled + most], from)?;
            filled += most;
            at += most as u64;
            index += 1;
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::files::bare;
    use crate::unit::{Segment, Unit};

    #[test]
    fn segments_read_like_their_concatenation() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..=255).collect();
        let segment = |name: &str, offset: u64, len: u64| {
            let path = dir.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            Segment { path, digest: [0; 32], offset, len }
        };
        let segments = vec![
            segment("a", 10, 30),
            segment("b", 0, 0),
            segment("a", 200, 56),
            segment("c", 255, 1),
        ];
        let mut whole = bytes[10..40].to_vec();
        whole.extend_from_slice(&bytes[200..256]);
        whole.push(255);
        let inputs = |inputs: Vec<Input>| {
            let unit = Unit { inputs, ..bare() };
            Inputs::new(&unit.inputs.clone(), Files::of(unit))
        };
        let read = inputs(vec![Input { segments }, Input::default()]);
        assert_eq!(
            (read.count(), read.len(0), read.len(1), read.len(2)),
            (2, Some(87), Some(0), None)
        );
        for offset in 0..90_u8 {
            for len in [0, 1, 5, 29, 30, 31, 87, 100] {
                let mut buffer = vec![0; len];
                let n = read.read(0, u64::from(offset), &mut buffer).unwrap();
                let from = usize::from(offset).min(87);
                assert_eq!(buffer[..n], whole[from..(from + len).min(87)]);
            }
        }
        assert_eq!(read.read(0, u64::MAX, &mut [0; 4]).unwrap(), 0);
        let short = segment("a", 250, 10);
        let short = inputs(vec![Input { segments: vec![short] }]);
        assert!(short.read(0, 0, &mut [0; 10]).is_err());
    }
}
