//! Shows, segments and advice.

use super::*;
use proto::report::Failure;
use proto::trace::{Claim, SegmentStatement, Trace};

pub(super) const STATE: Digest = Digest([77; 32]);

pub(super) fn show(number: u64, unit: UnitId, fuel: Option<u64>) -> Event {
    let wish = Wish::Show { fuel };
    Event::Errand(Request { number, unit, extra: Extra::default(), wish })
}

pub(super) fn segment(number: u64, unit: UnitId, spacing: u64, from: Option<Start>) -> Event {
    let wish = Wish::Segment { spacing, from, expires_in: Duration::from_secs(60) };
    Event::Errand(Request { number, unit, extra: Extra::default(), wish })
}

pub(super) fn point(number: u64) -> Point {
    Point { fuel: number * proto::trace::SPACING, state: Digest::of(&number.to_le_bytes()) }
}

/// A trace of four points.
pub(super) fn trace() -> Trace {
    let mut trace = Trace::new(proto::trace::SPACING);
    (1..=4).for_each(|number| trace.push(point(number)));
    trace
}

fn start(number: u64) -> Option<Start> {
    Some(Start { point: point(number), blob: STATE, len: 9 })
}

pub(super) fn reached(number: u64) -> End {
    End::Reached { point: point(number), state: Some(StateFile { digest: STATE, len: 9 }) }
}

fn end_of_unit() -> End {
    let outcome = Outcome::Done(Output::Inline(vec![1]));
    End::Result { outcome, fuel: 5 << 36, trace_root: None }
}

impl World {
    fn read(&mut self, show: u64, result: Result<Trace, String>) {
        assert!(self.reading.remove(&show).is_some(), "it is to be read");
        self.on(Event::TraceRead { show, result });
    }

    /// The one errand that runs.
    fn course(&self) -> RunScope {
        assert_eq!(self.errand_runs.len(), 1, "one errand runs");
        *self.errand_runs.values().next().unwrap()
    }

    pub(super) fn end_errand(&mut self, end: End) {
        let (run, _) = self.errand_runs.pop_first().expect("an errand runs");
        self.on(Event::Finished { run, end, cpu: Duration::from_secs(1) });
    }

    pub(super) fn answers(&mut self) -> Vec<Message> {
        let is_answer =
            |message: &Message| matches!(message, Message::Shown { .. } | Message::Segment { .. });
        let (answers, others) = std::mem::take(&mut self.sent).into_iter().partition(is_answer);
        self.sent = others;
        answers
    }

    fn answer(&mut self) -> Message {
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "one answer is awaited");
        assert_eq!(self.agent.status(self.now).errands, 0, "nothing is left of it");
        assert_eq!(self.errand_files, BTreeSet::new(), "nothing is left on the disk");
        answers.remove(0)
    }

    fn shown(&mut self) -> Result<(Trace, Option<StateFile>), String> {
        match self.answer() {
            Message::Shown { shown, .. } => shown.map(|shown| (shown.trace, shown.state)),
            other => panic!("{other:?} instead of a show"),
        }
    }

    fn found(&mut self) -> Result<SegmentStatement, String> {
        match self.answer() {
            Message::Segment { found, .. } => found,
            other => panic!("{other:?} instead of a segment"),
        }
    }
}

#[test]
fn a_report_commits_to_its_trace_which_stays_and_one_given_back_leaves_none() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 2));
    world.end(unit(1, 0), done(3));
    let batch = world.batch();
    assert_eq!(batch.reports[0].trace_root, Some(Digest([3; 32])));
    world.ack(&batch, Ack::Accepted);
    world.on(Event::Cancel { leases: vec![LeaseId(5)], reason: "over".into() });
    assert_eq!(world.traces, BTreeSet::from([unit(1, 0)]));
}

#[test]
fn a_trace_is_shown_without_a_state() {
    let mut world = World::attached();
    world.on(show(8, unit(1, 0), None));
    world.read(8, Ok(trace()));
    assert_eq!(world.shown(), Ok((trace(), None)));
    world.on(show(9, unit(1, 0), Some(proto::trace::SPACING - 1)));
    world.read(9, Ok(trace()));
    assert_eq!(world.shown(), Ok((trace(), None)), "there is no point at or below this fuel");
}

#[test]
fn a_state_is_computed_again_put_and_shown() {
    let mut world = World::attached();
    world.on(show(8, unit(1, 0), Some(3 * proto::trace::SPACING + 5)));
    world.read(8, Ok(trace()));
    assert_eq!(world.errand_runs.len(), 0, "its kernel is not here");
    world.fetch_all();
    let spacing = proto::trace::SPACING;
    assert_eq!(world.course(), RunScope::ToState { spacing, fuel: point(3).fuel });
    world.end_errand(reached(3));
    assert_eq!(world.putting, BTreeSet::from([STATE]));
    assert!(world.answers().is_empty(), "the state is there before it is spoken of");
    world.putting.clear();
    world.on(Event::Put { digest: STATE, result: Ok(()) });
    assert_eq!(world.shown(), Ok((trace(), Some(StateFile { digest: STATE, len: 9 }))));
}

