//! Reports come in by others' hands: their worker is away, or has left for ever.

use crate::Core;
use crate::event::{Acks, Delivered, Effects};
use crate::time::Now;
use proto::WorkerKey;
use proto::report::Ack;

impl Core {
    /// Takes a batch as if its reporter had sent it.
    pub(super) fn deliver(
        &mut self,
        now: Now,
        delivered: &Delivered,
        effects: &mut Effects,
    ) -> Acks {
        let Delivered { account, incoming } = delivered;
        let batch = &incoming.signed.batch;
        let number = self.worker_number(&batch.worker);
        let owned = |number: &u32| {
            let owner = self.worker(*number).record.account;
            self.accounts[owner as usize].key == *account
        };
        match number.filter(owned) {
            Some(number) => self.report_of(now, number, incoming, effects),
            None => Acks {
                sequence: batch.sequence,
                acks: vec![Ack::NotLeased; batch.reports.len()],
                credit: 0,
            },
        }
    }

    /// The number of a worker that is known.
    #[must_use]
    pub fn worker_number(&self, worker: &WorkerKey) -> Option<u32> {
        self.worker_numbers.get(worker).copied()
    }
}
