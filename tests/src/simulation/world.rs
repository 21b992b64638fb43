//! A coordinator and its workers on a clock that jumps from event to event.

use crate::simulation::line::Word;
use crate::simulation::machine::{MEMORY_BYTES, Machine, Shared, Wish};
use crate::simulation::traces::{FUEL, SPACING};
use crate::simulation::{Ended, Kind, Random, Setup, line};
use coordinator::core::Core;
use coordinator::core::event::{
    Effects, Event, Hello, Reply, Session, Submission, ToWorker, Welcome,
};
use coordinator::core::saved;
use coordinator::core::time::Now;
use coordinator::store::Store;
use coordinator::store::memory::MemoryStore;
use proto::cut::Axis;
use proto::job::{JobSpec, Limits, Merge, Nan};
use proto::{AccountKey, Digest, JobId, ProjectKey, UnitIndex, WorkerKey};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use worker_core::agent;

const PROJECT: ProjectKey = ProjectKey([9; 32]);
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;
const LEASE_S: u64 = 12 * 3_600;
/// Heartbeats come as seldom as a coordinator may ask for; where units take hours, so many in each, or they would be
/// nearly all that happens.
const HEARTBEAT_MIN_S: u64 = 600;
const HEARTBEATS_EACH: u64 = 6;
const BATCH_REPORTS_MAX: usize = 4_096;
/// What a message takes on the line, at least and in addition by worker, milliseconds.
const LINE_MS: u64 = 20;
const LINES: u64 = 200;
/// A coordinator that wakes so often in a day, and so often for each of its workers, spins.
const TICKS_MAX: u64 = 20_000;
const TICKS_EACH_MAX: u64 = 200;
/// Crashes of one run: after each, leases get their full time again, so that a coordinator that dies every few minutes
/// for ever would never see one run out.
const CRASHES_MAX: u64 = 12;
/// What a state or a segment takes a worker.
const ERRAND_MS: u64 = MINUTE_MS;
/// Networks that a person with many identities has, and the number of the first: a botnet of some size, or a few clouds.
const SYBIL_NETWORKS: u64 = 100;
const SYBIL_NETWORKS_FIRST: u64 = 1 << 32;
/// How many times slower a slow worker is.
const SLOW: u64 = 40;

/// One stream of one worker to one life of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stream {
    life: u64,
    session: Session,
}

/// What the coordinator says, to whom.
type Messages = Vec<(Session, ToWorker)>;

/// What will happen.
#[derive(Debug)]
enum Due {
    /// A machine is switched on.
    On,
    /// Its agent's time has come.
    Wake,
    /// A run has taken its time, if the machine was on all the while.
    Ran { life: u64, run: u64, cpu: Duration },
    /// It asks for a stream.
    Connect { life: u64 },
    /// What it said reaches the coordinator.
    Said { stream: Stream, word: Box<Word> },
    /// What the coordinator said reaches it.
    Heard { stream: Stream, event: Box<agent::Event> },
}

/// What the world knows of a machine.
#[derive(Debug)]
struct Place {
    machine: Machine,
    network: u64,
    stream: Option<Stream>,
    /// Times that it was switched on.
    life: u64,
    wake_at_ms: Option<u64>,
    line_ms: u64,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    pub(super) setup: Setup,
    pub(super) core: Core,
    pub(super) store: MemoryStore,
    pub(super) now: Now,
    random: Random,
    places: Vec<Place>,
    by_stream: HashMap<u64, usize>,
    /// By time, then in the order in which it was decided.
    due: BTreeMap<(u64, u64), (usize, Due)>,
    decided: u64,
    pub(super) job: JobId,
    pub(super) crashes: u64,
    pub(super) restarts: u64,
    identities: u64,
    pub(super) shared: Shared,
}

/// Runs the job to its end.
///
/// # Errors
/// What went wrong, for people; the seed reproduces it.
pub fn run(setup: &Setup) -> Result<Ended, String> {
    run_and_tell(setup, |_, _| {})
}

/// The same; `tell` hears of each day that begins, and how many units are settled by then.
///
/// # Errors
/// See [`run`].
pub fn run_and_tell(setup: &Setup, tell: impl FnMut(u64, u64)) -> Result<Ended, String> {
    World::new(setup.clone())
        .and_then(|world| world.finish(tell))
        .map_err(|error| format!("seed {}: {error}; {setup:?}", setup.seed))
}