#[test]
fn what_cannot_be_shown_is_said() {
    let mut world = World::attached();
    world.on(show(1, unit(9, 0), None));
    assert!(world.shown().unwrap_err().contains("not known here"));
    world.on(show(1, unit(1, 10_000), None));
    assert!(world.shown().unwrap_err().contains("beyond the last"));
    world.on(show(1, unit(1, 0), None));
    world.read(1, Err("evicted".into()));
    assert_eq!(world.shown(), Err("evicted".into()));
    for end in [end_of_unit(), reached(2)] {
        world.on(show(1, unit(1, 0), Some(u64::MAX)));
        world.read(1, Ok(trace()));
        world.fetch_all();
        world.end_errand(end);
        assert!(world.shown().unwrap_err().contains("did not come to the state"));
    }
    world.on(show(1, unit(1, 0), Some(u64::MAX)));
    world.read(1, Ok(trace()));
    world.end_errand(reached(4));
    world.putting.clear();
    world.on(Event::OutputLost { digest: STATE, reason: "damaged".into() });
    assert!(world.shown().unwrap_err().contains("damaged"));
}

#[test]
fn a_state_that_cannot_be_put_is_tried_again_and_then_given_up() {
    let mut world = World::attached();
    world.on(show(1, unit(1, 0), Some(u64::MAX)));
    world.read(1, Ok(trace()));
    world.fetch_all();
    world.end_errand(reached(4));
    for _ in 0..3 {
        assert!(world.putting.remove(&STATE), "it is tried");
        assert!(world.answers().is_empty());
        world.on(Event::Put { digest: STATE, result: Err("no".into()) });
        world.pass(Duration::from_secs(6));
    }
    assert_eq!(world.shown(), Err("the state cannot be put: no".into()));
}

#[test]
fn a_segment_is_run_from_its_state_to_the_next_point() {
    let mut world = World::attached();
    world.on(segment(3, unit(1, 6), proto::trace::SPACING, start(2)));
    assert!(world.fetching.contains(&STATE), "its state is fetched like an input");
    world.fetch_all();
    let spacing = proto::trace::SPACING;
    assert_eq!(world.course(), RunScope::Segment { spacing, from: Some((point(2), STATE)) });
    world.end_errand(End::Reached { point: point(3), state: None });
    let found = world.found().unwrap();
    let spec = Digest::of(&spec("one", 64).encode());
    let expected = SegmentStatement::new(
        ProjectKey([7; 32]),
        spec,
        UnitIndex(6),
        spacing,
        Some(point(2)),
        Claim::Point(point(3)),
    );
    assert_eq!(found, expected);
}

#[test]
fn a_segment_to_the_end_names_the_output_by_its_digest_or_the_failure() {
    let mut world = World::attached();
    let failed = Outcome::Failed(Failure::Unreachable);
    let failed = End::Result { outcome: failed, fuel: 5 << 36, trace_root: None };
    for (end, result) in
        [(end_of_unit(), Ok(Digest::of(&[1]))), (failed, Err(Failure::Unreachable))]
    {
        world.on(segment(3, unit(1, 6), 0, None));
        world.fetch_all();
        assert_eq!(world.course(), RunScope::Segment { spacing: 0, from: None });
        world.end_errand(end);
        let statement = world.found().unwrap();
        assert_eq!(statement.found, Claim::End { result, fuel: 5 << 36 });
        assert_eq!((statement.spacing, statement.from), (0, None));
    }
}

#[test]
fn an_errand_goes_before_units_that_wait() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 5));
    world.on(segment(3, unit(1, 6), 0, None));
    assert_eq!(world.errand_runs.len(), 0, "both slots compute");
    world.end(unit(1, 0), done(1));
    assert_eq!((world.errand_runs.len(), world.running()), (1, vec![unit(1, 1)]));
    world.end_errand(end_of_unit());
    assert_eq!(world.running(), [unit(1, 1), unit(1, 2)]);
    world.found().unwrap();
}

#[test]
fn trouble_is_tried_again_three_times_and_then_said() {
    let mut world = World::attached();
    let trouble = |remedy| End::Trouble { reason: "out of memory".into(), remedy };
    world.on(segment(3, unit(1, 6), 0, None));
    world.fetch_all();
    world.end_errand(End::Interrupted);
    for _ in 0..3 {
        assert!(world.answers().is_empty());
        world.end_errand(trouble(Remedy::Again));
    }
    assert_eq!(world.found(), Err("out of memory".into()));
    world.on(segment(4, unit(1, 6), 0, None));
    world.end_errand(trouble(Remedy::Elsewhere));
    assert_eq!(world.found(), Err("out of memory".into()));
}

#[test]
fn a_blob_that_is_not_to_be_had_ends_the_segment_and_no_unit_of_others() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 1));
    world.on(segment(3, unit(1, 6), 0, start(2)));
    let result = Err(FetchTrouble::Never("not found".into()));
    world.fetching.clear();
    world.on(Event::Fetched { digest: STATE, result });
    assert!(world.found().unwrap_err().contains("not found"));
    assert_eq!(world.running(), [unit(1, 0)]);
    assert!(world.returns().is_empty());
}

