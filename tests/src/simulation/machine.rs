//! A simulated machine: a worker's real agent with its journal, and a body that does what the agent wants in simulated
//! time, honestly or not.

use crate::simulation::kind::Answer;
use crate::simulation::traces::{self, FUEL, Ran, Roots, States, output};
use crate::simulation::{Kind, Random};
use proto::id::UnitId;
use proto::report::Outcome;
use proto::{AccountKey, ProjectKey, WorkerKey};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;
use worker_core::agent::{
    Action, Agent, Config, Effects, End, Event, Message, Record, Remedy, RunScope, StateFile,
};

/// Memory that an owner lends, bytes.
pub(super) const MEMORY_BYTES: u64 = 4 << 30;
/// Records after which a journal is written anew.
const JOURNAL_MAX: usize = 256;
/// The least and the longest time by which an agent is woken late when it was woken in vain: timers that come to nothing
/// are most of what happens to a worker in an hour.
const LATE_MIN: Duration = Duration::from_secs(1);
const LATE_MAX: Duration = Duration::from_secs(3_600);

/// What the machines have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) roots: Roots,
    pub(super) states: States,
    /// What was first said of each unit; kept when somebody copies.
    pub(super) heard: Option<HashMap<u64, Answer>>,
    /// Units that were told right by machines that are not honest: what lies cost whoever tells them.
    pub(super) price: u64,
}

/// What the agent wants of the world.
#[derive(Debug)]
pub(super) enum Wish {
    /// A stream to the coordinator.
    Connect,
    /// No stream any more, for this reason.
    Disconnect(String),
    /// That this is said on it.
    Say(Message),
    /// That [`Machine::ran`] is called when the run has taken its time.
    Run { run: u64, whole: bool },
}

/// A simulated worker.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) kind: Kind,
    pub(super) key: WorkerKey,
    pub(super) account: AccountKey,
    number: u64,
    slots: u32,
    /// Computing to hold ahead for each slot.
    buffer: Duration,
    /// `None` while it is off.
    agent: Option<Agent>,
    /// When the agent was made: its clock counts from then.
    since: Duration,
    journal: Vec<Record>,
    running: BTreeMap<u64, (UnitId, RunScope)>,
    /// Units computed under the present name.
    pub(super) computed: u64,
    /// Of the units that it has computed, those about which it lies.
    lies: HashMap<u64, u64>,
    /// Units whose traces are on its disk, where disks are lost.
    traces: Option<HashSet<u64>>,
    late: Duration,
}

impl Machine {
    /// A machine that is off.
    pub(super) fn new(kind: Kind, number: u64, slots: u32, buffer: Duration) -> Self {
        Self {
            kind,
            key: WorkerKey([0; 32]),
            account: AccountKey([0; 32]),
            number,
            slots,
            buffer,
            agent: None,
            since: Duration::ZERO,
            journal: Vec::new(),
            running: BTreeMap::new(),
            computed: 0,
            lies: HashMap::new(),
            traces: (kind == Kind::Vanishing).then(HashSet::new),
            late: Duration::ZERO,
        }
    }

    /// It gets a name that nobody knows, and an empty disk.
    pub(super) fn name(&mut self, key: WorkerKey, account: AccountKey) {
        (self.key, self.account, self.computed) = (key, account, 0);
        self.lies.clear();
        self.wipe();
    }

    /// Its disk is lost.
    pub(super) fn wipe(&mut self) {
        self.journal.clear();
        self.running.clear();
        self.traces.iter_mut().for_each(HashSet::clear);
    }

    pub(super) fn is_on(&self) -> bool {
        self.agent.is_some()
    }

    /// The program starts on what its disk holds.
    pub(super) fn switch_on(&mut self, now: Duration, project: ProjectKey) {
        let config = Config {
            project,
            worker: self.key,
            slots: self.slots,
            memory_bytes: MEMORY_BYTES,
            buffer: self.buffer,
        };
        // What ran has left snapshots.
        let snapshots = std::mem::take(&mut self.running).into_values().map(|(id, _)| id).collect();
        let agent = Agent::restore(config, std::mem::take(&mut self.journal), &snapshots);
        (self.journal, self.since, self.late) = (agent.records(), now, Duration::ZERO);
        self.agent = Some(agent);
    }

    /// The program ends as by a loss of power; the disk stays.
    pub(super) fn switch_off(&mut self) {
        self.agent = None;
    }

    /// When the agent wants to be woken.
    pub(super) fn wake_at(&self, now: Duration) -> Option<Duration> {
        let deadline = self.agent.as_ref()?.next_deadline()? + self.since;
        Some(deadline.max(now + self.late))
    }

