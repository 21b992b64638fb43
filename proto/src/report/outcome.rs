//! What a unit came to: its output, or how it fails everywhere.

use super::Malformed;
use crate::bounds::INLINE_OUTPUT_BYTES_MAX;
use crate::{Digest, pb};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a unit put out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Output {
    /// The content itself, at most [`INLINE_OUTPUT_BYTES_MAX`] bytes.
    Inline(Vec<u8>),
    /// A blob that was put before the report.
    Blob {
        /// Of the content.
        digest: Digest,
        /// Bytes of the content.
        len: u64,
    },
}

impl Output {
    /// Digest of the content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Inline(content) => Digest::of(content),
            Self::Blob { digest, .. } => *digest,
        }
    }

    /// Bytes of the content.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(content) => content.len() as u64,
            Self::Blob { len, .. } => *len,
        }
    }

    /// Whether the content is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&Output> for pb::Output {
    fn from(output: &Output) -> Self {
        use pb::output::Kind;
        Self {
            kind: Some(match output {
                Output::Inline(content) => Kind::Inline(content.clone().into()),
                Output::Blob { digest, len } => {
                    Kind::Blob(pb::BlobRef { digest: digest.0.to_vec().into(), len: *len })
                }
            }),
        }
    }
}

impl TryFrom<&pb::Output> for Output {
    type Error = Malformed;
    fn try_from(output: &pb::Output) -> Result<Self, Malformed> {
        use pb::output::Kind;
        match output.kind.as_ref().ok_or(Malformed::Output)? {
            Kind::Inline(content) if content.len() <= INLINE_OUTPUT_BYTES_MAX => {
                Ok(Self::Inline(content.to_vec()))
            }
            Kind::Inline(_) => Err(Malformed::Output),
            Kind::Blob(blob) => {
                let digest =
                    Digest::try_from(blob.digest.as_ref()).map_err(|_| Malformed::Output)?;
                Ok(Self::Blob { digest, len: blob.len })
            }
        }
    }
}

/// How a kernel fails in the same way on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Failure {
    /// `unreachable` was executed: a panic, an abort, an error that the kernel logged.
    Unreachable,
    /// The fuel budget was spent.
    FuelSpent,
    /// An access outside memory or a table.
    OutOfBounds,
    /// An integer division by zero, or an integer out of range: from a division, or converted from a float.
    Division,
    /// A NaN was converted to an integer.
    BadConversion,
    /// A call through a table to nothing or to another signature.
    BadCall,
    /// The output grew beyond its limit.
    OutputTooLarge,
    /// A step answered neither 0 nor 1.
    BadStep(i32),
    /// A command ended with this exit code.
    Exit(i32),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str(
                "the kernel stopped itself (unreachable: a panic or an error it logged)",
            ),
            Self::FuelSpent => f.write_str(
                "the unit's fuel budget was spent: raise limits.fuel or cut smaller units",
            ),
            Self::OutOfBounds => f.write_str("the kernel accessed memory or a table out of bounds"),
            Self::Division => {
                f.write_str("the kernel divided an integer by zero, or a division or a conversion from a float gave an integer out of range")
            }
            Self::BadConversion => {
                f.write_str("the kernel converted a NaN to an integer")
            }
            Self::BadCall => f.write_str(
                "the kernel called through a table what is not there or has another signature",
            ),
            Self::OutputTooLarge => f.write_str("the output grew beyond limits.output"),
            Self::BadStep(value) => {
                write!(f, "starling_step returned {value}: only 0 (done) and 1 (more) are allowed")
            }
            Self::Exit(code) => write!(
                f,
                "the command ended with exit code {code}, which is no answer of this job: if it is one, add it to exit_codes in the job file"
            ),
        }
    }
}

/// What a unit came to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It ended and put this out.
    Done(Output),
    /// It failed as it would everywhere.
    Failed(Failure),
}
