use super::*;
use proto::UnitIndex;
use proto::bounds::INLINE_OUTPUT_BYTES_MAX;
use proto::job::{Extra, JobSpec, Limits, Nan, VERSION};
use proto::report::{Ack, Failure, Outcome, Output};
use std::collections::BTreeSet;

mod errands;
mod fitness;
mod hand;
mod random;

const MIB: u64 = 1 << 20;

fn spec(name: &str, memory_mib: u64) -> JobSpec {
    JobSpec {
        version: VERSION,
        name: name.into(),
        kernel: Digest([1; 32]),
        contract: proto::job::CONTRACT,
        nan: Nan::Canonical,
        numbers: proto::job::Numbers::Binary,
        params: proto::json::Object::new(),
        inputs: vec![],
        cut: vec![proto::cut::Axis::Range { name: "n".into(), first: 0, end: 10_000, per_unit: 1 }],
        merge: None,
        limits: Limits {
            memory_bytes: memory_mib * MIB,
            fuel: 1 << 40,
            output_bytes: 1 << 20,
            log_bytes: 0,
            time_s: 60,
        },
        copies: 1,
        confidence: None,
        lease_s: 60,
        attempts_max: 3,
        priority: 0,
        exit_codes: proto::job::success(),
        seed: Digest([0; 32]),
        trace_fuel: proto::trace::SPACING,
    }
}

fn config() -> Config {
    Config {
        project: ProjectKey([7; 32]),
        worker: WorkerKey([8; 32]),
        slots: 2,
        memory_bytes: 1024 * MIB,
        buffer: Duration::from_secs(10),
    }
}

fn lease(id: u64, job: u64, first: u64, count: u32) -> Lease {
    Lease {
        id: LeaseId(id),
        job: JobId(job),
        first: UnitIndex(first),
        count,
        duration: Duration::from_secs(60),
        extras: vec![],
    }
}

fn unit(job: u64, unit: u64) -> UnitId {
    UnitId { job: JobId(job), unit: UnitIndex(unit) }
}

fn done(byte: u8) -> End {
    let outcome = Outcome::Done(Output::Inline(vec![byte]));
    End::Result { outcome, fuel: 100, trace_root: Some(Digest([byte; 32])) }
}

fn done_large(byte: u8) -> End {
    let output =
        Output::Blob { digest: Digest([byte; 32]), len: INLINE_OUTPUT_BYTES_MAX as u64 + 1 };
    End::Result { outcome: Outcome::Done(output), fuel: 100, trace_root: None }
}

/// An agent, what it kept, and the world as its actions leave it.
struct World {
    agent: Agent,
    now: Now,
    kept: Vec<Record>,
    fetching: BTreeSet<Digest>,
    released: BTreeSet<Digest>,
    putting: BTreeSet<Digest>,
    /// Of units.
    runs: BTreeMap<u64, UnitId>,
    snapshots: BTreeSet<UnitId>,
    outputs: BTreeSet<UnitId>,
    traces: BTreeSet<UnitId>,
    /// Shows whose trace is to be read.
    reading: BTreeMap<u64, UnitId>,
    /// Of errands.
    errand_runs: BTreeMap<u64, RunScope>,
    /// Runs of errands that may have left files.
    errand_files: BTreeSet<u64>,
    sent: Vec<Message>,
    connecting: bool,
    dropped: bool,
    exited: bool,
    said: Vec<String>,
    paused: bool,
    handed: Vec<Batch>,
    settled: Vec<u64>,
    /// The trial unit is to run.
    trying: bool,
    /// How it will end.
    fit: bool,
}

impl World {
    fn new() -> Self {
        Self::of(Agent::new(config()))
    }

    fn of(agent: Agent) -> Self {
        Self {
            agent,
            now: Now::ZERO,
            kept: vec![],
            fetching: BTreeSet::new(),
            released: BTreeSet::new(),
            putting: BTreeSet::new(),
            runs: BTreeMap::new(),
            snapshots: BTreeSet::new(),
            outputs: BTreeSet::new(),
            traces: BTreeSet::new(),
            reading: BTreeMap::new(),
            errand_runs: BTreeMap::new(),
            errand_files: BTreeSet::new(),
            sent: vec![],
            connecting: false,
            dropped: false,
            exited: false,
            said: vec![],
            paused: false,
            handed: vec![],
            settled: vec![],
            trying: false,
            fit: true,
        }
    }

