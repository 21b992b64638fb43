//! Tokens of researchers and operators. Only digests are kept; the text is shown once.

use proto::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Names a token in lists; no secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub String);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the bearer of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Submit jobs, and see and cancel them.
    Researcher,
    /// Everything.
    Operator,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Names it in lists.
    pub id: TokenId,
    /// BLAKE3 of its text.
    pub digest: Digest,
    /// Name of the researcher or operator.
    pub account: String,
    /// What it allows.
    pub role: Role,
    /// Milliseconds since 1970.
    pub issued_at_ms: u64,
}
