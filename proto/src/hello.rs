//! What is signed when a worker introduces itself.

use crate::key::{Signature, WrongSignature};
use crate::{AccountKey, ProjectKey, WorkerKey, key};
use ed25519_dalek::SigningKey;

/// By the account, once: "this worker is mine".
#[must_use]
pub fn sign_ownership(account: &SigningKey, worker: &WorkerKey) -> Signature {
    key::sign(account, &ownership(worker))
}

/// Checks [`sign_ownership`].
///
/// # Errors
/// [`WrongSignature`] when the account did not sign.
pub fn verify_ownership(
    account: &AccountKey,
    worker: &WorkerKey,
    signature: &[u8],
) -> Result<(), WrongSignature> {
    account.verify(&ownership(worker), signature)
}

/// By the worker, on each stream: answers the coordinator's nonce, for this project and account only.
#[must_use]
pub fn sign_challenge(
    worker: &SigningKey,
    account: &AccountKey,
    project: &ProjectKey,
    nonce: &[u8],
) -> Signature {
    key::sign(worker, &challenge(account, project, nonce))
}

/// Checks [`sign_challenge`].
///
/// # Errors
/// [`WrongSignature`] when the worker did not sign.
pub fn verify_challenge(
    worker: &WorkerKey,
    account: &AccountKey,
    project: &ProjectKey,
    nonce: &[u8],
    signature: &[u8],
) -> Result<(), WrongSignature> {
    worker.verify(&challenge(account, project, nonce), signature)
}

fn ownership(worker: &WorkerKey) -> Vec<u8> {
    [b"starling.v1 worker of account".as_slice(), &worker.0].concat()
}

fn challenge(account: &AccountKey, project: &ProjectKey, nonce: &[u8]) -> Vec<u8> {
    [b"starling.v1 hello".as_slice(), &account.0, &project.0, nonce].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signature_is_good_for_one_thing_only() {
        let (worker, account) =
            (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let (worker_key, account_key) = (WorkerKey::from(&worker), AccountKey::from(&account));
        let (project, nonce) = (ProjectKey([3; 32]), [4; 32]);
        let owned = sign_ownership(&account, &worker_key);
        assert!(verify_ownership(&account_key, &worker_key, &owned).is_ok());
        assert!(verify_ownership(&account_key, &WorkerKey([5; 32]), &owned).is_err());
        let answer = sign_challenge(&worker, &account_key, &project, &nonce);
        assert!(verify_challenge(&worker_key, &account_key, &project, &nonce, &answer).is_ok());
        assert!(verify_challenge(&worker_key, &account_key, &project, &[6; 32], &answer).is_err());
        assert!(
            verify_challenge(&worker_key, &AccountKey(worker_key.0), &project, &nonce, &answer)
                .is_err()
        );
        assert!(
            verify_challenge(&worker_key, &account_key, &ProjectKey([9; 32]), &nonce, &answer)
                .is_err()
        );
    }
}
