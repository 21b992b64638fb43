//! Ed25519 keys of projects, accounts and workers, and signatures by them.

use crate::digest::Malformed;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashSet;
use std::{fmt, str::FromStr};

/// An Ed25519 signature, 64 bytes.
pub type Signature = [u8; 64];

/// The signature does not fit the key and the signed bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the signature is not by {0}")]
pub struct WrongSignature(pub String);

macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// Checks that `signature` over `message` is by this key (strictly: RFC 8032 without malleability).
            ///
            /// # Errors
            /// [`WrongSignature`] when it is not, or when the key or the signature is no point of the curve.
            pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), WrongSignature> {
                verify(&self.0, message, signature).ok_or_else(|| WrongSignature(self.to_string()))
            }

            /// The same; what was verified before is not verified again.
            ///
            /// # Errors
            /// As for [`Self::verify`].
            pub fn verify_once(
                &self,
                message: &[u8],
                signature: &[u8],
                verified: &mut Verified,
            ) -> Result<(), WrongSignature> {
                if verified.check(&self.0, message, signature) {
                    return Ok(());
                }
                Err(WrongSignature(self.to_string()))
            }
        }

        impl From<&SigningKey> for $name {
            fn from(key: &SigningKey) -> Self {
                Self(key.verifying_key().to_bytes())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0[..6]))
            }
        }

        impl FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                text.parse::<crate::Digest>().map(|digest| Self(digest.0))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = Malformed;
            fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
                bytes.try_into().map(Self).map_err(|_| Malformed)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                crate::Digest(self.0).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::Digest::deserialize(deserializer).map(|digest| Self(digest.0))
            }
        }
    };
}

public_key!(
    /// A project: signs receipts.
    ProjectKey);
public_key!(
    /// An account, the owner of workers: receives credit.
    AccountKey);
public_key!(
    /// A worker: signs reports.
    WorkerKey);

fn verify(key: &[u8; 32], message: &[u8], signature: &[u8]) -> Option<()> {
    let signature = ed25519_dalek::Signature::from_slice(signature).ok()?;
    VerifyingKey::from_bytes(key).ok()?.verify_strict(message, &signature).ok()
}

/// Signatures that were found good. Receipts of neighbours rest on the same ones, and a look-up costs a hundredth.
#[derive(Clone, Debug, Default)]
pub struct Verified(HashSet<crate::Digest>);

/// Most that are remembered: 2 MB, and many times what one page of results rests on.
const VERIFIED_MAX: usize = 1 << 15;

impl Verified {
    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn check(&mut self, key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
        let mut hasher = blake3::Hasher::new();
        // The key and the length before it make the three parts one text in one way only.
        hasher.update(key).update(&(message.len() as u64).to_le_bytes());
        hasher.update(message).update(signature);
        let digest = crate::Digest(*hasher.finalize().as_bytes());
        if self.0.contains(&digest) {
            return true;
        }
        let good = verify(key, message, signature).is_some();
        if good {
            if VERIFIED_MAX <= self.0.len() {
                self.0.clear();
            }
            self.0.insert(digest);
        }
        good
    }
}

/// Signs `message` with `key`.
#[must_use]
pub fn sign(key: &SigningKey, message: &[u8]) -> Signature {
    key.sign(message).to_bytes()
}
