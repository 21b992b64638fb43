//! The keys that have more in them than numbers, and what a key says.

use super::Table;
use crate::trust::standings::Who;
use proto::{Digest, JobId, LeaseId};

/// The number in a key of one number, or the last of two.
#[must_use]
pub fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The first number in a key.
#[must_use]
pub fn first_number(key: &[u8]) -> Option<u64> {
    key.get(1..)?.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The key of what is known of somebody for a class of units.
#[must_use]
pub fn standing_key(who: Who, class: u64) -> Vec<u8> {
    let (kind, number) = match who {
        Who::Worker(number) => (0, u64::from(number)),
        Who::Account(number) => (1, u64::from(number)),
        Who::Network(number) => (2, number),
        Who::Crowd => (3, 0),
        Who::Refereed(number) => (4, u64::from(number)),
    };
    let mut key = vec![Table::Standing as u8, kind];
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(&class.to_be_bytes());
    key
}

/// Whose standing a key is of, and for which class.
#[must_use]
pub fn standing_of(key: &[u8]) -> Option<(Who, u64)> {
    let (&[_, kind], rest) = key.split_first_chunk::<2>()?;
    let (number, class) = rest.split_first_chunk::<8>()?;
    let number = u64::from_be_bytes(*number);
    let who = match kind {
        0 => Who::Worker(u32::try_from(number).ok()?),
        1 => Who::Account(u32::try_from(number).ok()?),
        2 => Who::Network(number),
        3 => Who::Crowd,
        4 => Who::Refereed(u32::try_from(number).ok()?),
        _ => return None,
    };
    Some((who, u64::from_be_bytes(class.try_into().ok()?)))
}

/// The key under which it is noted that a blob is an output of a job; without a job, what all such keys of the blob start
/// with.
#[must_use]
pub fn output_key(digest: &Digest, job: Option<JobId>) -> Vec<u8> {
    let mut key = [&[Table::Output as u8], digest.0.as_slice()].concat();
    key.extend(job.into_iter().flat_map(|job| job.0.to_be_bytes()));
    key
}

/// The key under which it is noted that an account has put a blob; with an empty account, what all such keys of the blob
/// start with.
#[must_use]
pub fn put_key(digest: &Digest, account: &str) -> Vec<u8> {
    [&[Table::Put as u8], digest.0.as_slice(), account.as_bytes()].concat()
}

/// The blob and the job of which a key says that one is an output of the other.
#[must_use]
pub fn output_of(key: &[u8]) -> Option<(Digest, JobId)> {
    let (digest, job) = key.get(1..)?.split_first_chunk::<32>()?;
    Some((Digest(*digest), JobId(u64::from_be_bytes(job.try_into().ok()?))))
}

/// The key of a lease's record.
#[must_use]
pub fn lease_key(lease: LeaseId) -> Vec<u8> {
    Table::Lease.key(lease.0)
}

/// The key of a record about a batch.
#[must_use]
pub fn batch_key(table: Table, worker: u32, sequence: u64) -> Vec<u8> {
    table.key2(worker.into(), sequence)
}
