//! A coordinator and its workers on a clock that jumps from event to event.

use crate::simulation::machine::Answer;
use crate::simulation::{Ended, Kind, Random, Setup};
use coordinator::core::Core;
use coordinator::core::event::{
    Effects, Event, Hello, Reply, Session, SignedBatch, Submission, ToWorker, Want,
};
use coordinator::core::status::{JobState, JobStatus, Told};
use coordinator::core::time::Now;
use coordinator::engine;
use coordinator::store::Store;
use coordinator::store::memory::MemoryStore;
use proto::cut::Axis;
use proto::job::{JobSpec, Limits, Merge, Nan};
use proto::report::{Batch, JobRef, Outcome, Output, Report};
use proto::{AccountKey, Digest, JobId, LeaseId, ProjectKey, UnitIndex, WorkerKey};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

const PROJECT: ProjectKey = ProjectKey([9; 32]);
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;
/// What a unit takes on an ordinary machine.
const UNIT_MS: u64 = 10 * MINUTE_MS;
const LEASE_S: u64 = 12 * 3_600;
/// A coordinator that wakes so often for one job spins.
const TICKS_MAX: u64 = 1_000_000;
/// Crashes of one run: after each, leases get their full time again, so that a coordinator that dies every few minutes
/// for ever would never see one run out.
const CRASHES_MAX: u64 = 12;
const FUEL: u64 = 1_000;

/// A simulated worker.
#[derive(Debug)]
struct Machine {
    kind: Kind,
    key: WorkerKey,
    account: AccountKey,
    network: u64,
    session: Option<Session>,
    /// First unit and how many, by lease.
    leases: BTreeMap<LeaseId, (u64, u32)>,
    /// A batch that was not acknowledged.
    outbox: Option<SignedBatch>,
    sequence: u64,
    reported: u64,
    /// When it does something next.
    at_ms: u64,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    setup: Setup,
    core: Core,
    store: MemoryStore,
    now: Now,
    random: Random,
    machines: Vec<Machine>,
    by_session: HashMap<u64, usize>,
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    job: JobId,
    spec: Digest,
    /// What was first said of each unit; kept when somebody copies.
    heard: HashMap<u64, Answer>,
    crashes: u64,
    identities: u64,
}

/// Runs the job to its end.
///
/// # Errors
/// What went wrong, for people; the seed reproduces it.
pub fn run(setup: &Setup) -> Result<Ended, String> {
    World::new(setup.clone())
        .and_then(World::finish)
        .map_err(|error| format!("seed {}: {error}; {setup:?}", setup.seed))
}

impl World {
    fn new(setup: Setup) -> Result<Self, String> {
        let mut random = Random::new(setup.seed);
        let now = Now { monotonic_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let mut world = Self {
            core: Core::new(PROJECT, random.bytes()),
            store: MemoryStore::default(),
            now,
            random,
            machines: Vec::new(),
            by_session: HashMap::new(),
            queue: BinaryHeap::new(),
            job: JobId(0),
            spec: Digest([0; 32]),
            heard: HashMap::new(),
            crashes: 0,
            identities: 0,
            setup,
        };
        let kinds: Vec<(Kind, u32)> =
            [vec![(Kind::Honest, world.setup.honest)], world.setup.others.clone()].concat();
        for kind in kinds.into_iter().flat_map(|(kind, count)| vec![kind; count as usize]) {
            world.add(kind);
        }
        world.submit()?;
        Ok(world)
    }

    fn add(&mut self, kind: Kind) {
        let index = self.machines.len();
        // The first moments are spread over half a day, in random order: who comes first is not decided by kind.
        let at_ms = self.now.monotonic_ms + self.random.below(DAY_MS / 2);
        let network = 1_000 + index as u64;
        let (key, account) = self.identity();
        self.machines.push(Machine {
            kind,
            key,
            account,
            network,
            session: None,
            leases: BTreeMap::new(),
            outbox: None,
            sequence: 0,
            reported: 0,
            at_ms,
        });
        self.queue.push(Reverse((at_ms, index)));
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
            nan: Nan::Canonical,
            params: Default::default(),
            inputs: Vec::new(),
            cut: vec![Axis::Range { name: "n".into(), first: 0, end: units, per_unit: 1 }],
            merge: (0 < fan_in).then_some(Merge { kernel: None, fan_in }),
            limits: Limits {
                memory_bytes: 1 << 20,
                fuel: 1_000_000,
                output_bytes: 1024,
                log_bytes: 0,
                time_s: 3600,
            },
            copies: if confidence.is_some() { 1 } else { copies },
            confidence,
            lease_s: LEASE_S,
            attempts_max: 1_000,
            priority: 0,
            seed: Digest([2; 32]),
            trace_fuel: proto::trace::SPACING,
        };
        spec.check().map_err(|error| error.to_string())?;
        let bytes: Arc<[u8]> = spec.encode().into();
        self.spec = Digest::of(&bytes);
        let submission = Submission {
            spec: Arc::new(spec),
            bytes,
            submission: [1; 16],
            account: "researcher".into(),
        };
        // Again until an answer comes: the coordinator may die on it.
        loop {
            match self.apply(Event::Submit(submission.clone()))? {
                Some(Reply::Submitted(Ok(job))) => {
                    self.job = job;
                    return Ok(());
                }
                None => {}
                other => return Err(format!("the job is not taken: {other:?}")),
            }
        }
    }