impl World {
    fn new(setup: Setup) -> Result<Self, String> {
        let mut random = Random::new(setup.seed);
        let now = Now { monotonic_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let copies = setup.others.iter().any(|(kind, _)| *kind == Kind::Copying);
        let mut world = Self {
            core: Core::new(PROJECT, random.bytes()),
            store: MemoryStore::default(),
            now,
            random,
            places: Vec::new(),
            by_stream: HashMap::new(),
            due: BTreeMap::new(),
            decided: 0,
            job: JobId(0),
            crashes: 0,
            restarts: 0,
            identities: 0,
            shared: Shared { heard: copies.then(HashMap::new), ..Shared::default() },
            setup,
        };
        let kinds: Vec<(Kind, u32)> =
            [vec![(Kind::Honest, world.setup.honest)], world.setup.others.clone()].concat();
        if world.setup.referee {
            world.add(Kind::Referee);
        }
        for kind in kinds.into_iter().flat_map(|(kind, count)| vec![kind; count as usize]) {
            world.add(kind);
        }
        world.embed();
        world.submit()?;
        Ok(world)
    }

    /// The referee comes with the coordinator.
    fn embed(&mut self) {
        let referee = self.places.iter().find(|place| place.machine.kind == Kind::Referee);
        if let Some(place) = referee {
            self.core.set_embedded(place.machine.key);
        }
    }

    fn add(&mut self, kind: Kind) {
        let index = self.places.len();
        let slots = self.setup.ask;
        // A round runs while the next one waits.
        let buffer = 2 * Duration::from_millis(self.round_ms());
        let mut machine = Machine::new(kind, index as u64, slots, buffer);
        let (key, account) = self.identity();
        machine.name(key, account);
        let line_ms = LINE_MS + self.random.below(LINES);
        let network = match kind {
            kind if kind.is_made() => SYBIL_NETWORKS_FIRST + index as u64 % SYBIL_NETWORKS,
            _ => 1_000 + index as u64,
        };
        self.places.push(Place {
            machine,
            network,
            stream: None,
            life: 0,
            wake_at_ms: None,
            line_ms,
        });
        // The first moments are spread over half a day, in random order: who comes first is not decided by kind.
        let first_ms = self.random.below(DAY_MS / 2);
        self.decide(first_ms, index, Due::On);
    }

    /// What the units in all slots of an ordinary machine take, which compute at the same time.
    fn round_ms(&self) -> u64 {
        self.setup.unit_minutes * MINUTE_MS * u64::from(self.setup.ask)
    }

    fn identity(&mut self) -> (WorkerKey, AccountKey) {
        self.identities += 1;
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.identities.to_be_bytes());
        (WorkerKey(key), AccountKey(key))
    }

    fn submit(&mut self) -> Result<(), String> {
        let Setup { units, confidence, copies, fan_in, .. } = self.setup;
        let spec = JobSpec {
            version: proto::job::VERSION,
            name: "simulated".into(),
            kernel: Digest([1; 32]),
            contract: proto::job::CONTRACT,
            nan: Nan::Canonical,
            numbers: proto::job::Numbers::Binary,
            params: Default::default(),
            inputs: Vec::new(),
            cut: vec![Axis::Range { name: "n".into(), first: 0, end: units, per_unit: 1 }],
            merge: (0 < fan_in).then_some(Merge { kernel: None, fan_in }),
            limits: Limits {
                memory_bytes: 1 << 20,
                fuel: 2 * FUEL,
                output_bytes: 1024,
                log_bytes: 0,
                time_s: 3600,
            },
            copies: if confidence.is_some() { 1 } else { copies },
            confidence,
            lease_s: LEASE_S,
            attempts_max: 1_000,
            priority: 0,
            exit_codes: proto::job::success(),
            seed: Digest([2; 32]),
            trace_fuel: SPACING,
        };
        spec.check().map_err(|error| error.to_string())?;
        let submission = Submission {
            bytes: spec.encode().into(),
            spec: Arc::new(spec),
            submission: [1; 16],
            account: "researcher".into(),
        };
        // Again until an answer comes: the coordinator may die on it.
        loop {
            match self.apply(Event::Submit(submission.clone()))? {
                Some((Reply::Submitted(Ok(job)), _)) => {
                    self.job = job;
                    return Ok(());
                }
                None => {}
                other => return Err(format!("the job is not taken: {other:?}")),
            }
        }
    }