    /// Connected, with one job known, its kernel here, and the first want said.
    fn attached() -> Self {
        let mut world = Self::new();
        world.on(Event::Wake);
        world.attach();
        world.on(Event::Job { id: JobId(1), spec: spec("one", 64).encode() });
        world
    }

    fn on(&mut self, event: Event) {
        let Effects { records, actions } = self.agent.apply(self.now, event);
        self.kept.extend(records);
        for action in actions {
            self.act(action);
        }
        self.agent.check_invariants();
        if self.fit && std::mem::take(&mut self.trying) {
            self.on(Event::Tried(Ok(())));
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect => self.connecting = true,
            Action::Disconnect(_) => self.dropped = true,
            Action::Send(message) => self.sent.push(message),
            Action::Fetch { digest, .. } => {
                assert!(self.fetching.insert(digest), "fetched once at a time")
            }
            Action::Release(digest) => drop(self.released.insert(digest)),
            Action::Put { digest, from } => {
                let there = match from {
                    Source::Output(unit) => self.outputs.contains(&unit),
                    Source::State { run } => self.errand_files.contains(&run),
                };
                assert!(there, "only what is on disk is put");
                assert!(self.putting.insert(digest), "put once at a time");
            }
            Action::ForgetOutput(id) => drop(self.outputs.remove(&id)),
            Action::Run { run, id, course, .. } => {
                assert!(!self.paused, "nothing is started during a pause");
                if let RunScope::Whole { spacing } = course {
                    assert_eq!(spacing, proto::trace::SPACING, "as the job has it");
                    self.snapshots.insert(id);
                    self.traces.insert(id);
                    assert!(self.runs.insert(run, id).is_none(), "a run has a number of its own");
                } else {
                    self.errand_files.insert(run);
                    self.errand_runs.insert(run, course);
                }
            }
            Action::Cancel { run } => {
                self.runs.remove(&run);
                self.errand_runs.remove(&run);
            }
            Action::ReadTrace { show, unit, spacing } => {
                assert_eq!(spacing, proto::trace::SPACING, "as the job has it");
                assert!(self.reading.insert(show, unit).is_none(), "read once at a time");
            }
            Action::ForgetTrace(id) => drop(self.traces.remove(&id)),
            Action::ForgetErrand { run } => {
                assert!(!self.errand_runs.contains_key(&run), "files go after their run");
                assert!(self.errand_files.remove(&run), "files go once");
            }
            Action::ForgetSnapshot(id) => drop(self.snapshots.remove(&id)),
            Action::Try => {
                assert!(!std::mem::replace(&mut self.trying, true), "tried once at a time")
            }
            Action::Pause => self.paused = true,
            Action::Resume => self.paused = false,
            Action::Say(text) => self.said.push(text),
            Action::Exit => self.exited = true,
            Action::HandOver(batch) => self.handed.push(batch),
            Action::Settled(sequence) => self.settled.push(sequence),
        }
    }

    fn attach(&mut self) {
        self.connecting = false;
        let welcome = Welcome {
            heartbeat: Duration::from_secs(5),
            batch_reports_max: 100,
            credit: 0,
            sequence: 0,
        };
        self.on(Event::Attached(welcome));
    }

    fn detach(&mut self) {
        self.connecting = false;
        self.dropped = false;
        let putting = std::mem::take(&mut self.putting);
        self.on(Event::Detached { reason: "cut".into(), retry_after: None, random: 0 });
        for digest in putting {
            self.putting.remove(&digest);
            self.on(Event::Put { digest, result: Err("cut".into()) });
        }
    }

    fn lend(&mut self, lease: Lease) {
        self.on(Event::Leases(vec![lease]));
        self.fetch_all();
    }

    fn fetch_all(&mut self) {
        for digest in std::mem::take(&mut self.fetching) {
            self.on(Event::Fetched { digest, result: Ok(()) });
        }
    }

    fn end(&mut self, id: UnitId, end: End) {
        let run = *self.runs.iter().find(|(_, running)| **running == id).expect("it runs").0;
        self.end_run(run, end);
    }