    /// Applies an event and commits; `None` when the coordinator died over it.
    fn apply(&mut self, mut event: Event) -> Result<Option<Reply>, String> {
        if let Event::Reported(session, signed) = &mut event {
            signed.earlier = engine::earlier(&self.core, &self.store, *session, signed)
                .map_err(|error| error.to_string())?;
        }
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
        for (session, message) in effects.messages {
            self.deliver(session, message);
        }
        Ok(Some(reply))
    }

    fn crash(&mut self) -> Result<(), String> {
        self.crashes += 1;
        let seed = self.random.bytes();
        self.core = engine::load(&self.store, PROJECT, self.now, seed)
            .map_err(|error| format!("after a crash: {error}"))?;
        if self.setup.check {
            self.core.check_invariants().map_err(|broken| format!("after a crash: {broken}"))?;
        }
        self.by_session.clear();
        for machine in &mut self.machines {
            machine.session = None;
        }
        Ok(())
    }

    fn deliver(&mut self, session: Session, message: ToWorker) {
        let Some(&index) = self.by_session.get(&session.stream) else { return };
        match message {
            ToWorker::Lease(lease) => {
                let machine = &mut self.machines[index];
                machine.leases.insert(lease.lease, (lease.first.0, lease.count));
                let units: u64 = machine.leases.values().map(|(_, count)| u64::from(*count)).sum();
                let each = if machine.kind == Kind::Slow { 40 * UNIT_MS } else { UNIT_MS };
                let spread = self.random.below(each) / 4;
                self.wake(index, units * each + spread);
            }
            ToWorker::Cancel { leases, .. } => {
                self.machines[index].leases.retain(|id, _| !leases.contains(id));
            }
            ToWorker::Job { .. } | ToWorker::Idle { .. } | ToWorker::Replaced => {}
        }
    }

    fn wake(&mut self, index: usize, after_ms: u64) {
        let at_ms = self.now.monotonic_ms + after_ms.max(1);
        self.machines[index].at_ms = at_ms;
        self.queue.push(Reverse((at_ms, index)));
    }

    fn advance(&mut self, at_ms: u64) {
        let passed = at_ms.saturating_sub(self.now.monotonic_ms);
        self.now.monotonic_ms += passed;
        self.now.wall_ms += passed;
    }