    fn decide(&mut self, after_ms: u64, index: usize, due: Due) {
        self.decided += 1;
        self.due.insert((self.now.monotonic_ms + after_ms, self.decided), (index, due));
    }

    /// Applies an event to the coordinator and commits; `None` when it died over it.
    fn apply(&mut self, event: Event) -> Result<Option<(Reply, Messages)>, String> {
        let mut effects = Effects::default();
        let reply = self.core.apply(self.now, event, &mut effects);
        if self.setup.check {
            self.core.check_invariants().map_err(|broken| broken.to_string())?;
        }
        let dies = self.crashes < CRASHES_MAX && self.random.happens(self.setup.crash);
        if dies && self.random.happens(0.5) {
            return self.crash().map(|()| None);
        }
        let changes = self.core.take_changes(self.now);
        self.store.commit(changes).map_err(|error| error.to_string())?;
        if dies {
            return self.crash().map(|()| None);
        }
        Ok(Some((reply, effects.messages)))
    }

    /// Applies an event that is answered by messages alone.
    fn tell(&mut self, event: Event) -> Result<(), String> {
        if let Some((_, messages)) = self.apply(event)? {
            self.say(messages);
        }
        Ok(())
    }

    /// The coordinator dies, and a new one takes up what is in the store. All streams are cut.
    fn crash(&mut self) -> Result<(), String> {
        self.crashes += 1;
        let seed = self.random.bytes();
        self.core = saved::load(&self.store, PROJECT, self.now, seed)
            .map_err(|error| format!("after a crash: {error}"))?;
        self.embed();
        if self.setup.check {
            self.core.check_invariants().map_err(|broken| format!("after a crash: {broken}"))?;
        }
        self.by_stream.clear();
        for index in 0..self.places.len() {
            if self.places[index].stream.take().is_some() {
                self.detached(index, "the connection was lost".into())?;
            }
        }
        Ok(())
    }

    /// Messages of the coordinator go on their way.
    fn say(&mut self, messages: Messages) {
        for (session, message) in messages {
            let Some(&index) = self.by_stream.get(&session.stream) else { continue };
            let Some(event) = line::to_agent(message, &self.store, &mut self.random) else {
                continue;
            };
            self.answer(index, session, event);
        }
    }

    fn answer(&mut self, index: usize, session: Session, event: agent::Event) {
        let stream = Stream { life: self.crashes, session };
        let event = Box::new(event);
        self.decide(self.places[index].line_ms, index, Due::Heard { stream, event });
    }

    fn finish(mut self, mut tell: impl FnMut(u64, u64)) -> Result<Ended, String> {
        let end_ms = self.now.monotonic_ms + self.setup.days_max * DAY_MS;
        let (mut ticks, mut told) = (0, 0);
        while self.core.is_running(self.job) {
            let days = self.now.monotonic_ms / DAY_MS;
            if told < days {
                told = days;
                tell(days, self.core.job_status(self.job).map_or(0, |status| status.settled));
            }
            let ticks_max = TICKS_MAX + TICKS_EACH_MAX * self.places.len() as u64;
            if ticks_max * (days + 1) < ticks {
                return Err(format!("the coordinator woke {ticks} times in {days} days"));
            }
            if end_ms < self.now.monotonic_ms {
                return Err(self.stuck());
            }
            let tick_ms = self.core.next_deadline_ms(self.now);
            let next_ms = self.due.first_key_value().map(|((at_ms, _), _)| *at_ms);
            match (tick_ms, next_ms) {
                (Some(tick_ms), next_ms) if next_ms.is_none_or(|next_ms| tick_ms < next_ms) => {
                    self.advance(tick_ms);
                    ticks += 1;
                    self.tell(Event::Tick)?;
                }
                _ => {
                    let Some(((at_ms, _), (index, due))) = self.due.pop_first() else {
                        return Err("nothing will ever happen again".into());
                    };
                    self.advance(at_ms);
                    self.step(index, due)?;
                }
            }
        }
        let honest =
            self.places.iter().map(|place| (place.machine.key, place.machine.kind.is_honest()));
        let honest = honest.collect();
        self.ended(&honest)
    }

