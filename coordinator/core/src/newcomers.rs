//! What those hold together who have reported nothing yet. Keys are free, networks are not: so it is counted by network.

use crate::Core;
use crate::bounds::NEWCOMER_UNITS_OF_NETWORK;
use std::collections::HashMap;

/// Units held by newcomers of each network; none of networks that tell nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Newcomers(HashMap<u64, u64>);

impl Newcomers {
    /// Units that newcomers of the network may be lent yet.
    pub(super) fn room(&self, network: u64) -> u32 {
        if network == 0 {
            return u32::MAX;
        }
        let held = self.0.get(&network).copied().unwrap_or(0);
        u32::try_from(NEWCOMER_UNITS_OF_NETWORK.saturating_sub(held)).unwrap_or(u32::MAX)
    }

    pub(super) fn take(&mut self, network: u64, units: u32) {
        if network != 0 && 0 < units {
            *self.0.entry(network).or_default() += u64::from(units);
        }
    }

    fn free(&mut self, network: u64, units: u32) {
        let Some(held) = self.0.get_mut(&network) else { return };
        *held -= u64::from(units);
        if *held == 0 {
            self.0.remove(&network);
        }
    }
}

impl Core {
    /// A worker holds so many units more.
    pub(super) fn hold_units(&mut self, number: u32, units: u32) {
        let worker = &mut self.workers[number as usize];
        worker.leased += units;
        if worker.record.is_newcomer() {
            self.newcomers.take(worker.record.network, units);
        }
    }

    /// A worker holds so many units less.
    pub(super) fn free_units(&mut self, number: u32, units: u32) {
        let worker = &mut self.workers[number as usize];
        worker.leased -= units;
        if worker.record.is_newcomer() {
            self.newcomers.free(worker.record.network, units);
        }
    }

    /// A worker's reports were accepted: it is no newcomer any more.
    pub(super) fn count_reports(&mut self, number: u32, accepted: u64) {
        let worker = &mut self.workers[number as usize];
        if worker.record.is_newcomer() {
            self.newcomers.free(worker.record.network, worker.leased);
        }
        worker.record.reported += accepted;
    }

    /// A worker has come from this network.
    pub(super) fn come_from(&mut self, number: u32, network: u64) {
        let worker = &mut self.workers[number as usize];
        if worker.record.is_newcomer() {
            self.newcomers.free(worker.record.network, worker.leased);
            self.newcomers.take(network, worker.leased);
        }
        worker.record.network = network;
    }
}
