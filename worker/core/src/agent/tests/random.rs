//! Random histories: whatever happens in whatever order, no unit is lost and no invariant broken.

use super::errands::{STATE, point, reached, segment, show, trace};
use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Lend { first: u64, count: u32 },
    Fetch { fails: u8 },
    Finish { which: usize, how: u8 },
    Answer { with: u8 },
    Put { succeeds: bool },
    Cut,
    Attach,
    Cancel { which: usize },
    Pause,
    Resume,
    Idle,
    Show { number: u64, unit: u64, with_state: bool },
    Segment { number: u64, unit: u64, from: u64 },
    Read { succeeds: bool },
    EndErrand { how: u8 },
    LoseState,
    Crash,
    Pass { seconds: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0_u64..60, 1_u32..8).prop_map(|(first, count)| Op::Lend { first, count }),
        3 => (0_u8..6).prop_map(|fails| Op::Fetch { fails }),
        8 => (any::<usize>(), 0_u8..10).prop_map(|(which, how)| Op::Finish { which, how }),
        4 => (0_u8..9).prop_map(|with| Op::Answer { with }),
        2 => any::<bool>().prop_map(|succeeds| Op::Put { succeeds }),
        1 => Just(Op::Cut),
        2 => Just(Op::Attach),
        1 => any::<usize>().prop_map(|which| Op::Cancel { which }),
        1 => Just(Op::Pause),
        1 => Just(Op::Resume),
        1 => Just(Op::Idle),
        2 => (0_u64..6, 0_u64..60, any::<bool>())
            .prop_map(|(number, unit, with_state)| Op::Show { number, unit, with_state }),
        2 => (0_u64..6, 0_u64..60, 0_u64..4)
            .prop_map(|(number, unit, from)| Op::Segment { number, unit, from }),
        3 => (0_u8..8).prop_map(|chance| Op::Read { succeeds: 0 < chance }),
        4 => (0_u8..8).prop_map(|how| Op::EndErrand { how }),
        1 => Just(Op::LoseState),
        1 => Just(Op::Crash),
        4 => (0_u64..90).prop_map(|seconds| Op::Pass { seconds }),
    ]
}

/// What the coordinator believes.
#[derive(Default)]
struct Ledger {
    n_leases: u64,
    lent: BTreeSet<UnitId>,
    over: BTreeSet<UnitId>,
    sequence: u64,
    reported: BTreeSet<UnitId>,
    unanswered: Vec<Batch>,
}