    fn stuck(&self) -> String {
        let mut why = self.core.why(self.job, None).unwrap_or_default();
        for unit in (0..self.setup.units).map(UnitIndex) {
            let of_unit = self.core.why(self.job, Some(unit)).unwrap_or_default();
            if of_unit != ["it is done"] {
                why.push(format!("{unit}: {of_unit:?}"));
            }
        }
        why.truncate(12);
        format!("stuck after {} days: {why:#?}", self.setup.days_max)
    }

    fn advance(&mut self, at_ms: u64) {
        let passed = at_ms.saturating_sub(self.now.monotonic_ms);
        self.now.monotonic_ms += passed;
        self.now.wall_ms += passed;
    }

    fn clock(&self) -> Duration {
        Duration::from_millis(self.now.monotonic_ms)
    }

    fn step(&mut self, index: usize, due: Due) -> Result<(), String> {
        let place = &mut self.places[index];
        match due {
            Due::On if !place.machine.is_on() => {
                place.life += 1;
                place.machine.switch_on(Duration::from_millis(self.now.monotonic_ms), PROJECT);
                self.happen(index, agent::Event::Wake)
            }
            Due::Wake if place.wake_at_ms == Some(self.now.monotonic_ms) => {
                self.happen(index, agent::Event::Wake)
            }
            Due::Ran { life, run, cpu } if life == place.life && place.machine.is_on() => {
                let ran = place.machine.ran(run, cpu, &mut self.shared, &mut self.random);
                let Some(event) = ran else { return Ok(()) };
                self.happen(index, event)?;
                self.leave_perhaps(index)
            }
            Due::Connect { life } if life == place.life && place.machine.is_on() => {
                self.connect(index)
            }
            Due::Said { stream, word } if place.stream == Some(stream) => {
                let event = match *word {
                    Word::Event(event) => event,
                    Word::Reports(signed) => {
                        let incoming = saved::intake(&self.core, &self.store, signed, Vec::new())
                            .map_err(|error| error.to_string())?;
                        Event::Reported(stream.session, incoming)
                    }
                };
                self.said(index, stream.session, event)
            }
            Due::Heard { stream, event } if place.stream == Some(stream) => {
                let acknowledged = matches!(*event, agent::Event::Acks { .. });
                self.happen(index, *event)?;
                if acknowledged { self.renew_perhaps(index) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Something happens to a worker.
    fn happen(&mut self, index: usize, event: agent::Event) -> Result<(), String> {
        let (now, check) = (self.clock(), self.setup.check);
        let (random, crash) = (&mut self.random, self.setup.crash);
        let place = &mut self.places[index];
        let wishes = place.machine.happen(now, event, check, || random.happens(crash))?;
        if !place.machine.is_on() {
            self.restarts += 1;
            return self.off(index, MINUTE_MS);
        }
        for wish in wishes {
            self.grant(index, wish)?;
        }
        let place = &mut self.places[index];
        let wake_at = place.machine.wake_at(now);
        let wake_at_ms =
            wake_at.map(|at| u64::try_from(at.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX));
        if wake_at_ms != place.wake_at_ms
            && let Some(at_ms) = wake_at_ms
        {
            self.decide(at_ms.saturating_sub(self.now.monotonic_ms), index, Due::Wake);
        }
        self.places[index].wake_at_ms = wake_at_ms;
        Ok(())
    }

    /// Gives an agent what it wants of the world.
    fn grant(&mut self, index: usize, wish: Wish) -> Result<(), String> {
        let place = &self.places[index];
        let (life, line_ms, kind) = (place.life, place.line_ms, place.machine.kind);
        match wish {
            Wish::Connect => self.decide(line_ms, index, Due::Connect { life }),
            Wish::Disconnect(reason) => {
                if let Some(stream) = self.places[index].stream.take() {
                    self.by_stream.remove(&stream.session.stream);
                    self.tell(Event::Gone(stream.session))?;
                }
                return self.detached(index, reason);
            }
            Wish::Say(message) => {
                let Some(stream) = place.stream else { return Ok(()) };
                if kind == Kind::Slow && matches!(message, agent::Message::Heartbeat { .. }) {
                    // Too busy for that: its leases run out.
                    return Ok(());
                }
                let states = &self.shared.states;
                let word = line::to_coordinator(message, place.machine.key, stream.session, states);
                self.decide(line_ms, index, Due::Said { stream, word: Box::new(word) });
            }
            Wish::Run { run, whole } => {
                let slow = match kind {
                    Kind::Hoarding => return Ok(()),
                    Kind::Slow => SLOW,
                    _ => 1,
                };
                let whole = whole && kind != Kind::Refusing;
                let ms = if whole { self.round_ms() } else { ERRAND_MS };
                let cpu_ms = slow * (ms + self.random.below(4) * ms / 16);
                // What runs side by side ends together.
                let end_ms = (self.now.monotonic_ms + cpu_ms).next_multiple_of(MINUTE_MS);
                let cpu = Duration::from_millis(cpu_ms);
                let after_ms = end_ms - self.now.monotonic_ms;
                self.decide(after_ms, index, Due::Ran { life, run, cpu });
            }
        }
        Ok(())
    }

    fn detached(&mut self, index: usize, reason: String) -> Result<(), String> {
        let random = self.random.draw();
        self.happen(index, agent::Event::Detached { reason, retry_after: None, random })
    }

    fn connect(&mut self, index: usize) -> Result<(), String> {
        let place = &self.places[index];
        let hello = Hello {
            worker: place.machine.key,
            account: place.machine.account,
            cores: self.setup.ask,
            memory_bytes: MEMORY_BYTES,
            name: String::new(),
            account_name: String::new(),
            contract: proto::job::CONTRACT,
            network: place.network,
            invitation: None,
            work_bits: 0,
        };
        let (welcome, messages) = match self.apply(Event::Connected(hello))? {
            Some((Reply::Connected(Ok(welcome)), messages)) => (welcome, messages),
            None => return self.detached(index, "the connection was lost".into()),
            other => return Err(format!("not welcome: {other:?}")),
        };
        let Welcome { session, credit, sequence } = welcome;
        self.places[index].stream = Some(Stream { life: self.crashes, session });
        self.by_stream.insert(session.stream, index);
        self.say(messages);
        let heartbeat_s = 60 * self.setup.unit_minutes / HEARTBEATS_EACH;
        let welcome = agent::Welcome {
            heartbeat: Duration::from_secs(heartbeat_s.max(HEARTBEAT_MIN_S)),
            batch_reports_max: BATCH_REPORTS_MAX,
            credit: u64::try_from(credit).unwrap_or(u64::MAX),
            sequence,
        };
        self.happen(index, agent::Event::Attached(welcome))
    }

    /// The coordinator hears what a worker said.
    fn said(&mut self, index: usize, session: Session, event: Event) -> Result<(), String> {
        let Some((reply, messages)) = self.apply(event)? else { return Ok(()) };
        self.say(messages);
        if let Reply::Acks(acks) = reply {
            let credit = u64::try_from(acks.credit).unwrap_or(u64::MAX);
            let (sequence, status) = (acks.sequence, acks.acks);
            self.answer(index, session, agent::Event::Acks { sequence, status, credit });
        }
        Ok(())
    }

    /// A machine is without power for a while.
    fn off(&mut self, index: usize, away_ms: u64) -> Result<(), String> {
        let place = &mut self.places[index];
        place.machine.switch_off();
        place.wake_at_ms = None;
        let stream = place.stream.take();
        self.decide(away_ms, index, Due::On);
        if let Some(stream) = stream {
            self.by_stream.remove(&stream.session.stream);
            self.tell(Event::Gone(stream.session))?;
        }
        Ok(())
    }

    /// A machine that comes and goes is away for days now and then; half of the times it has lost its disk meanwhile.
    fn leave_perhaps(&mut self, index: usize) -> Result<(), String> {
        let chance = 0.1 / f64::from(self.setup.ask);
        if self.places[index].machine.kind != Kind::Vanishing || !self.random.happens(chance) {
            return Ok(());
        }
        if self.random.happens(0.5) {
            self.places[index].machine.wipe();
        }
        let away_ms = DAY_MS + self.random.below(4 * DAY_MS);
        self.off(index, away_ms)
    }

    /// A person with many identities comes back under another name.
    fn renew_perhaps(&mut self, index: usize) -> Result<(), String> {
        let machine = &self.places[index].machine;
        let Kind::Identities(units) = machine.kind else { return Ok(()) };
        if machine.computed < units {
            return Ok(());
        }
        let (key, account) = self.identity();
        let away_ms = DAY_MS + self.random.below(4 * DAY_MS);
        self.off(index, away_ms)?;
        self.places[index].machine.name(key, account);
        Ok(())
    }
}
