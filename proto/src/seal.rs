//! Reports that travel through other workers' hands: sealed to the coordinator, signed by the reporter, with a commitment
//! of which nothing about the outcome can be learnt.
//!
//! The seal is NaCl's sealed box (X25519, XSalsa20-Poly1305; libsodium's `crypto_box_seal`) to the project's Ed25519 key
//! in its Montgomery form. One key pair for both uses is sound: [Thormarker 2021](https://eprint.iacr.org/2021/509); and it
//! is the key that every join string carries, so that a reporter needs to ask nobody for it. What is sealed is padded to a
//! few lengths ([`padded`]), so that its size tells little.
//!
//! **Why copying gains nothing.** The box opens with the project's secret key only; the batch within names its worker and
//! is signed by it, so that it is worth nothing under another name; the commitment is keyed with a secret of the reporter,
//! so that equal outcomes of two workers have different commitments and guesses cannot be tried against one.

use crate::key::{Signature, WrongSignature};
use crate::report::{Batch, Malformed};
use crate::ticket::Ticket;
use crate::{AccountKey, Digest, ProjectKey, WorkerKey, hello, key, pb};
use crypto_box::aead::rand_core;
use crypto_box::{PublicKey, SecretKey};
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Version of the canonical bytes of a sealed batch and of what is sealed.
const VERSION: u8 = 1;
const SEALED_DOMAIN: &[u8] = b"starling.v1 sealed batch";
const COMMITMENT_DOMAIN: &[u8] = b"starling.v1 commitment";
const SECRET_CONTEXT: &str = "starling.v1 2026-11 commitment secret of a worker";
const BOX_CONTEXT: &str = "starling.v1 2026-11 ephemeral key of a sealed batch";
/// Largest sealed batch, bytes: a full batch with inline outputs, and some larger outputs beside it.
pub const SEALED_BYTES_MAX: usize = 2 << 20;
/// What the seal and the fields around it add at most, bytes.
const AROUND_BYTES_MAX: usize = 512;
/// Shortest content that is sealed, bytes; shorter ones are padded to it: a batch of one report looks like any other.
const CONTENT_BYTES_MIN: usize = 1024;
/// Most tickets, and most outputs, beside one batch: one for each of its reports.
const BESIDE_MAX: usize = crate::bounds::BATCH_REPORTS_MAX;

/// A report batch as others hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    version: u8,
    /// The project that the reports are for.
    pub project: ProjectKey,
    /// Who reports.
    pub worker: WorkerKey,
    /// Of the batch.
    pub sequence: u64,
    /// Binds the reporter to the batch and tells nobody what is in it; see [`commitment`].
    pub commitment: Digest,
    ciphertext: Vec<u8>,
}

/// What is sealed: a signed batch and all that a coordinator which has lost everything needs to take it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    version: u8,
    /// Key of the commitment.
    salt: [u8; 32],
    /// The owner of the worker, for its credit.
    pub account: AccountKey,
    /// By the account: "this worker is mine" ([`hello::sign_ownership`]).
    owned: Vec<u8>,
    /// Canonical bytes of the [`Batch`].
    payload: Vec<u8>,
    /// The worker's, over [`Batch::signed_bytes`].
    signature: Vec<u8>,
    /// That its leases were granted.
    pub tickets: Vec<Ticket>,
    /// Outputs that do not travel inside the reports, where there is room for them.
    pub outputs: Vec<Vec<u8>>,
}

/// Why a sealed batch is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Invalid {
    /// The bytes are no sealed batch.
    #[error("the sealed batch cannot be decoded, or is of another version")]
    Bytes,
    /// It is larger than anybody holds.
    #[error("a sealed batch has at most {SEALED_BYTES_MAX} bytes, this one {0}")]
    TooLarge(usize),
    /// Of another project.
    #[error("the sealed batch is of project {0}, not of this one")]
    Project(ProjectKey),
    /// It does not open with the project's key.
    #[error("the sealed batch does not open: it was sealed to somebody else, or was changed")]
    Closed,
    /// What is inside is not by who is named outside.
    #[error(
        "the sealed batch holds a batch of another worker, another sequence or another project"
    )]
    OtherBatch,
    /// The commitment is not to this batch.
    #[error("the commitment of the sealed batch is not to what is inside")]
    Commitment,
    /// The batch inside.
    #[error("the batch inside: {0}")]
    Batch(#[from] Malformed),
    /// A signature does not fit.
    #[error(transparent)]
    Signature(#[from] WrongSignature),
    /// The project's key is no point of the curve.
    #[error("the project's key is no key")]
    Key,
}

/// What a reporter needs to seal.
#[derive(Clone)]
pub struct Sealer {
    project: ProjectKey,
    to: PublicKey,
    worker: SigningKey,
    account: AccountKey,
    owned: Signature,
    secret: [u8; 32],
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("project", &self.project).finish_non_exhaustive()
    }
}