impl Ledger {
    /// Reads what was sent since the last time.
    fn read(&mut self, world: &mut World) {
        for message in std::mem::take(&mut world.sent) {
            match message {
                Message::Reports(batch) => {
                    assert!(self.sequence < batch.sequence, "sequences grow, over crashes too");
                    self.sequence = batch.sequence;
                    let units = batch.reports.iter().map(|report| unit(1, report.unit.0));
                    self.reported.extend(units);
                    self.unanswered.push(batch);
                }
                Message::Returns(returns) => {
                    self.over.extend(
                        returns.iter().map(|back| UnitId { job: JobId(1), unit: back.unit }),
                    );
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, world: &mut World, with: u8) {
        if self.unanswered.is_empty() {
            return;
        }
        let batch = self.unanswered.remove(0);
        let ack = Ack::try_from(with.clamp(1, 8)).unwrap();
        if !matches!(ack, Ack::OutputMissing | Ack::Busy) {
            self.over.extend(
                batch.reports.iter().map(|report| UnitId { job: JobId(1), unit: report.unit }),
            );
        }
        world.ack(&batch, ack);
    }
}

fn run(ops: Vec<Op>) {
    let (mut world, mut ledger) = (World::attached(), Ledger::default());
    for op in ops {
        let attached = world.agent.status(world.now).connected;
        match op {
            Op::Lend { first, count } if attached => {
                ledger.n_leases += 1;
                let lease = lease(ledger.n_leases, 1, first, count);
                let units: Vec<_> = (first..first + u64::from(count)).map(|i| unit(1, i)).collect();
                ledger.over.retain(|id| !units.contains(id));
                ledger.lent.extend(units);
                world.on(Event::Job { id: JobId(1), spec: spec("one", 64).encode() });
                world.on(Event::Leases(vec![lease]));
            }
            Op::Fetch { fails } => {
                for digest in std::mem::take(&mut world.fetching) {
                    let result = match fails {
                        0 => Err(FetchTrouble::Later("cut".into())),
                        1 => Err(FetchTrouble::NoRoom("full".into())),
                        _ => Ok(()),
                    };
                    world.on(Event::Fetched { digest, result });
                }
            }
            Op::Finish { which, how } if !world.runs.is_empty() => {
                let run = *world.runs.keys().nth(which % world.runs.len()).unwrap();
                let trouble = |remedy| End::Trouble { reason: "trouble".into(), remedy };
                world.end_run(
                    run,
                    match how {
                        0 => End::Interrupted,
                        1 => trouble(Remedy::Again),
                        2 => trouble(Remedy::Elsewhere),
                        3 => End::NoRoom { reason: "full".into() },
                        4 => trouble(Remedy::Mend),
                        5..7 => done_large(how),
                        _ => done(how),
                    },
                );
            }
            Op::Answer { with } if attached => ledger.answer(&mut world, with),
            Op::Put { succeeds } => {
                for digest in std::mem::take(&mut world.putting) {
                    let result = if succeeds { Ok(()) } else { Err("no".into()) };
                    world.on(Event::Put { digest, result });
                }
            }
            Op::Show { number, unit: index, with_state } if attached => {
                world.on(show(number, unit(1, index), with_state.then_some(u64::MAX)));
            }
            Op::Segment { number, unit: index, from } if attached => {
                let from = (0 < from).then(|| Start { point: point(from), blob: STATE, len: 9 });
                world.on(segment(number, unit(1, index), proto::trace::SPACING, from));
            }
            Op::Read { succeeds } => read(&mut world, succeeds),
            Op::EndErrand { how } if !world.errand_runs.is_empty() => {
                let trouble = |remedy| End::Trouble { reason: "trouble".into(), remedy };
                world.end_errand(match how {
                    0 => End::Interrupted,
                    1 => trouble(Remedy::Again),
                    2 => trouble(Remedy::ElsewhereWholeJob),
                    3 => trouble(Remedy::Mend),
                    4 => done(1),
                    5 => End::Reached { point: point(3), state: None },
                    _ => reached(4),
                });
            }
            Op::LoseState if world.putting.remove(&STATE) => {
                world.on(Event::OutputLost { digest: STATE, reason: "damaged".into() });
            }
            Op::Cut if attached => {
                ledger.unanswered.clear();
                world.detach();
            }
            Op::Attach if world.connecting => world.attach(),
            Op::Cancel { which } if attached && 0 < ledger.n_leases => {
                let lease = LeaseId(1 + which as u64 % ledger.n_leases);
                let before: BTreeSet<_> = world.agent.held().collect();
                world.on(Event::Cancel { leases: vec![lease], reason: "over".into() });
                let after: BTreeSet<_> = world.agent.held().collect();
                ledger.over.extend(before.difference(&after));
            }
            Op::Pause => world.on(Event::Pause(Some(Duration::from_secs(30)))),
            Op::Resume => world.on(Event::Resume),
            Op::Idle if attached => {
                world.on(Event::Idle { reason: "none".into(), retry_after: Duration::from_secs(3) })
            }
            Op::Crash => {
                ledger.read(&mut world);
                ledger.unanswered.clear();
                // What was given back and not yet said is held again or said again: either is fine.
                world = world.crash();
            }
            Op::Pass { seconds } => world.pass(Duration::from_secs(seconds)),
            _ => {}
        }
        if std::mem::take(&mut world.dropped) {
            ledger.unanswered.clear();
            world.detach();
        }
        ledger.read(&mut world);
        let lost = world.agent.held().find(|id| !ledger.lent.contains(id));
        assert_eq!(lost, None, "only what was lent is held");
    }
    calm(&mut world, &mut ledger);
}

fn read(world: &mut World, succeeds: bool) {
    for show in std::mem::take(&mut world.reading).into_keys() {
        let result = if succeeds { Ok(trace()) } else { Err("gone".into()) };
        world.on(Event::TraceRead { show, result });
    }
}

/// From here on all goes well: in the end every unit that was lent is over, and nothing is left on the disk.
fn calm(world: &mut World, ledger: &mut Ledger) {
    world.on(Event::Resume);
    for _ in 0..2_000 {
        if world.connecting {
            world.attach();
        }
        world.fetch_all();
        read(world, true);
        while !world.errand_runs.is_empty() {
            world.end_errand(reached(4));
        }
        for digest in std::mem::take(&mut world.putting) {
            world.on(Event::Put { digest, result: Ok(()) });
        }
        for run in world.runs.keys().copied().collect::<Vec<_>>() {
            world.end_run(run, done(1));
        }
        ledger.read(world);
        while !ledger.unanswered.is_empty() {
            ledger.answer(world, Ack::Accepted as u8);
        }
        if std::mem::take(&mut world.dropped) {
            world.detach();
        }
        world.pass(Duration::from_secs(1));
        ledger.read(world);
        let n_errands = world.agent.status(world.now).errands;
        if world.agent.held().count() + ledger.unanswered.len() == 0 && n_errands == 0 {
            break;
        }
    }
    assert_eq!(world.agent.held().collect::<Vec<_>>(), [], "all that was held ends");
    assert_eq!(world.agent.status(world.now).errands, 0, "every errand ends");
    assert_eq!((world.snapshots.len(), world.outputs.len()), (0, 0), "nothing is left on the disk");
    assert_eq!(world.errand_files, BTreeSet::new(), "nothing of errands is left on the disk");
    assert!(world.traces.is_subset(&ledger.reported), "only what was reported leaves a trace");
    let records = world.agent.records();
    assert!(records.len() <= 2, "nothing is left in the journal: {records:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_unit_is_lost_whatever_happens(ops in proptest::collection::vec(op(), 1..120)) {
        run(ops);
    }
}
