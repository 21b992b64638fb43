//! The certificate by which one member of a project knows another: signed by the project, shown by its bearer.

use crate::key::{Signature, WrongSignature};
use crate::{AccountKey, ProjectKey, WorkerKey, key};
use ed25519_dalek::SigningKey;

/// Version of the canonical bytes.
const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"starling.v1 member";
/// Length of the canonical bytes: version, three keys, two integers of eight bytes.
const BYTES: usize = 1 + 3 * 32 + 2 * 8;
/// Length of a certificate as it travels: the canonical bytes and the signature.
pub const CERTIFICATE_BYTES: usize = BYTES + 64;
/// How long a certificate is good for, milliseconds: 90 days, so that a swarm outlives a coordinator that is lost for a
/// season. It is renewed at each connection to the coordinator.
pub const TERM_MS: u64 = 90 * 86_400_000;

/// A worker that the project's coordinator has greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The project.
    pub project: ProjectKey,
    /// The worker, whose key is also that of its peer-to-peer endpoint.
    pub worker: WorkerKey,
    /// Its owner.
    pub account: AccountKey,
    /// What its address began with when the coordinator greeted it, as far as one owner commonly holds it (/24 of IPv4,
    /// /48 of IPv6); 0 when that says nothing. Peers spread over networks by it, which cannot be made up.
    pub network: u64,
    /// Until when it is good, milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// A member with the project's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    member: Member,
    signature: Signature,
}

/// Why a certificate is not good.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Invalid {
    /// Not these many bytes, or another version.
    #[error("the certificate has another form: this release knows version {VERSION}")]
    Form,
    /// Of another project.
    #[error("the certificate is of another project")]
    Project,
    /// Its time is over.
    #[error("the certificate has expired: connect to the coordinator to renew it")]
    Expired,
    /// Not by the project.
    #[error(transparent)]
    Signature(#[from] WrongSignature),
}

impl Member {
    /// Canonical bytes, pinned by a golden test.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CERTIFICATE_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.project.0);
        bytes.extend_from_slice(&self.worker.0);
        bytes.extend_from_slice(&self.account.0);
        bytes.extend_from_slice(&self.network.to_be_bytes());
        bytes.extend_from_slice(&self.expires_at_ms.to_be_bytes());
        bytes
    }

    /// What the project signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        [DOMAIN, &self.encode()].concat()
    }

    /// Makes a certificate, with the project's key.
    #[must_use]
    pub fn certify(self, project: &SigningKey) -> Certificate {
        let signature = key::sign(project, &self.signed_bytes());
        Certificate { member: self, signature }
    }

    fn decode(bytes: &[u8; BYTES]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (project, rest) = rest.split_first_chunk()?;
        let (worker, rest) = rest.split_first_chunk()?;
        let (account, rest) = rest.split_first_chunk()?;
        let (network, rest) = rest.split_first_chunk()?;
        let (expires_at, _) = rest.split_first_chunk()?;
        Some(Self {
            project: ProjectKey(*project),
            worker: WorkerKey(*worker),
            account: AccountKey(*account),
            network: u64::from_be_bytes(*network),
            expires_at_ms: u64::from_be_bytes(*expires_at),
        })
    }
}

impl Certificate {
    /// Reads a certificate and checks all of it: form, project, signature, and that it is good at `now_ms` (milliseconds
    /// since 1970).
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn open(bytes: &[u8], project: &ProjectKey, now_ms: u64) -> Result<Self, Invalid> {
        let bytes: &[u8; CERTIFICATE_BYTES] = bytes.try_into().map_err(|_| Invalid::Form)?;
        let (member, signature) = bytes.split_first_chunk::<BYTES>().ok_or(Invalid::Form)?;
        let member = Member::decode(member).ok_or(Invalid::Form)?;
        if member.project != *project {
            return Err(Invalid::Project);
        }
        if member.expires_at_ms <= now_ms {
            return Err(Invalid::Expired);
        }
        project.verify(&member.signed_bytes(), signature)?;
        let signature = signature.try_into().map_err(|_| Invalid::Form)?;
        Ok(Self { member, signature })
    }

    /// Who it is about.
    #[must_use]
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// As it travels: the canonical bytes, then the signature.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.member.encode();
        bytes.extend_from_slice(&self.signature);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> SigningKey {
        SigningKey::from_bytes(&[1; 32])
    }

    fn member() -> Member {
        Member {
            project: ProjectKey::from(&project()),
            worker: WorkerKey([2; 32]),
            account: AccountKey([3; 32]),
            network: 0x0001_0203_0405_0607,
            expires_at_ms: 1_000_000,
        }
    }

    #[test]
    fn canonical_bytes_are_pinned() {
        let certificate = member().certify(&project());
        assert_eq!(
            data_encoding::HEXLOWER.encode(&certificate.to_bytes()),
            include_str!("golden_member.hex").trim()
        );
    }

    #[test]
    fn a_certificate_opens_until_it_expires_and_a_touched_one_does_not() {
        let key = ProjectKey::from(&project());
        let bytes = member().certify(&project()).to_bytes();
        assert_eq!(bytes.len(), CERTIFICATE_BYTES);
        let opened = Certificate::open(&bytes, &key, 999_999).unwrap();
        assert_eq!((opened.member(), opened.to_bytes()), (&member(), bytes.clone()));
        assert_eq!(Certificate::open(&bytes, &key, 1_000_000), Err(Invalid::Expired));
        for position in 0..bytes.len() {
            let mut touched = bytes.clone();
            touched[position] ^= 1;
            assert!(Certificate::open(&touched, &key, 0).is_err(), "byte {position}");
        }
        for len in [0, 1, BYTES, bytes.len() - 1] {
            assert_eq!(Certificate::open(&bytes[..len], &key, 0), Err(Invalid::Form));
        }
    }

    #[test]
    fn only_the_project_makes_members() {
        let stranger = SigningKey::from_bytes(&[9; 32]);
        let bytes = member().certify(&stranger).to_bytes();
        let ours = ProjectKey::from(&project());
        assert!(matches!(Certificate::open(&bytes, &ours, 0), Err(Invalid::Signature(_))));
        let theirs = Member { project: ProjectKey::from(&stranger), ..member() };
        let bytes = theirs.certify(&stranger).to_bytes();
        assert_eq!(Certificate::open(&bytes, &ours, 0), Err(Invalid::Project));
    }
}
