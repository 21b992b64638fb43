//! The disk that a worker shares with its owner: what is free on it, and how much is left so.

use std::path::Path;

/// What is left free unless the owner says otherwise, bytes, where a twentieth of the disk is not less.
const RESERVE_BYTES: u64 = 1 << 30;
/// This part of a small disk is left free.
const RESERVE_PART: u64 = 20;

/// Bytes that this user may still write on the disk of `path`; none where the system does not tell.
fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes of the disk of `path` that are left free unless the owner says otherwise: a machine without room stops working for
/// its owner.
pub(crate) fn reserve_bytes(path: &Path) -> u64 {
    let disk = rustix::fs::statvfs(path).map(|disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    disk.map_or(RESERVE_BYTES, |bytes| RESERVE_BYTES.min(bytes / RESERVE_PART))
}

/// Why `more` bytes have no room on the disk of `path` beside those that are left free; none when they have.
pub(crate) fn lacks_room(path: &Path, reserve: u64, more: u64) -> Option<String> {
    let free = free_bytes(path)?;
    (free < more.saturating_add(reserve)).then(|| {
        format!(
            "the disk is full: {more} bytes are needed beside the {reserve} that are left free (--reserve), {free} are free on the disk of {}",
            path.display()
        )
    })
}