    /// Something happens to the agent: what it wants of the world. `dies` says, when records were kept, whether the
    /// program ends there.
    ///
    /// # Errors
    /// An invariant that does not hold.
    pub(super) fn happen(
        &mut self,
        now: Duration,
        event: Event,
        check: bool,
        mut dies: impl FnMut() -> bool,
    ) -> Result<Vec<Wish>, String> {
        let mut in_vain = matches!(event, Event::Wake);
        let (mut events, mut wishes) = (VecDeque::from([event]), Vec::new());
        while let Some(event) = events.pop_front() {
            let Some(agent) = &mut self.agent else { break };
            let Effects { records, actions } = agent.apply(now.saturating_sub(self.since), event);
            if check {
                let checked = std::panic::AssertUnwindSafe(|| agent.check_invariants());
                std::panic::catch_unwind(checked)
                    .map_err(|_| format!("worker {}: an invariant does not hold", self.number))?;
            }
            let recorded = !records.is_empty();
            self.journal.extend(records);
            if JOURNAL_MAX < self.journal.len() {
                self.journal = agent.records();
            }
            if recorded && dies() {
                self.agent = None;
                return Ok(wishes);
            }
            in_vain &= actions.is_empty();
            for action in actions {
                self.act(action, &mut events, &mut wishes);
            }
        }
        self.late =
            if in_vain { (self.late * 2).clamp(LATE_MIN, LATE_MAX) } else { Duration::ZERO };
        Ok(wishes)
    }

    /// Does what the agent wants, or leaves it to the world.
    fn act(&mut self, action: Action, events: &mut VecDeque<Event>, wishes: &mut Vec<Wish>) {
        match action {
            Action::Connect => wishes.push(Wish::Connect),
            Action::Disconnect(reason) => wishes.push(Wish::Disconnect(reason)),
            Action::Send(message) => wishes.push(Wish::Say(message)),
            Action::Fetch { digest, .. } => {
                events.push_back(Event::Fetched { digest, result: Ok(()) });
            }
            Action::Put { digest, .. } => events.push_back(Event::Put { digest, result: Ok(()) }),
            Action::ReadTrace { show, unit, .. } => {
                let unit = unit.unit.0;
                let lost = self.traces.as_ref().is_some_and(|kept| !kept.contains(&unit));
                let result = match lost {
                    true => Err("it is not on disk any more".into()),
                    false => Ok(traces::trace(unit, self.said(unit))),
                };
                events.push_back(Event::TraceRead { show, result });
            }
            Action::Run { run, id, course, .. } => {
                self.running.insert(run, (id, course));
                let whole = matches!(course, RunScope::Whole { .. });
                wishes.push(Wish::Run { run, whole });
            }
            Action::Cancel { run } => drop(self.running.remove(&run)),
            Action::ForgetTrace(unit) => {
                if let Some(kept) = &mut self.traces {
                    kept.remove(&unit.unit.0);
                }
                self.lies.remove(&unit.unit.0);
            }
            Action::Try => events.push_back(Event::Tried(Ok(()))),
            // No peers here, nothing that takes room, nobody at the screen.
            Action::HandOver(_)
            | Action::Settled(_)
            | Action::Release(_)
            | Action::ForgetOutput(_)
            | Action::ForgetSnapshot(_)
            | Action::ForgetErrand { .. }
            | Action::Pause
            | Action::Resume
            | Action::Say(_)
            | Action::Exit => {}
        }
    }

    /// What it said, or will say, of a unit that it has computed.
    fn said(&self, unit: u64) -> Answer {
        self.lies.get(&unit).map_or(Answer::Right, |lie| Answer::Lie(*lie))
    }

    /// A run has taken its `cpu` time: what came of it, as this machine tells it. None when it was cancelled.
    pub(super) fn ran(
        &mut self,
        run: u64,
        cpu: Duration,
        shared: &mut Shared,
        random: &mut Random,
    ) -> Option<Event> {
        let (id, course) = self.running.remove(&run)?;
        let unit = id.unit.0;
        let end = match course {
            RunScope::Whole { .. } if self.kind == Kind::Refusing => {
                End::Trouble { reason: "it cannot be".into(), remedy: Remedy::Elsewhere }
            }
            RunScope::Whole { .. } => {
                let heard = shared.heard.as_ref().and_then(|heard| heard.get(&unit).copied());
                let answer = self.kind.answer(self.number, unit, self.computed, random, heard);
                self.computed += 1;
                shared.price += u64::from(!self.kind.is_honest() && answer == Answer::Right);
                match answer {
                    Answer::Lie(lie) => drop(self.lies.insert(unit, lie)),
                    Answer::Right => drop(self.lies.remove(&unit)),
                }
                if let Some(kept) = &mut self.traces {
                    kept.insert(unit);
                }
                if let Some(heard) = &mut shared.heard {
                    heard.entry(unit).or_insert(answer);
                }
                End::Result {
                    outcome: Outcome::Done(output(unit, answer)),
                    fuel: FUEL,
                    trace_root: shared.roots.of(unit, answer),
                }
            }
            RunScope::ToState { fuel, .. } => {
                let point = shared.states.show(unit, self.said(unit), fuel)?;
                let state = Some(StateFile { digest: point.state, len: 1 });
                End::Reached { point, state }
            }
            RunScope::Segment { spacing, from } => {
                let answer = self.kind.answer(self.number, unit, self.computed, random, None);
                let from = from.map(|(point, _)| point);
                match shared.states.run(unit, spacing, from, answer) {
                    Ran::To(point) => End::Reached { point, state: None },
                    Ran::Out(answer) => End::Result {
                        outcome: Outcome::Done(output(unit, answer)),
                        fuel: FUEL,
                        trace_root: None,
                    },
                }
            }
        };
        Some(Event::Finished { run, end, cpu })
    }
}