    fn end_run(&mut self, run: u64, end: End) {
        let id = self.runs.remove(&run).expect("it runs");
        if let End::Result { outcome: Outcome::Done(Output::Blob { .. }), .. } = &end {
            self.outputs.insert(id);
        }
        self.on(Event::Finished { run, end, cpu: Duration::from_secs(1) });
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.agent.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.on(Event::Wake);
            if self.now == end {
                return;
            }
        }
        self.now = end;
        self.on(Event::Wake);
    }

    fn running(&self) -> Vec<UnitId> {
        self.runs.values().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn batches(&mut self) -> Vec<Batch> {
        let sent = std::mem::take(&mut self.sent);
        let (batches, others): (Vec<_>, Vec<_>) =
            sent.into_iter().partition(|message| matches!(message, Message::Reports(_)));
        self.sent = others;
        batches
            .into_iter()
            .filter_map(
                |message| if let Message::Reports(batch) = message { Some(batch) } else { None },
            )
            .collect()
    }

    fn batch(&mut self) -> Batch {
        self.pass(Duration::from_millis(50));
        let mut batches = self.batches();
        assert_eq!(batches.len(), 1, "one batch is awaited");
        batches.remove(0)
    }

    fn returns(&mut self) -> Vec<(u64, bool)> {
        let sent = std::mem::take(&mut self.sent);
        let returned = sent.iter().filter_map(|message| {
            if let Message::Returns(returns) = message { Some(returns) } else { None }
        });
        let returned = returned.flatten().map(|back| (back.unit.0, back.failure)).collect();
        self.sent =
            sent.into_iter().filter(|message| !matches!(message, Message::Returns(_))).collect();
        returned
    }

    fn ack(&mut self, batch: &Batch, ack: Ack) {
        self.on(Event::Acks {
            sequence: batch.sequence,
            status: vec![ack; batch.reports.len()],
            credit: 9,
        });
    }

    /// The program was killed: what was kept is all that is left.
    fn crash(self) -> Self {
        let (records, agent) = (self.kept, Agent::restore(config(), [], &BTreeSet::new()));
        let mut world = Self::of(agent);
        world.agent = Agent::restore(config(), records.clone(), &self.snapshots);
        world.agent.check_invariants();
        world.snapshots = self.snapshots;
        world.outputs = self.outputs;
        world.traces = self.traces;
        world.kept = records;
        world.on(Event::Wake);
        world
    }
}

fn units(batch: &Batch) -> Vec<u64> {
    batch.reports.iter().map(|report| report.unit.0).collect()
}

#[test]
fn a_unit_goes_from_its_lease_to_its_acknowledgement() {
    let mut world = World::attached();
    assert!(matches!(
        world.sent[..],
        [Message::Heartbeat { .. }, Message::Want { units: 4, fuel_per_second: 0, .. }]
    ));
    world.lend(lease(5, 1, 10, 3));
    assert_eq!(world.running(), [unit(1, 10), unit(1, 11)]);
    world.end(unit(1, 11), done(1));
    assert_eq!(world.running(), [unit(1, 10), unit(1, 12)]);
    assert!(
        !world.snapshots.contains(&unit(1, 11)),
        "the snapshot has served once the report is kept"
    );
    let batch = world.batch();
    assert_eq!(
        (units(&batch), batch.reports[0].lease, batch.jobs[0].id),
        (vec![11], LeaseId(5), JobId(1))
    );
    world.ack(&batch, Ack::Accepted);
    assert_eq!(world.agent.held().collect::<Vec<_>>(), [unit(1, 10), unit(1, 12)]);
    assert_eq!(world.agent.status(world.now).credit, 9);
}

#[test]
fn a_report_survives_a_crash_and_is_sent_under_a_new_sequence() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 2));
    world.end(unit(1, 0), done(1));
    let before = world.batch();
    let mut world = world.crash();
    assert_eq!(world.agent.status(world.now).unreported, 1);
    world.fetch_all();
    assert_eq!(world.running(), [unit(1, 1)], "the other unit goes on");
    world.attach();
    let again = world.batch();
    assert_eq!(units(&again), [0]);
    assert!(before.sequence < again.sequence);
    assert_eq!(before.reports, again.reports);
    world.ack(&again, Ack::Duplicate);
    assert_eq!(world.crash().agent.held().collect::<Vec<_>>(), [unit(1, 1)]);
}

