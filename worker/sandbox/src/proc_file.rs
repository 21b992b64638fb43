//! Files in which the system tells of a process.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes of what the system says of a process.
const BYTES_MAX: usize = 16 << 10;

/// What the system says in such a file at this moment; none where it says nothing.
pub(crate) fn read_whole(file: &File) -> Option<String> {
    let mut text = vec![0; BYTES_MAX];
    let n = file.read_at(&mut text, 0).ok().filter(|n| 0 < *n)?;
    text.truncate(n);
    Some(String::from_utf8_lossy(&text).into_owned())
}
