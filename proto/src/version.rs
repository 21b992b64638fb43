//! Versions of the protocol: a newer minor version is served, a different major is refused.

use crate::pb;

/// Changes that an older peer cannot live with.
pub const MAJOR: u32 = 1;
/// Changes that an older peer need not know of.
pub const MINOR: u32 = 0;

/// The peer speaks another major version of the protocol.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "this side speaks protocol {MAJOR}.{MINOR}, the other ({software}) {major}.{minor}: install the release of Starling that speaks {MAJOR}.x on both"
)]
pub struct Incompatible {
    /// What the peer calls itself.
    pub software: String,
    /// Its major version.
    pub major: u32,
    /// Its minor version.
    pub minor: u32,
}

/// What this side says of itself; `software` is its name and release.
#[must_use]
pub fn ours(software: &str) -> pb::Version {
    pb::Version { major: MAJOR, minor: MINOR, software: software.to_owned() }
}

/// Checks that the peer can be spoken with; no version at all counts as 0.0.
///
/// # Errors
/// [`Incompatible`] when the major versions differ.
pub fn check(theirs: Option<&pb::Version>) -> Result<(), Incompatible> {
    let theirs = theirs.cloned().unwrap_or_default();
    if theirs.major == MAJOR {
        return Ok(());
    }
    let software = crate::text::shortened(&theirs.software, crate::bounds::NAME_BYTES_MAX);
    Err(Incompatible { software, major: theirs.major, minor: theirs.minor })
}