#[test]
fn a_cut_stream_is_tried_again_with_growing_waits_and_loses_no_report() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 2));
    world.end(unit(1, 0), done(1));
    let before = world.batch();
    let mut waits = vec![];
    for _ in 0..9 {
        world.detach();
        assert!(world.batches().is_empty());
        let since = world.now;
        // Other things may become due before.
        while !world.connecting {
            world.pass(world.agent.next_deadline().unwrap() - world.now);
        }
        waits.push(world.now - since);
    }
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
    assert!(
        Duration::from_millis(250) <= waits[0] && waits[8] <= Duration::from_secs(60),
        "{waits:?}"
    );
    world.attach();
    let again = world.batch();
    assert_eq!((units(&again), before.sequence < again.sequence), (vec![0], true));
}

#[test]
fn after_a_cut_longer_than_the_lease_only_started_units_are_kept() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 5));
    world.detach();
    world.pass(Duration::from_secs(30));
    world.end(unit(1, 0), done(1));
    assert_eq!(
        world.running(),
        [unit(1, 1), unit(1, 2)],
        "it computes on while the coordinator is away"
    );
    world.pass(Duration::from_secs(40));
    world.attach();
    assert_eq!(world.returns(), [(3, false), (4, false)]);
    assert_eq!(world.running(), [unit(1, 1), unit(1, 2)]);
    assert_eq!(units(&world.batch()), [0]);
}

#[test]
fn a_heartbeat_names_what_is_not_acknowledged_and_renews_it() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 1));
    world.lend(lease(6, 1, 1, 1));
    let run = *world.runs.keys().next().unwrap();
    world.on(Event::Progress { run, done: 3, total: 8 });
    world.end(unit(1, 1), done(1));
    world.sent.clear();
    world.pass(Duration::from_secs(6));
    let heartbeats: Vec<_> =
        world.sent.iter().filter(|message| matches!(message, Message::Heartbeat { .. })).collect();
    let progress = vec![Progress { lease: LeaseId(5), unit: UnitIndex(0), done: 3, total: 8 }];
    assert_eq!(
        heartbeats,
        [&Message::Heartbeat { leases: vec![LeaseId(5), LeaseId(6)], paused: false, progress }]
    );
    let batch = world.batch();
    world.ack(&batch, Ack::Accepted);
    world.sent.clear();
    world.pass(Duration::from_secs(6));
    let named = |message: &Message| match message {
        Message::Heartbeat { leases, .. } => Some(leases.clone()),
        _ => None,
    };
    let named: Vec<_> = world.sent.iter().filter_map(named).collect();
    assert_eq!(named, [[LeaseId(5)]]);
}

#[test]
fn a_cancelled_lease_ends_its_units_but_not_their_reports() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 4));
    world.end(unit(1, 0), done(1));
    world.on(Event::Cancel { leases: vec![LeaseId(5)], reason: "the job was cancelled".into() });
    assert_eq!(world.running(), []);
    assert_eq!(world.snapshots, BTreeSet::new());
    let batch = world.batch();
    world.ack(&batch, Ack::NoJob);
    assert_eq!(world.agent.held().count(), 0);
    assert_eq!(world.crash().agent.held().count(), 0);
}

#[test]
fn a_unit_that_is_lent_again_comes_under_the_new_lease() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 2));
    world.lend(lease(9, 1, 0, 1));
    assert_eq!(world.running(), [unit(1, 0), unit(1, 1)], "it goes on");
    world.end(unit(1, 0), done(1));
    assert_eq!(world.batch().reports[0].lease, LeaseId(9));
    assert_eq!(world.crash().batch_after_attach().reports[0].lease, LeaseId(9));
}

impl World {
    fn batch_after_attach(mut self) -> Batch {
        self.attach();
        self.batch()
    }
}

#[test]
fn a_pause_starts_nothing_and_ends_by_itself() {
    let mut world = World::attached();
    world.on(Event::Pause(Some(Duration::from_secs(60))));
    assert!(world.paused);
    assert!(
        matches!(world.sent.last(), Some(Message::Want { units: 0, .. })),
        "what was asked for is taken back"
    );
    world.lend(lease(5, 1, 0, 2));
    assert_eq!(world.running(), []);
    assert!(world.agent.why(world.now)[0].contains("paused"));
    world.sent.clear();
    world.pass(Duration::from_secs(59));
    assert!(
        world.sent.iter().all(|message| matches!(message, Message::Heartbeat { paused: true, .. })),
        "{:?}",
        world.sent
    );
    world.pass(Duration::from_secs(1));
    assert!(!world.paused);
    assert_eq!(world.running().len(), 2);
    world.on(Event::Pause(None));
    world.pass(Duration::from_secs(86_400));
    assert_eq!(world.agent.paused(world.now), Some(Pause::UntilResumed));
    world.on(Event::Resume);
    assert!(!world.paused);
}

