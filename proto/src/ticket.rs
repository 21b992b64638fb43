//! Tickets: that a lease was granted, in a form that only the project can make and check. A coordinator that has lost its
//! records knows by them which units a worker was lent; without one, a report could be of a unit that its worker chose.

use crate::{JobId, LeaseId, UnitIndex, WorkerKey, pb};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

const CONTEXT: &str = "starling.v1 2026-11 key of lease tickets";

/// That a run of units was lent to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The lease.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// The first unit.
    pub first: UnitIndex,
    /// How many.
    pub count: u32,
    /// See [`TicketIssuer::stamp`].
    pub stamp: [u8; 32],
}

impl From<&Ticket> for pb::LeaseTicket {
    fn from(ticket: &Ticket) -> Self {
        Self {
            lease_id: ticket.lease.0,
            job_id: ticket.job.0,
            first: ticket.first.0,
            count: ticket.count,
            stamp: ticket.stamp.to_vec().into(),
        }
    }
}

impl TryFrom<&pb::LeaseTicket> for Ticket {
    type Error = crate::digest::Malformed;
    fn try_from(ticket: &pb::LeaseTicket) -> Result<Self, Self::Error> {
        Ok(Self {
            lease: LeaseId(ticket.lease_id),
            job: JobId(ticket.job_id),
            first: UnitIndex(ticket.first),
            count: ticket.count,
            stamp: crate::Digest::try_from(ticket.stamp.as_ref())?.0,
        })
    }
}

/// Makes and checks tickets.
#[derive(Clone)]
pub struct TicketIssuer([u8; 32]);

impl std::fmt::Debug for TicketIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketIssuer").finish_non_exhaustive()
    }
}

impl TicketIssuer {
    /// Of the project with this key.
    #[must_use]
    pub fn new(project: &SigningKey) -> Self {
        Self(blake3::derive_key(CONTEXT, project.as_bytes()))
    }

    /// Keyed BLAKE3 of `worker ‖ lease ‖ job ‖ first ‖ count`, numbers in 8 bytes little-endian.
    #[must_use]
    pub fn stamp(
        &self,
        worker: &WorkerKey,
        lease: LeaseId,
        job: JobId,
        first: UnitIndex,
        count: u32,
    ) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&worker.0);
        for number in [lease.0, job.0, first.0, u64::from(count)] {
            hasher.update(&number.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// Whether this project made the ticket, for this worker. Compares in constant time.
    #[must_use]
    pub fn holds(&self, worker: &WorkerKey, ticket: &Ticket) -> bool {
        let Ticket { lease, job, first, count, stamp } = ticket;
        let own = self.stamp(worker, *lease, *job, *first, *count);
        blake3::Hash::from_bytes(own) == blake3::Hash::from_bytes(*stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_one_worker_and_one_lease() {
        let office = TicketIssuer::new(&SigningKey::from_bytes(&[1; 32]));
        let worker = WorkerKey([2; 32]);
        let (lease, job, first, count) = (LeaseId(3), JobId(4), UnitIndex(5), 6);
        let stamp = office.stamp(&worker, lease, job, first, count);
        assert_eq!(
            data_encoding::HEXLOWER.encode(&stamp),
            include_str!("ticket/golden.hex").trim(),
            "the bytes are pinned"
        );
        let ticket = Ticket { lease, job, first, count, stamp };
        assert!(office.holds(&worker, &ticket));
        assert!(!office.holds(&WorkerKey([9; 32]), &ticket));
        assert!(!TicketIssuer::new(&SigningKey::from_bytes(&[7; 32])).holds(&worker, &ticket));
        let others = [
            Ticket { lease: LeaseId(9), ..ticket.clone() },
            Ticket { job: JobId(9), ..ticket.clone() },
            Ticket { first: UnitIndex(9), ..ticket.clone() },
            Ticket { count: 9, ..ticket },
        ];
        for other in others {
            assert!(!office.holds(&worker, &other));
        }
    }
}
