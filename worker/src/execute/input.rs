//! Inputs as a kernel sees them: numbered, of known length, read anywhere.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::unit::Input;

/// Files that are kept open: a kernel that walks over more inputs than that at once opens them again and again.
const OPEN_MAX: usize = 64;

/// The inputs of a unit.
#[derive(Debug)]
pub(super) struct Inputs {
    inputs: Vec<Placed>,
    /// The last used first.
    open: VecDeque<(PathBuf, File)>,
}

/// An input with the place at which each of its segments ends.
#[derive(Debug)]
struct Placed {
    input: Input,
    ends: Vec<u64>,
}

impl Inputs {
    pub(super) fn new(inputs: &[Input]) -> Self {
        let place = |input: &Input| {
            let mut end = 0_u64;
            let ends = input.segments.iter().map(|segment| {
                end = end.saturating_add(segment.len);
                end
            });
            Placed { ends: ends.collect(), input: input.clone() }
        };
        Self { inputs: inputs.iter().map(place).collect(), open: VecDeque::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.inputs.len()
    }

    /// Bytes of an input; none if there is no such input.
    pub(super) fn len(&self, input: usize) -> Option<u64> {
        self.inputs.get(input).map(|placed| placed.ends.last().copied().unwrap_or(0))
    }

    /// Fills `buffer` from `offset` as far as the input goes and returns the bytes read. An error means that a file is
    /// not what it was said to be.
    pub(super) fn read(
        &mut self,
        input: usize,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
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
            file(&mut self.open, &segment.path)?
                .read_exact_at(&mut buffer[filled..filled + most], from)?;
            filled += most;
            at += most as u64;
            index += 1;
        }
        Ok(filled)
    }
}

fn file<'a>(open: &'a mut VecDeque<(PathBuf, File)>, path: &Path) -> io::Result<&'a File> {
    match open.iter().position(|(other, _)| other == path) {
        Some(0) => {}
        Some(index) => open.swap(0, index),
        None => {
            let file = File::open(path)?;
            open.truncate(OPEN_MAX - 1);
            open.push_front((path.to_owned(), file));
        }
    }
    open.front().map(|(_, file)| file).ok_or_else(|| io::Error::other("no file was opened"))
}

#[cfg(test)]
mod tests {
    use super::super::unit::Segment;
    use super::*;

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
        let mut inputs = Inputs::new(&[Input { segments }, Input::default()]);
        assert_eq!(
            (inputs.count(), inputs.len(0), inputs.len(1), inputs.len(2)),
            (2, Some(87), Some(0), None)
        );
        for offset in 0..90_u8 {
            for len in [0, 1, 5, 29, 30, 31, 87, 100] {
                let mut buffer = vec![0; len];
                let n = inputs.read(0, u64::from(offset), &mut buffer).unwrap();
                let from = usize::from(offset).min(87);
                assert_eq!(buffer[..n], whole[from..(from + len).min(87)]);
            }
        }
        assert_eq!(inputs.read(0, u64::MAX, &mut [0; 4]).unwrap(), 0);
        let short = segment("a", 250, 10);
        assert!(Inputs::new(&[Input { segments: vec![short] }]).read(0, 0, &mut [0; 10]).is_err());
    }
}