#[test]
fn units_run_together_only_as_memory_allows() {
    let mut world = World::attached();
    world.on(Event::Job { id: JobId(2), spec: spec("big", 700).encode() });
    world.on(Event::Job { id: JobId(3), spec: spec("too big", 1100).encode() });
    world.lend(lease(5, 2, 0, 2));
    assert_eq!(world.running(), [unit(2, 0)]);
    assert!(world.agent.why(world.now)[0].contains("732 MiB"), "{:?}", world.agent.why(world.now));
    world.end(unit(2, 0), done(1));
    assert_eq!(world.running(), [unit(2, 1)]);
    world.lend(lease(6, 3, 0, 1));
    assert_eq!(world.returns(), [(0, false)], "the unit is not to blame");
}

#[test]
fn a_large_output_is_put_before_its_report() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 2));
    world.end(unit(1, 0), done_large(3));
    world.end(unit(1, 1), done_large(3));
    world.pass(Duration::from_secs(1));
    assert!(world.batches().is_empty());
    assert_eq!(std::mem::take(&mut world.putting), BTreeSet::from([Digest([3; 32])]));
    world.on(Event::Put { digest: Digest([3; 32]), result: Ok(()) });
    let batch = world.batch();
    assert_eq!(units(&batch), [0, 1]);
    world.on(Event::Acks {
        sequence: batch.sequence,
        status: vec![Ack::Accepted, Ack::OutputMissing],
        credit: 1,
    });
    assert_eq!(world.outputs, BTreeSet::from([unit(1, 1)]));
    world.pass(Duration::from_secs(6));
    assert_eq!(
        std::mem::take(&mut world.putting),
        BTreeSet::from([Digest([3; 32])]),
        "it is put again"
    );
    world.on(Event::Put { digest: Digest([3; 32]), result: Ok(()) });
    let batch = world.batch();
    world.ack(&batch, Ack::Accepted);
    assert_eq!((world.outputs.len(), world.agent.held().count()), (0, 0));
}

#[test]
fn an_output_that_is_lost_gives_its_unit_to_others() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 1));
    world.end(unit(1, 0), done_large(3));
    world.putting.clear();
    world.on(Event::OutputLost { digest: Digest([3; 32]), reason: "gone".into() });
    assert_eq!(world.returns(), [(0, false)]);
    assert_eq!(world.agent.held().count(), 0);
}

#[test]
fn a_busy_coordinator_is_offered_the_report_again() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 1));
    let outcome = Outcome::Failed(Failure::Division);
    world.end(unit(1, 0), End::Result { outcome, fuel: 1, trace_root: None });
    let batch = world.batch();
    world.ack(&batch, Ack::Busy);
    world.pass(Duration::from_secs(4));
    assert!(world.batches().is_empty());
    world.pass(Duration::from_secs(2));
    let again = world.batch();
    assert!(batch.sequence < again.sequence);
    assert_eq!(batch.reports, again.reports);
}

#[test]
fn a_coordinator_that_does_not_answer_is_dropped() {
    let mut world = World::attached();
    world.on(Event::Idle { reason: "nothing".into(), retry_after: Duration::from_secs(3600) });
    world.lend(lease(5, 1, 0, 4));
    world.end(unit(1, 0), done(1));
    world.pass(Duration::from_secs(85));
    assert!(!world.dropped);
    world.pass(Duration::from_secs(10));
    assert!(world.dropped);
    assert!(!world.agent.status(world.now).connected);
}

#[test]
fn nothing_to_do_is_asked_again_when_told_and_not_before() {
    let mut world = World::attached();
    world.sent.clear();
    world.on(Event::Idle {
        reason: "no job is running".into(),
        retry_after: Duration::from_secs(7),
    });
    assert!(world.agent.why(world.now)[0].contains("no job is running"));
    world.pass(Duration::from_millis(6_900));
    assert!(!world.sent.iter().any(|message| matches!(message, Message::Want { .. })));
    world.pass(Duration::from_millis(300));
    assert!(world.sent.iter().any(|message| matches!(message, Message::Want { .. })));
}