/// A sealed batch that was opened and found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Who reports.
    pub worker: WorkerKey,
    /// The worker's owner.
    pub account: AccountKey,
    /// The batch.
    pub batch: Batch,
    /// Its canonical bytes.
    pub payload: Vec<u8>,
    /// The worker's, over [`Batch::signed_bytes`].
    pub signature: Signature,
    /// That leases were granted, not yet checked.
    pub tickets: Vec<Ticket>,
    /// Outputs that do not travel inside the reports.
    pub outputs: Vec<Vec<u8>>,
}

impl Sealer {
    /// Of `worker`, owned by `account`, for `project`.
    ///
    /// # Errors
    /// [`Invalid::Key`] when the project's key is no key.
    pub fn new(
        project: ProjectKey,
        worker: SigningKey,
        account: &SigningKey,
    ) -> Result<Self, Invalid> {
        let point = VerifyingKey::from_bytes(&project.0).map_err(|_| Invalid::Key)?;
        let to = PublicKey::from_bytes(point.to_montgomery().to_bytes());
        let owned = hello::sign_ownership(account, &WorkerKey::from(&worker));
        let secret = blake3::derive_key(SECRET_CONTEXT, worker.as_bytes());
        Ok(Self { project, to, worker, account: AccountKey::from(account), owned, secret })
    }

    /// The project that it seals to.
    #[must_use]
    pub fn project(&self) -> ProjectKey {
        self.project
    }

    /// Seals a signed batch, with the tickets of its leases and its larger outputs. `random` is used once.
    ///
    /// # Errors
    /// [`Invalid::TooLarge`]; [`Invalid::Batch`] when it is no batch of this worker.
    pub fn seal(
        &self,
        signed: &pb::SignedReports,
        tickets: Vec<Ticket>,
        outputs: Vec<Vec<u8>>,
        random: &[u8; 32],
    ) -> Result<Vec<u8>, Invalid> {
        let batch = Batch::decode(&signed.payload)?;
        let salt = *blake3::keyed_hash(&self.secret, &batch.sequence.to_le_bytes()).as_bytes();
        let content = Content {
            version: VERSION,
            salt,
            account: self.account,
            owned: self.owned.to_vec(),
            payload: signed.payload.to_vec(),
            signature: signed.signature.to_vec(),
            tickets,
            outputs,
        };
        let mut plain = postcard::to_allocvec(&content).expect("plain data always encodes");
        plain.resize(padded(plain.len()), 0);
        if SEALED_BYTES_MAX < plain.len() + AROUND_BYTES_MAX {
            return Err(Invalid::TooLarge(plain.len()));
        }
        let ciphertext = self
            .to
            .seal(&mut Once::new(random, &self.secret, &plain), &plain)
            .map_err(|_| Invalid::Closed)?;
        let sealed = Sealed {
            version: VERSION,
            project: self.project,
            worker: batch.worker,
            sequence: batch.sequence,
            commitment: commitment(&salt, &batch.worker, &batch.signed_bytes()),
            ciphertext,
        };
        Ok(sealed.sign(&self.worker))
    }
}