#[test]
fn a_segment_that_finds_no_room_is_for_others() {
    let mut world = World::attached();
    world.on(segment(3, unit(1, 6), 0, start(2)));
    world.fetching.clear();
    world.on(Event::Fetched { digest: Digest([1; 32]), result: Ok(()) });
    let result = Err(FetchTrouble::NoRoom("full".into()));
    world.on(Event::Fetched { digest: STATE, result });
    assert!(world.found().unwrap_err().contains("full"));
}

#[test]
fn no_more_errands_are_held_than_may_be_and_none_twice() {
    let mut world = World::attached();
    let max = SHOWS_MAX as u64;
    for number in 0..=max {
        world.on(show(number, unit(1, number), None));
        world.on(show(number, unit(1, number), None));
    }
    assert!(matches!(
        &world.answers()[..],
        [Message::Shown { show, shown: Err(reason) }, Message::Shown { .. }]
            if *show == max && reason.contains("at most")
    ));
    assert_eq!(world.reading.len(), SHOWS_MAX);
    let max = SEGMENTS_MAX as u64;
    (0..=max).for_each(|number| world.on(segment(number, unit(1, 6), 0, None)));
    assert!(matches!(
        &world.answers()[..],
        [Message::Segment { segment, found: Err(_) }] if *segment == max
    ));
}

#[test]
fn few_states_are_on_disk_at_a_time() {
    let mut config = config();
    config.slots = 8;
    let mut world = World::of(Agent::new(config));
    world.on(Event::Wake);
    world.attach();
    world.on(Event::Job { id: JobId(1), spec: spec("one", 64).encode() });
    for number in 0..4 {
        world.on(show(number, unit(1, number), Some(u64::MAX)));
        world.read(number, Ok(trace()));
    }
    world.fetch_all();
    assert_eq!(world.errand_runs.len(), 2);
    world.end_errand(reached(4));
    assert_eq!(world.errand_runs.len(), 1, "a state that is being put is on disk");
    world.putting.clear();
    world.on(Event::Put { digest: STATE, result: Ok(()) });
    assert_eq!(world.errand_runs.len(), 2);
}

#[test]
fn an_errand_survives_a_cut_and_ends_when_nobody_waits_any_more() {
    let mut world = World::attached();
    world.on(segment(3, unit(1, 6), 0, None));
    world.on(segment(4, unit(1, 6), 0, None));
    world.fetch_all();
    world.detach();
    world.end_errand(end_of_unit());
    assert!(world.answers().is_empty());
    world.pass(Duration::from_secs(1));
    world.attach();
    assert_eq!(world.answers().len(), 1, "the answer waited for a stream");
    world.pass(Duration::from_secs(59));
    assert_eq!(world.errand_runs.len(), 0, "the other one is cancelled");
    assert_eq!((world.agent.status(world.now).errands, world.errand_files.len()), (0, 0));
    assert!(world.answers().is_empty());
}

#[test]
fn leaving_and_stopping_end_all_errands() {
    for event in [Event::Leave, Event::Stop] {
        let mut world = World::attached();
        world.lend(lease(5, 1, 0, 1));
        world.end(unit(1, 0), done(1));
        world.on(segment(3, unit(1, 6), 0, None));
        world.on(show(4, unit(1, 6), Some(u64::MAX)));
        world.read(4, Ok(trace()));
        world.fetch_all();
        assert_eq!(world.errand_runs.len(), 2);
        let stops = matches!(event, Event::Stop);
        world.on(event);
        assert_eq!((world.errand_runs.len(), world.errand_files.len()), (0, 0));
        let answers = world.answers();
        let segments =
            answers.iter().filter(|said| matches!(said, Message::Segment { .. })).count();
        assert_eq!((segments, answers.len()), (1, if stops { 1 } else { 2 }));
        world.on(segment(5, unit(1, 6), 0, None));
        assert_eq!(world.answers().len(), usize::from(!stops), "nothing new is taken");
        assert_eq!(world.agent.status(world.now).errands, 0);
    }
}

#[test]
fn a_pause_starts_no_errand() {
    let mut world = World::attached();
    world.on(Event::Pause(None));
    world.on(segment(3, unit(1, 6), 0, None));
    world.fetch_all();
    assert_eq!(world.errand_runs.len(), 0);
    world.on(Event::Resume);
    assert_eq!(world.errand_runs.len(), 1);
}

#[test]
fn advice_is_said_once_and_shown_until_there_is_another() {
    let mut world = World::attached();
    for text in ["check your memory", "check your memory", "cool it"] {
        world.on(Event::Advice(text.into()));
        assert_eq!(world.agent.status(world.now).advice.as_deref(), Some(text));
    }
    assert_eq!(
        world.said,
        ["advice from the project: check your memory", "advice from the project: cool it"]
    );
    world.on(Event::Advice(String::new()));
    assert_eq!(world.agent.status(world.now).advice, None);
}