#[test]
fn what_is_wanted_follows_the_measured_speed() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 4));
    for i in 0..3 {
        world.end(unit(1, i), done(1));
    }
    world.sent.clear();
    world.pass(Duration::from_secs(1));
    let wants = world.sent.iter().filter_map(|message| match message {
        Message::Want { units, seconds, fuel_per_second, kernels, .. } => {
            Some((*units, *seconds, *fuel_per_second, kernels.len()))
        }
        _ => None,
    });
    // Two slots for ten seconds, a unit takes one, one is held.
    assert_eq!(wants.collect::<Vec<_>>(), [(19, 19, 100, 1)]);
}

#[test]
fn a_wish_that_is_answered_in_part_is_said_anew_before_the_slots_run_dry() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 4));
    for i in 0..4 {
        world.end(unit(1, i), done(1));
    }
    world.pass(Duration::from_secs(1));
    world.sent.clear();
    world.lend(lease(6, 1, 4, 5));
    world.pass(Duration::from_secs(3));
    let wants =
        world.sent.iter().filter(|message| matches!(message, Message::Want { units: 15, .. }));
    assert_eq!(wants.count(), 1, "{:?}", world.sent);
}

#[test]
fn a_unit_that_this_machine_cannot_run_goes_to_others() {
    let mut world = World::attached();
    let trouble = |remedy| End::Trouble { reason: "killed".into(), remedy };
    world.lend(lease(5, 1, 0, 6));
    world.end(unit(1, 0), trouble(Remedy::Elsewhere));
    assert_eq!(world.returns(), [(0, true)]);
    for _ in 0..2 {
        world.end(unit(1, 1), trouble(Remedy::Again));
        assert!(world.running().contains(&unit(1, 1)), "it is tried again");
    }
    world.end(unit(1, 1), trouble(Remedy::Again));
    assert_eq!(world.returns(), [(1, true)]);
    world.end(unit(1, 2), trouble(Remedy::ElsewhereWholeJob));
    assert_eq!(world.returns(), [(2, true), (3, true), (4, true), (5, true)]);
    assert_eq!(world.agent.held().count(), 0);
}

#[test]
fn on_a_full_disk_units_wait_for_room_and_none_fails() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 6));
    let full = || End::NoRoom { reason: "no room on the disk".into() };
    for _ in 0..5 {
        for id in world.running() {
            world.end(id, full());
        }
        assert!(world.running().is_empty());
        assert!(world.agent.why(world.now)[0].contains("no room"));
        world.pass(Duration::from_secs(30));
        assert!(!world.running().is_empty(), "tried again when there may be room");
    }
    assert!(world.returns().is_empty());
    assert_eq!(world.agent.held().count(), 6);
    for id in world.running() {
        world.end(id, done(1));
    }
    assert!(!world.running().is_empty(), "room again");
}

#[test]
fn a_blob_that_cannot_be_had_gives_back_its_units_and_no_others() {
    let mut world = World::attached();
    let mut other = spec("other", 64);
    other.kernel = Digest([2; 32]);
    world.on(Event::Job { id: JobId(2), spec: other.encode() });
    world.on(Event::Leases(vec![lease(5, 1, 0, 2), lease(6, 2, 0, 1)]));
    let no_room = FetchTrouble::NoRoom("disk full".into());
    world.fetching.clear();
    world.on(Event::Fetched { digest: Digest([1; 32]), result: Err(no_room) });
    assert!(world.agent.why(world.now)[0].contains("disk full"));
    world.on(Event::Fetched { digest: Digest([2; 32]), result: Ok(()) });
    assert_eq!(world.running(), [unit(2, 0)]);
    world.pass(Duration::from_secs(30));
    assert_eq!(
        std::mem::take(&mut world.fetching),
        BTreeSet::from([Digest([1; 32])]),
        "tried again when there may be room"
    );
    world.on(Event::Fetched {
        digest: Digest([1; 32]),
        result: Err(FetchTrouble::Never("wrong bytes".into())),
    });
    assert_eq!(world.returns(), [(0, true), (1, true)]);
    assert_eq!(world.running(), [unit(2, 0)]);
}