impl Sealed {
    /// The canonical bytes followed by the worker's signature over them.
    fn sign(&self, worker: &SigningKey) -> Vec<u8> {
        let mut bytes = postcard::to_allocvec(self).expect("plain data always encodes");
        let signature = key::sign(worker, &signed_bytes(&bytes));
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// Reads a sealed batch and checks what its holders can: size, project and the reporter's signature.
    ///
    /// # Errors
    /// [`Invalid`], saying what does not hold.
    pub fn verify(bytes: &[u8], project: &ProjectKey) -> Result<Self, Invalid> {
        if SEALED_BYTES_MAX < bytes.len() {
            return Err(Invalid::TooLarge(bytes.len()));
        }
        let (body, signature) = bytes.split_last_chunk::<64>().ok_or(Invalid::Bytes)?;
        let (sealed, rest) = postcard::take_from_bytes::<Self>(body).map_err(|_| Invalid::Bytes)?;
        if !rest.is_empty() || sealed.version != VERSION {
            return Err(Invalid::Bytes);
        }
        if sealed.project != *project {
            return Err(Invalid::Project(sealed.project));
        }
        sealed.worker.verify(&signed_bytes(body), signature)?;
        Ok(sealed)
    }

    /// Opens it with the project's key and checks all that was claimed: the worker's signatures, the account's, and the
    /// commitment.
    ///
    /// # Errors
    /// [`Invalid`], saying what does not hold.
    pub fn open(&self, project: &SigningKey) -> Result<Opened, Invalid> {
        let secret = SecretKey::from_bytes(project.to_scalar_bytes());
        let plain = secret.unseal(&self.ciphertext).map_err(|_| Invalid::Closed)?;
        let (content, padding) =
            postcard::take_from_bytes::<Content>(&plain).map_err(|_| Invalid::Bytes)?;
        let padding_is_good = padding.iter().all(|byte| *byte == 0);
        if content.version != VERSION
            || !padding_is_good
            || BESIDE_MAX < content.tickets.len()
            || BESIDE_MAX < content.outputs.len()
        {
            return Err(Invalid::Bytes);
        }
        let Content { salt, account, owned, payload, signature, tickets, outputs, version: _ } =
            content;
        let batch = Batch::decode(&payload)?;
        if batch.worker != self.worker
            || batch.sequence != self.sequence
            || batch.project != ProjectKey::from(project)
        {
            return Err(Invalid::OtherBatch);
        }
        let signed = batch.signed_bytes();
        if commitment(&salt, &self.worker, &signed) != self.commitment {
            return Err(Invalid::Commitment);
        }
        self.worker.verify(&signed, &signature)?;
        hello::verify_ownership(&account, &self.worker, &owned)?;
        let signature = signature.try_into().map_err(|_| Invalid::Bytes)?;
        Ok(Opened { worker: self.worker, account, batch, payload, signature, tickets, outputs })
    }
}

/// Keyed BLAKE3 of `domain ‖ worker ‖` what the worker signs of its batch, under a key that only the reporter and, once the
/// seal is open, the coordinator know.
#[must_use]
pub fn commitment(salt: &[u8; 32], worker: &WorkerKey, signed_bytes: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new_keyed(salt);
    hasher.update(COMMITMENT_DOMAIN).update(&worker.0).update(signed_bytes);
    Digest(*hasher.finalize().as_bytes())
}

fn signed_bytes(body: &[u8]) -> Vec<u8> {
    [SEALED_DOMAIN, body].concat()
}

/// The length that content of `len` bytes is padded to: at most an eighth more, and of each power of two only a few lengths
/// occur (Padmé, [Nikitin and others 2019](https://arxiv.org/abs/1806.03160), section 4).
#[must_use]
pub fn padded(len: usize) -> usize {
    let len = len.max(CONTENT_BYTES_MIN);
    let exponent = usize::BITS - 1 - len.leading_zeros();
    let kept = u32::BITS - exponent.leading_zeros();
    let mask = (1_usize << exponent.saturating_sub(kept)) - 1;
    len.saturating_add(mask) & !mask
}

/// Randomness that was passed in, stretched: the seal asks for a generator. The reporter's secret and the content are mixed
/// in, so that a machine whose randomness repeats still uses no key twice.
struct Once(blake3::OutputReader);

impl Once {
    fn new(random: &[u8; 32], secret: &[u8; 32], content: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(BOX_CONTEXT);
        Self(hasher.update(random).update(secret).update(content).finalize_xof())
    }
}

impl rand_core::CryptoRng for Once {}

impl rand_core::RngCore for Once {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