    fn finish(mut self) -> Result<Ended, String> {
        let end_ms = self.now.monotonic_ms + self.setup.days_max * DAY_MS;
        let mut ticks = 0;
        while self.running() {
            if TICKS_MAX < ticks {
                let days = self.now.monotonic_ms / DAY_MS;
                return Err(format!("the coordinator woke {ticks} times in {days} days"));
            }
            if end_ms < self.now.monotonic_ms {
                let mut why = self.core.why(self.job, None).unwrap_or_default();
                for unit in (0..self.setup.units).map(UnitIndex) {
                    let of_unit = self.core.why(self.job, Some(unit)).unwrap_or_default();
                    if of_unit != ["it is done"] {
                        why.push(format!("{unit}: {of_unit:?}"));
                    }
                }
                why.truncate(12);
                return Err(format!("stuck after {} days: {why:#?}", self.setup.days_max));
            }
            let deadline_ms = self.core.next_deadline_ms(self.now);
            let next = self.queue.peek().map(|Reverse((at_ms, _))| *at_ms);
            match (deadline_ms, next) {
                (Some(deadline_ms), next) if next.is_none_or(|next| deadline_ms < next) => {
                    self.advance(deadline_ms);
                    ticks += 1;
                    self.apply(Event::Tick)?;
                }
                (_, Some(_)) => {
                    let Some(Reverse((at_ms, index))) = self.queue.pop() else { continue };
                    if self.machines[index].at_ms == at_ms {
                        self.advance(at_ms);
                        self.step(index)?;
                    }
                }
                _ => return Err("nothing will ever happen again".into()),
            }
        }
        self.ended()
    }

    fn running(&self) -> bool {
        self.core.job_status(self.job).is_some()
    }

    /// A worker does what it does next.
    fn step(&mut self, index: usize) -> Result<(), String> {
        if self.leaves(index)? {
            return Ok(());
        }
        if self.machines[index].session.is_none() && !self.connect(index)? {
            self.wake(index, MINUTE_MS);
            return Ok(());
        }
        if self.machines[index].outbox.is_none() && !self.machines[index].leases.is_empty() {
            self.compute(index);
        }
        if let Some(batch) = self.machines[index].outbox.clone() {
            let Some(session) = self.machines[index].session else { return Ok(()) };
            if self.apply(Event::Reported(session, batch))?.is_none() {
                self.wake(index, MINUTE_MS);
                return Ok(());
            }
            self.machines[index].outbox = None;
        }
        // Should nothing be lent, it asks again after a while.
        let pause = 20 * MINUTE_MS + self.random.below(80 * MINUTE_MS);
        self.wake(index, pause);
        if !self.machines[index].leases.is_empty() {
            return Ok(());
        }
        let Some(session) = self.machines[index].session else { return Ok(()) };
        let want = Want {
            units: self.setup.ask,
            seconds: 86_400,
            fuel_per_second: 1_000_000_000,
            memory_bytes: 1 << 30,
        };
        self.apply(Event::Want(session, want))?;
        Ok(())
    }

    /// Whether the worker goes away for a while, or for ever.
    fn leaves(&mut self, index: usize) -> Result<bool, String> {
        let kind = self.machines[index].kind;
        let renewed =
            matches!(kind, Kind::Identities(units) if units <= self.machines[index].reported);
        let gone = kind == Kind::Vanishing && self.random.happens(0.1);
        if !renewed && !gone {
            return Ok(false);
        }
        if renewed {
            let (key, account) = self.identity();
            let machine = &mut self.machines[index];
            (machine.key, machine.account, machine.sequence, machine.reported) =
                (key, account, 0, 0);
        }
        let machine = &mut self.machines[index];
        machine.leases.clear();
        machine.outbox = None;
        if let Some(session) = machine.session.take() {
            self.by_session.remove(&session.stream);
            self.apply(Event::Gone(session))?;
        }
        let away = DAY_MS + self.random.below(4 * DAY_MS);
        self.wake(index, away);
        Ok(true)
    }

    fn connect(&mut self, index: usize) -> Result<bool, String> {
        let machine = &self.machines[index];
        let hello = Hello {
            worker: machine.key,
            account: machine.account,
            cores: 1,
            memory_bytes: 1 << 30,
            name: String::new(),
            account_name: String::new(),
            network: machine.network,
        };
        match self.apply(Event::Connected(hello))? {
            Some(Reply::Connected(Ok(welcome))) => {
                self.machines[index].session = Some(welcome.session);
                self.by_session.insert(welcome.session.stream, index);
                Ok(true)
            }
            None => Ok(false),
            other => Err(format!("not welcome: {other:?}")),
        }
    }

