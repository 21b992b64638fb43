//! How errands end: with an answer, or without.

use super::{Errand, ErrandId, Shown, Stage, StateFile, Wish};
use crate::agent::{Action, Agent, Effects, Message};
use proto::bounds::REASON_BYTES_MAX;
use proto::trace::{Claim, SegmentStatement};

/// The answer to an errand that came to nothing.
pub(super) fn failed(id: ErrandId, mut reason: String) -> Message {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    match id {
        ErrandId::Show(show) => Message::Shown { show, shown: Err(reason) },
        ErrandId::Segment(segment) => Message::Segment { segment, found: Err(reason) },
    }
}

impl Agent {
    /// Shows the trace, and the state if one was wanted.
    pub(super) fn show(&mut self, id: ErrandId, state: Option<StateFile>, fx: &mut Effects) {
        let ErrandId::Show(show) = id else { return };
        let Some(trace) = self.errands.held.get(&id).and_then(|errand| errand.trace.clone()) else {
            return;
        };
        self.answer(id, Message::Shown { show, shown: Ok(Shown { trace, state }) }, fx);
    }

    /// States how a segment ends.
    pub(super) fn state_segment(&mut self, id: ErrandId, found: Claim, fx: &mut Effects) {
        let Some(errand) = self.errands.held.get(&id) else { return };
        let (ErrandId::Segment(segment), Wish::Segment { spacing, from, .. }) = (id, &errand.wish)
        else {
            return;
        };
        let statement = SegmentStatement::new(
            self.config.project,
            errand.spec,
            errand.unit.unit,
            *spacing,
            from.map(|from| from.point),
            found,
        );
        self.answer(id, Message::Segment { segment, found: Ok(statement) }, fx);
    }

    /// An errand came to nothing.
    pub(super) fn fail_errand(&mut self, id: ErrandId, reason: String, fx: &mut Effects) {
        self.answer(id, failed(id, reason), fx);
    }

    /// Says the answer, now or on the next stream.
    fn answer(&mut self, id: ErrandId, message: Message, fx: &mut Effects) {
        let Some(mut errand) = self.drop_errand(id, fx) else { return };
        if self.is_attached() {
            fx.actions.push(Action::Send(message));
        } else {
            errand.stage = Stage::Answered(message);
            self.errands.held.insert(id, errand);
        }
    }

    /// Lets go of an errand in whatever stage it is.
    pub(super) fn drop_errand(&mut self, id: ErrandId, fx: &mut Effects) -> Option<Errand> {
        let errand = self.errands.held.remove(&id)?;
        match &errand.stage {
            Stage::Reading | Stage::Answered(_) => {}
            Stage::Fetching { .. } | Stage::Ready => self.release_blobs(&errand.prepared.blobs, fx),
            Stage::Running { run } => {
                self.end_run(*run, &errand.prepared, true, fx);
                fx.actions.push(Action::ForgetErrand { run: *run });
            }
            Stage::Putting { run, state } => {
                self.forget_state(id, state.digest);
                fx.actions.push(Action::ForgetErrand { run: *run });
            }
        }
        Some(errand)
    }
}