#[test]
fn units_that_keep_each_other_from_starting_for_want_of_room_go_one_by_one() {
    let mut world = World::attached();
    for (job, blob) in [(1, 1), (2, 2)] {
        let mut spec = spec("two blobs", 64);
        let (name, len) = ("x".to_owned(), 9);
        spec.kernel = Digest([blob; 32]);
        spec.inputs = vec![proto::job::Input { name, digest: Digest([blob + 10; 32]), len }];
        world.on(Event::Job { id: JobId(job + 10), spec: spec.encode() });
    }
    world.on(Event::Leases(vec![lease(5, 11, 0, 1), lease(6, 12, 0, 1)]));
    assert_eq!(world.fetching.len(), 4);
    let no_room = || Err(FetchTrouble::NoRoom("full".into()));
    world.fetching.clear();
    for (blob, result) in [(1, Ok(())), (2, Ok(())), (11, no_room()), (12, no_room())] {
        world.on(Event::Fetched { digest: Digest([blob; 32]), result });
    }
    assert_eq!(world.released, BTreeSet::from([Digest([2; 32])]), "the younger unit lets go");
    world.pass(Duration::from_secs(30));
    assert_eq!(
        std::mem::take(&mut world.fetching),
        BTreeSet::from([Digest([11; 32])]),
        "and leaves it the room"
    );
    world.on(Event::Fetched { digest: Digest([11; 32]), result: Ok(()) });
    assert_eq!(world.running(), [unit(11, 0)]);
}

#[test]
fn a_lease_that_makes_no_sense_is_given_back() {
    let mut world = World::attached();
    for bad in [lease(5, 1, 9_999, 2), lease(6, 1, u64::MAX, 2), lease(7, 9, 0, 1)] {
        world.lend(bad);
    }
    let mut extras = lease(8, 1, 0, 2);
    extras.extras = vec![Extra::default()];
    world.lend(extras);
    assert_eq!(world.returns().len(), 7);
    assert_eq!(world.agent.held().count(), 0);
}

#[test]
fn leaving_gives_back_what_is_not_finished_and_waits_for_the_rest() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 4));
    world.end(unit(1, 0), done(1));
    world.on(Event::Leave);
    assert_eq!(world.returns(), [(1, false), (2, false), (3, false)]);
    assert!(!world.exited);
    let batch = world.batch();
    world.ack(&batch, Ack::Accepted);
    assert!(world.exited);
    assert_eq!(world.sent.last(), Some(&Message::Goodbye { leaving: true }));
}

#[test]
fn a_stop_keeps_everything_for_the_next_start() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 4));
    world.end(unit(1, 0), done(1));
    world.on(Event::Stop);
    let runs: Vec<_> = world.runs.keys().copied().collect();
    for run in runs {
        world.end_run(run, End::Interrupted);
    }
    assert_eq!(world.running(), [], "nothing is started any more");
    world.on(Event::Stopped);
    assert!(world.exited);
    assert_eq!(world.sent.last(), Some(&Message::Goodbye { leaving: false }));
    let mut world = world.crash();
    world.fetch_all();
    assert_eq!(world.running(), [unit(1, 1), unit(1, 2)], "those with snapshots first");
    assert_eq!(world.agent.held().count(), 4);
}

#[test]
fn a_refusal_for_good_is_not_tried_again() {
    let mut world = World::attached();
    world.on(Event::Refused("banned".into()));
    world.pass(Duration::from_secs(3600));
    assert!(!world.connecting);
    assert_eq!(world.agent.refusal(), Some("banned"));
    assert!(world.agent.why(world.now)[0].contains("banned"));
}

#[test]
fn compacted_records_make_an_equal_agent() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 20));
    world.lend(lease(6, 1, 30, 3));
    for i in [0, 1, 3] {
        if world.running().contains(&unit(1, i)) {
            world.end(unit(1, i), done(1));
        }
    }
    let batch = world.batch();
    world.ack(&batch, Ack::Accepted);
    let running = world.running();
    world.end(running[0], done_large(9));
    let from_all = Agent::restore(config(), world.kept.clone(), &BTreeSet::new());
    let from_few = Agent::restore(config(), world.agent.records(), &BTreeSet::new());
    from_few.check_invariants();
    assert!(world.agent.records().len() < world.kept.len() + 5);
    assert_eq!(from_all.records(), from_few.records());
}
