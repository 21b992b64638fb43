//! Errands in slots, and what they leave.

use super::{Errand, ErrandId, Errands, Stage, Wish};
use crate::agent::run::{RunOwner, need};
use crate::agent::{Action, Agent, Effects, End, Remedy, RunScope};
use proto::report::Outcome;
use proto::trace::Claim;

/// States to be shown that are on disk at a time: each may be as large as a unit's memory.
const STATES_MAX: usize = 2;
/// Infrastructure failures of one errand before it is given up.
const FAILURES_MAX: u32 = 3;

impl Errand {
    fn is_show(&self) -> bool {
        matches!(self.wish, Wish::Show { .. })
    }

    /// What is to be run; none when a show has no point to run to.
    fn course(&self) -> Option<RunScope> {
        let spacing = self.prepared.trace_fuel;
        match &self.wish {
            Wish::Show { .. } => {
                self.goal().map(|point| RunScope::ToState { spacing, fuel: point.fuel })
            }
            Wish::Segment { spacing, from, .. } => {
                let from = from.map(|from| (from.point, from.blob));
                Some(RunScope::Segment { spacing: *spacing, from })
            }
        }
    }
}

impl Agent {
    /// The errand that is to have the next room in the pool.
    fn next_errand(&self) -> Option<ErrandId> {
        let on_disk = |errand: &&Errand| {
            errand.is_show()
                && matches!(errand.stage, Stage::Running { .. } | Stage::Putting { .. })
        };
        let full = STATES_MAX <= self.errands.held.values().filter(on_disk).count();
        let mut ready = self.errands.held.iter().filter(|(_, errand)| {
            matches!(errand.stage, Stage::Ready) && !(full && errand.is_show())
        });
        ready.next().map(|(id, _)| *id)
    }

    /// Starts errands as there is room; whether units may be started after them.
    pub(in crate::agent) fn start_errands(&mut self, fx: &mut Effects) -> bool {
        while let Some(id) = self.next_errand() {
            let Some(errand) = self.errands.held.get(&id) else { return true };
            let (unit, prepared) = (errand.unit, errand.prepared.clone());
            let Some(course) = errand.course() else {
                self.fail_errand(id, "the trace has no such point".into(), fx);
                continue;
            };
            if !self.has_room(unit.job, &prepared) {
                return false;
            }
            let run = self.begin_run(RunOwner::Errand(id), &prepared);
            fx.actions.push(Action::Run { run, id: unit, unit: prepared.unit.clone(), course });
            if let Some(errand) = self.errands.held.get_mut(&id) {
                errand.stage = Stage::Running { run };
            }
        }
        true
    }

    /// The run of an errand has ended.
    pub(in crate::agent) fn errand_ran(&mut self, id: ErrandId, end: End, fx: &mut Effects) {
        let Some(errand) = self.errands.held.get_mut(&id) else { return };
        let Stage::Running { run } = errand.stage else { return };
        match end {
            End::Reached { point, state: Some(state) } if errand.goal() == Some(point) => {
                let prepared = errand.prepared.clone();
                errand.stage = Stage::Putting { run, state };
                self.end_run(run, &prepared, false, fx);
                self.put_state(id, state.digest);
                return;
            }
            End::Interrupted => return self.run_errand_again(id, fx),
            End::Trouble { ref reason, remedy: Remedy::Again | Remedy::Mend }
                if errand.n_failures + 1 < FAILURES_MAX =>
            {
                errand.n_failures += 1;
                self.totals.failures += 1;
                self.run_errand_again(id, fx);
                return self.doubt(reason.clone(), fx);
            }
            _ => {}
        }
        // The run is over: there is nothing to cancel.
        let prepared = errand.prepared.clone();
        let is_show = errand.is_show();
        errand.stage = Stage::Reading;
        self.end_run(run, &prepared, false, fx);
        fx.actions.push(Action::ForgetErrand { run });
        match end {
            End::Trouble { reason, .. } | End::NoRoom { reason } => {
                self.totals.failures += 1;
                self.fail_errand(id, reason, fx);
            }
            End::Reached { point, .. } if !is_show => {
                self.state_segment(id, Claim::Point(point), fx)
            }
            End::Result { outcome, fuel, .. } if !is_show => {
                let result = match outcome {
                    Outcome::Done(output) => Ok(output.digest()),
                    Outcome::Failed(failure) => Err(failure),
                };
                self.state_segment(id, Claim::End { result, fuel }, fx);
            }
            End::Reached { .. } | End::Result { .. } | End::Interrupted => {
                let reason =
                    "the unit was run again and did not come to the state that its trace names";
                self.fail_errand(id, reason.into(), fx);
            }
        }
    }

    /// The run was stopped or failed: another one begins where this one did.
    fn run_errand_again(&mut self, id: ErrandId, fx: &mut Effects) {
        let Some(errand) = self.errands.held.get_mut(&id) else { return };
        let Stage::Running { run } = errand.stage else { return };
        // It keeps its blobs.
        errand.stage = Stage::Ready;
        let need = need(&errand.prepared.unit.limits);
        self.runs.end(run, need);
        fx.actions.push(Action::ForgetErrand { run });
    }

    /// The state of a show was put, or could not be.
    pub(in crate::agent) fn state_put(
        &mut self,
        id: ErrandId,
        result: Result<(), String>,
        fx: &mut Effects,
    ) {
        let Some(errand) = self.errands.held.get(&id) else { return };
        let Stage::Putting { state, .. } = errand.stage else { return };
        match result {
            Ok(()) => self.show(id, Some(state), fx),
            Err(reason) => self.fail_errand(id, format!("the state cannot be put: {reason}"), fx),
        }
    }
}

impl Errands {
    /// The run that left the state that a show puts.
    pub(in crate::agent) fn state_run(&self, show: ErrandId) -> Option<u64> {
        match self.held.get(&show)?.stage {
            Stage::Putting { run, .. } => Some(run),
            _ => None,
        }
    }
}
