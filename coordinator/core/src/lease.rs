//! A run of consecutive units of one job lent to one worker.

use crate::record::LeaseRecord;
use proto::JobId;
use proto::LeaseId;

/// Where a lease stands. It goes when the last of its units was reported or given back, and with its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseState {
    /// In time. Leads to `Overdue` at the deadline.
    Active {
        /// On the monotonic clock.
        deadline_ms: u64,
        /// When it was granted, or loaded after a restart.
        since_ms: u64,
        /// The other one of a pair that lends the same units.
        twin: Option<LeaseId>,
    },
    /// Its units were put back; reports are still taken while the units have no verdict.
    Overdue,
}

/// A lease.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) worker: u32,
    pub(super) job: JobId,
    pub(super) first: u64,
    pub(super) count: u32,
    /// Units neither reported nor given back.
    pub(super) open: u32,
    pub(super) state: LeaseState,
    /// Units given back, as offsets and counts.
    pub(super) given_back: Vec<(u32, u32)>,
    /// A bit per unit: reported or given back.
    closed: Box<[u64]>,
}

impl Lease {
    pub(super) fn new(worker: u32, job: JobId, first: u64, count: u32, state: LeaseState) -> Self {
        let words = (count as usize).div_ceil(64);
        let closed = vec![0; words].into_boxed_slice();
        Self { worker, job, first, count, open: count, state, given_back: Vec::new(), closed }
    }

    pub(super) fn active(&self) -> bool {
        matches!(self.state, LeaseState::Active { .. })
    }

    /// The deadline of an active lease.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        match self.state {
            LeaseState::Active { deadline_ms, .. } => Some(deadline_ms),
            LeaseState::Overdue => None,
        }
    }

    /// The other active lease on the same units.
    pub(super) fn twin(&self) -> Option<LeaseId> {
        match self.state {
            LeaseState::Active { twin, .. } => twin,
            LeaseState::Overdue => None,
        }
    }

    /// Pairs the lease with another, or parts them.
    pub(super) fn set_twin(&mut self, other: Option<LeaseId>) {
        if let LeaseState::Active { twin, .. } = &mut self.state {
            *twin = other;
        }
    }

    /// Position of a unit in the lease.
    pub(super) fn offset(&self, unit: u64) -> Option<u32> {
        let offset = u32::try_from(unit.checked_sub(self.first)?).ok()?;
        (offset < self.count).then_some(offset)
    }

    pub(super) fn is_open(&self, offset: u32) -> bool {
        self.closed[offset as usize / 64] >> (offset % 64) & 1 == 0
    }

    pub(super) fn was_given_back(&self, offset: u32) -> bool {
        self.given_back.iter().any(|&(first, count)| (first..first + count).contains(&offset))
    }

    /// Notes that a unit was reported or given back.
    pub(super) fn close(&mut self, offset: u32) {
        debug_assert!(self.is_open(offset));
        self.closed[offset as usize / 64] |= 1 << (offset % 64);
        self.open -= 1;
    }

    /// Notes that a unit was given back.
    pub(super) fn give_back(&mut self, offset: u32) {
        self.close(offset);
        match self.given_back.last_mut() {
            Some((first, count)) if *first + *count == offset => *count += 1,
            _ => self.given_back.push((offset, 1)),
        }
    }

    /// The units neither reported nor given back.
    pub(super) fn open_units(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.count)
            .filter(|&offset| self.is_open(offset))
            .map(|offset| self.first + u64::from(offset))
    }

    pub(super) fn record(&self) -> LeaseRecord {
        let Self { worker, job, first, count, .. } = *self;
        LeaseRecord {
            worker,
            job,
            first,
            count,
            given_back: self.given_back.clone(),
            overdue: !self.active(),
        }
    }
}
