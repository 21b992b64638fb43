//! How far a worker's word goes: what is estimated, what is remembered of whom, which units are checked, and what
//! happens when somebody is caught. `docs/trust.md` has the formulas with their sources and limits.

mod escrow;
pub mod estimate;
mod fault;
mod pool;
pub mod prng;
pub mod standings;
mod trial;
mod withdraw;

use crate::Core;
use crate::job::Job;
use crate::trust::estimate::Standing;
use proto::{JobId, UnitIndex};

pub(super) use escrow::Escrow;
pub(super) use fault::Fault;
pub(super) use pool::Pool;
pub(super) use trial::Trials;
pub(super) use withdraw::SoleReports;

/// A worker was caught: its report of a unit lost against others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Detection {
    worker: u32,
    class: u64,
    fault: Fault,
}

/// What kernels have in common whose units are alike: the start of the kernel's digest. Another build of a kernel is
/// another class: its units may take another way through the machine.
pub(super) fn class(job: &Job, unit: u64) -> u64 {
    let kernel = job.spec.kernel_of(UnitIndex(unit)).unwrap_or(job.spec.kernel);
    u64::from_le_bytes(std::array::from_fn(|index| kernel.0[index]))
}

impl Core {
    /// What is known of a worker for units of a class.
    pub(super) fn standing(&self, worker: u32, class: u64) -> Standing {
        let record = &self.worker(worker).record;
        self.standings.of(worker, record.account, record.network, class)
    }

    /// Notes who agreed on a unit that was checked, and who was caught lying about it.
    pub(super) fn learn(&mut self, id: JobId, unit: u64, agreeing: &[u32], others: &[(u32, bool)]) {
        let Some(job) = self.jobs.get(&id) else { return };
        let class = class(job, unit);
        for &worker in agreeing {
            let record = &self.workers[worker as usize].record;
            self.standings.pass(worker, record.account, record.network, class);
        }
        self.caught.extend(others.iter().map(|&(worker, shared)| {
            let fault = if shared {
                Fault::Shared { job: id, unit }
            } else {
                Fault::SoleReports { job: id, unit }
            };
            Detection { worker, class, fault }
        }));
    }
}
