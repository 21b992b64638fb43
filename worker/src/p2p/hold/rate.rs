//! How fast each sender may hand over: a bucket of tokens for each, in a bounded table.

use super::Now;
use super::bounds::{OFFERS_BURST, OFFERS_PER_SECOND, SENDERS_MAX};
use proto::WorkerKey;
use std::collections::BTreeMap;
use std::time::Duration;

/// When each sender's bucket would be full again.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates(BTreeMap<WorkerKey, Now>);

impl Rates {
    /// Counts one more; false when the sender has none left.
    pub(super) fn take(&mut self, now: Now, sender: WorkerKey) -> bool {
        if SENDERS_MAX <= self.0.len() && !self.0.contains_key(&sender) {
            self.forget_quiet(now);
        }
        let each = Duration::from_secs(1) / OFFERS_PER_SECOND;
        let full_at = self.0.get(&sender).copied().unwrap_or(now).max(now) + each;
        let taken = full_at <= now + each * OFFERS_BURST;
        if taken {
            self.0.insert(sender, full_at);
        }
        taken
    }

    /// Those whose bucket is full lose nothing by it; of the others the one that is nearest to it goes.
    fn forget_quiet(&mut self, now: Now) {
        self.0.retain(|_, full_at| now < *full_at);
        if SENDERS_MAX <= self.0.len()
            && let Some(nearest) =
                self.0.iter().min_by_key(|(_, full_at)| **full_at).map(|(sender, _)| *sender)
        {
            self.0.remove(&nearest);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
