//! The join string that a volunteer pastes: where the coordinator is, and how to know that it is the right one.

use crate::digest::Malformed as MalformedDigest;
use crate::{Digest, ProjectKey};
use std::{fmt, str::FromStr};

/// Where a project's coordinator is and how to know it. Written
/// `starling://HOST:PORT/PROJECT#CA`, project key and CA fingerprint in 64 hexadecimal digits each; of an invitation, `/` and its
/// text follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Host name or address, and port: `grid.example.org:7700`, `[::1]:7700`.
    pub address: String,
    /// The project's public key, which is its identity.
    pub project: ProjectKey,
    /// BLAKE3 digest of the DER form of the coordinator's CA certificate.
    pub ca: Digest,
    /// Text of an invitation, where the project lets in those who have one.
    pub invitation: Option<String>,
}

/// Longest invitation, bytes: ours are shorter.
const INVITATION_BYTES_MAX: usize = 256;

/// Not a join string.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    /// The scheme is missing.
    #[error(
        "a join string begins with starling://; copy it whole, as `starling-coordinator run` printed it"
    )]
    Scheme,
    /// No `host:port`.
    #[error("the join string has no HOST:PORT after starling://")]
    Address,
    /// The project's part.
    #[error(
        "the join string's project (between / and #) is cut short or mistyped: 64 hexadecimal digits"
    )]
    Project,
    /// The fingerprint's part.
    #[error(
        "the join string's fingerprint (after #) is cut short or mistyped: 64 hexadecimal digits"
    )]
    Fingerprint,
    /// The invitation's part.
    #[error(
        "the join string's invitation (behind the fingerprint and /) is cut short or mistyped: letters, digits, - and _"
    )]
    Invitation,
}

impl fmt::Display for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "starling://{}/{}#{}", self.address, self.project, self.ca)?;
        self.invitation.iter().try_for_each(|invitation| write!(f, "/{invitation}"))
    }
}

impl FromStr for Join {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let rest = text.trim().strip_prefix("starling://").ok_or(Malformed::Scheme)?;
        let (address, rest) = rest.split_once('/').ok_or(Malformed::Project)?;
        let (host, port) = address.rsplit_once(':').ok_or(Malformed::Address)?;
        if host.is_empty() || host.len() > 253 || port.parse::<u16>().is_err() {
            return Err(Malformed::Address);
        }
        let (project, ca) = rest.split_once('#').ok_or(Malformed::Fingerprint)?;
        let (ca, invitation) = match ca.split_once('/') {
            Some((ca, invitation)) => (ca, Some(invitation)),
            None => (ca, None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let fits = |text: &str| (1..=INVITATION_BYTES_MAX).contains(&text.len());
        if invitation.is_some_and(|text| !fits(text) || !text.chars().all(plain)) {
            return Err(Malformed::Invitation);
        }
        let invitation = invitation.map(str::to_owned);
        let project = project.parse().map_err(|MalformedDigest| Malformed::Project)?;
        let ca = ca.parse().map_err(|MalformedDigest| Malformed::Fingerprint)?;
        Ok(Self { address: address.to_owned(), project, ca, invitation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_string_reads_as_it_was_written() {
        for address in ["grid.example.org:7700", "127.0.0.1:1", "[::1]:65535"] {
            for invitation in [None, Some("s0me-invitation_".to_owned())] {
                let (project, ca) = (ProjectKey([7; 32]), Digest([9; 32]));
                let join = Join { address: address.into(), project, ca, invitation };
                assert_eq!(join.to_string().parse(), Ok(join.clone()));
                assert_eq!(format!(" {join}\n").parse(), Ok(join));
            }
        }
    }

    #[test]
    fn a_mistake_is_named() {
        let (project, ca) = (ProjectKey([7; 32]), Digest([9; 32]));
        let join = Join { address: "h:1".into(), project, ca, invitation: None }.to_string();
        let check =
            |text: &str, expected| assert_eq!(text.parse::<Join>(), Err(expected), "{text}");
        check("https://h:1", Malformed::Scheme);
        check("starling://h:1", Malformed::Project);
        check(&join.replace("h:1", "h"), Malformed::Address);
        check(&join.replace("h:1", "h:99999"), Malformed::Address);
        check(&join.replace("07#", "#"), Malformed::Project);
        check(&join[..join.len() - 1], Malformed::Fingerprint);
        check(&format!("{join}/"), Malformed::Invitation);
        check(&format!("{join}/a/b"), Malformed::Invitation);
        check(&format!("{join}/{}", "a".repeat(257)), Malformed::Invitation);
    }
}
