//! Signed heads: the project's word for how long its log is and what is in it.

use crate::key::WrongSignature;
use crate::{Digest, ProjectKey, key, pb};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"starling.v1 log head";

/// A project's log at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    version: u8,
    /// Whose log.
    pub project: ProjectKey,
    /// Entries.
    pub size: u64,
    /// Over all of them.
    pub root: Digest,
    /// When it was signed, milliseconds since 1970.
    pub at_ms: u64,
}

/// Why a head does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Invalid {
    /// The bytes are no head of this version.
    #[error("the head of the log cannot be decoded, or is of another version")]
    Bytes,
    /// Of another project.
    #[error("the head of the log is of project {0}, not of the one expected")]
    Project(ProjectKey),
    /// Not signed by the project.
    #[error(transparent)]
    Signature(#[from] WrongSignature),
}

impl Head {
    /// The head of a log with `size` entries under `root`.
    #[must_use]
    pub fn new(project: ProjectKey, size: u64, root: Digest, at_ms: u64) -> Self {
        Self { version: VERSION, project, size, root, at_ms }
    }

    /// Signs it with the project's key.
    #[must_use]
    pub fn sign(&self, project: &SigningKey) -> pb::SignedHead {
        let payload = postcard::to_allocvec(self).expect("plain data always encodes");
        let signature = key::sign(project, &[DOMAIN, &payload].concat());
        pb::SignedHead { payload: payload.into(), signature: signature.to_vec().into() }
    }

    /// Reads a head and checks that the project signed it.
    ///
    /// # Errors
    /// [`Invalid`], saying what does not hold.
    pub fn verify(signed: &pb::SignedHead, project: &ProjectKey) -> Result<Self, Invalid> {
        let (head, rest) =
            postcard::take_from_bytes::<Self>(&signed.payload).map_err(|_| Invalid::Bytes)?;
        if !rest.is_empty() || head.version != VERSION {
            return Err(Invalid::Bytes);
        }
        if head.project != *project {
            return Err(Invalid::Project(head.project));
        }
        project.verify(&[DOMAIN, &signed.payload].concat(), &signed.signature)?;
        Ok(head)
    }
}
