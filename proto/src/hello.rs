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

/// Most bits of work that a worker does to be admitted: a quarter of an hour of one core, about.
pub const WORK_BITS_MAX: u32 = 32;

/// Proof of work of an account, for one project (after Dwork and Naor 1992, and Hashcash): bits that are zero at the beginning of
/// the BLAKE3 digest over both keys and `nonce`. An account with `b` bits took its owner `2^b` digests, on average.
#[must_use]
pub fn worked(account: &AccountKey, project: &ProjectKey, nonce: u64) -> u32 {
    let text = [b"starling.v1 work".as_slice(), &account.0, &project.0, &nonce.to_be_bytes()];
    let digest = crate::Digest::of(&text.concat()).0;
    let zero = digest.iter().take_while(|byte| **byte == 0).count();
    let next = digest.get(zero).map_or(0, |byte| byte.leading_zeros());
    8 * u32::try_from(zero).unwrap_or(0) + next
}

/// The first nonce that gives so many bits of [`worked`]; `None` when `stop` says so, which is asked now and then.
pub fn work(
    account: &AccountKey,
    project: &ProjectKey,
    bits: u32,
    mut stop: impl FnMut() -> bool,
) -> Option<u64> {
    (0..u64::MAX)
        .take_while(|nonce| nonce % 65_536 != 65_535 || !stop())
        .find(|&nonce| bits <= worked(account, project, nonce))
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
    fn work_is_of_one_account_in_one_project() {
        let (account, project) = (AccountKey([1; 32]), ProjectKey([2; 32]));
        let nonce = work(&account, &project, 12, || false).unwrap();
        assert!(12 <= worked(&account, &project, nonce));
        assert!((0..nonce).all(|less| worked(&account, &project, less) < 12));
        assert!(worked(&AccountKey([3; 32]), &project, nonce) < 12);
        assert!(worked(&account, &ProjectKey([3; 32]), nonce) < 12);
        assert_eq!(work(&account, &project, 256, || true), None);
    }

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