    /// Turns all that the worker holds into a batch.
    fn compute(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        let mut reports = Vec::new();
        for (lease, (first, count)) in std::mem::take(&mut machine.leases) {
            for unit in (first..).take(count as usize) {
                let heard = self.heard.get(&unit).copied();
                let answer =
                    machine.kind.answer(index as u64, machine.reported, &mut self.random, heard);
                machine.reported += 1;
                if self.setup.others.iter().any(|(kind, _)| *kind == Kind::Copying) {
                    self.heard.entry(unit).or_insert(answer);
                }
                reports.push(Report {
                    job: 0,
                    lease,
                    unit: UnitIndex(unit),
                    outcome: Outcome::Done(Output::Inline(output(unit, answer))),
                    fuel: FUEL,
                    trace_root: None,
                });
            }
        }
        machine.sequence += 1;
        let jobs = vec![JobRef { id: self.job, spec: self.spec }];
        let batch = Batch::new(PROJECT, machine.key, machine.sequence, jobs, reports);
        let payload = batch.encode().into();
        machine.outbox = Some(SignedBatch {
            root: batch.root(),
            batch,
            payload,
            signature: [0; 64],
            missing: Vec::new(),
            earlier: Default::default(),
        });
    }

    /// Takes stock.
    fn ended(self) -> Result<Ended, String> {
        self.core.check_invariants().map_err(|broken| broken.to_string())?;
        let status = self.status()?;
        if status.state != JobState::Done {
            return Err(format!("the job ended as {:?}", status.state));
        }
        let mut held: BTreeMap<u64, Told> = BTreeMap::new();
        let mut cursor = 0;
        loop {
            let page = engine::results(&self.store, self.job, cursor, 4096)
                .map_err(|error| error.to_string())?
                .ok_or("the job is not in the store")?;
            if page.results.is_empty() {
                break;
            }
            cursor = page.cursor;
            for result in page.results {
                let unit = result.unit.0;
                match result.told {
                    Told::Withdrawn(_) => drop(held.remove(&unit)),
                    told => {
                        if held.insert(unit, told).is_some() {
                            return Err(format!("u{unit} has two verdicts"));
                        }
                    }
                }
            }
        }
        if held.len() as u64 != status.units {
            return Err(format!("{} of {} units have a verdict", held.len(), status.units));
        }
        let given_up = held.values().filter(|told| matches!(told, Told::GivenUp(_))).count() as u64;
        let wrong = held.iter().filter(|(unit, told)| {
            **unit < self.setup.units
                && !matches!(told, Told::Settled(Outcome::Done(Output::Inline(content)))
                    if *content == output(**unit, Answer::Right))
        });
        let wrong = wrong.count() as u64 - given_up;
        let workers = self.core.workers(None, usize::MAX);
        let credit: u128 = workers.iter().map(|worker| worker.credit).sum();
        if credit != status.credit {
            return Err(format!("workers hold {credit} credit, {} was granted", status.credit));
        }
        let honest: HashMap<WorkerKey, bool> =
            self.machines.iter().map(|machine| (machine.key, machine.kind.is_honest())).collect();
        let caught_honest = workers
            .iter()
            .filter(|worker| honest.get(&worker.worker) == Some(&true))
            .map(|worker| worker.caught);
        let days_ms = self.now.monotonic_ms as f64;
        Ok(Ended {
            units: status.units,
            wrong,
            given_up,
            copies: status.copies,
            withdrawn: status.withdrawn,
            caught: workers.iter().map(|worker| worker.caught).sum(),
            caught_honest: caught_honest.sum(),
            days: days_ms / DAY_MS as f64,
            crashes: self.crashes,
            fingerprint: Digest::of(format!("{held:?}").as_bytes()).to_string(),
        })
    }

    fn status(&self) -> Result<JobStatus, String> {
        engine::ended_job(&self.store, self.job)
            .map_err(|error| error.to_string())?
            .ok_or_else(|| "the job is not in the store".into())
    }
}

fn output(unit: u64, answer: Answer) -> Vec<u8> {
    match answer {
        Answer::Right => unit.to_le_bytes().to_vec(),
        Answer::Lie(lie) => [&[1], lie.to_le_bytes().as_slice()].concat(),
    }
}
