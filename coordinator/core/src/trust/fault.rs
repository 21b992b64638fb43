//! What is concluded of a worker that was caught. A machine that fails is told apart from one that lies as far as the
//! evidence goes: what only it has found may be a fault of memory or clock, what several accounts found alike cannot.

use crate::Core;
use crate::bounds::{FAULTS_FREE, PROBATION};
use crate::event::{Effects, ToWorker};
use crate::time::Now;
use proto::{JobId, UnitIndex};

/// How somebody was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Nobody else has reported the same.
    SoleReports {
        /// The job.
        job: JobId,
        /// Of which unit.
        unit: u64,
    },
    /// Others have reported the same wrong thing.
    Shared {
        /// The job.
        job: JobId,
        /// Of which unit.
        unit: u64,
    },
    /// It showed a trace or a state that its report does not commit to.
    Shown {
        /// The job.
        job: JobId,
        /// Of which unit.
        unit: u64,
    },
}

impl Core {
    /// Draws the consequences for the machine itself, and tells its owner.
    pub(super) fn punish(
        &mut self,
        now: Now,
        worker: u32,
        times: u32,
        fault: Fault,
        effects: &mut Effects,
    ) {
        let waits = match fault {
            Fault::SoleReports { .. } | Fault::Shown { .. } => times.saturating_sub(FAULTS_FREE),
            Fault::Shared { .. } => times.max(1),
        };
        let reported = self.worker(worker).record.reported;
        let machine = self.worker_mut(worker);
        machine.record.caught += 1;
        machine.restrain(now.monotonic_ms, waits, PROBATION);
        let caught = machine.record.caught;
        let text = advice(fault, caught, reported, waits);
        if let Some(live) = &machine.live {
            effects.messages.push((live.session, ToWorker::Advice(text)));
        }
    }
}

fn advice(fault: Fault, caught: u64, reported: u64, waits: u32) -> String {
    let (job, unit, what) = match fault {
        Fault::SoleReports { job, unit } => (
            job,
            unit,
            "no other machine finds the same, as happens with an unstable overclock, failing memory or too much heat: \
             check memory, cooling and clock",
        ),
        Fault::Shared { job, unit } => (
            job,
            unit,
            "other accounts have reported the very same wrong thing, which no failing machine does: was this program \
             changed?",
        ),
        Fault::Shown { job, unit } => (
            job,
            unit,
            "what it showed of its computation is not what its report says: check disk and memory",
        ),
    };
    let then = match waits {
        0 => "it gets little work and small units until it has done well for a while",
        _ => "it gets no work for a while, and little after that",
    };
    let unit = UnitIndex(unit);
    format!(
        "a report of this machine ({job}/{unit}) was proved wrong ({caught} of {reported} so far): {what}; {then}"
    )
}
