//! Tokens of researchers and operators, and invitations of volunteers. Only digests are kept; the text is shown once.

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
    /// An invitation: to join with an account that is not known yet.
    Volunteer {
        /// Accounts that it lets in yet.
        accounts: u32,
    },
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Names it in lists.
    pub id: TokenId,
    /// BLAKE3 of its text.
    pub digest: Digest,
    /// Name of the researcher or operator, or of those who are invited.
    pub account: String,
    /// What it allows.
    pub role: Role,
    /// Milliseconds since 1970.
    pub issued_at_ms: u64,
}

impl Token {
    /// Whether it is a researcher's or operator's, and no invitation.
    #[must_use]
    pub fn is_person(&self) -> bool {
        !matches!(self.role, Role::Volunteer { .. })
    }
}
