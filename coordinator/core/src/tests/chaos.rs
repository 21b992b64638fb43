//! Runs in which everything goes wrong that can, from random sequences. After each step every invariant holds; at the
//! end everything is computed, and exactly as in a calm run.

use super::env::*;
use crate::event::{Event, SignedBatch};
use proptest::prelude::*;
use proto::report::Ack;
use proto::{JobId, LeaseId};
use std::collections::BTreeMap;

const WORKERS: usize = 5;

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    Want(usize, u32),
    /// Reports some of what it holds, in an order of its own.
    Report(usize, u64, u8),
    Again(usize),
    GiveBack(usize, u64, bool),
    Gone(usize),
    Leave(usize),
    Connect(usize),
    Heartbeat(usize),
    Pass(u64),
    Jump(i64),
    Crash,
    /// The coordinator's disk is lost; its workers give back what they have kept.
    Lose,
    /// The coordinator dies after the commit and before the answer.
    ReportAndCrash(usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let worker = 0..WORKERS;
    let step = prop_oneof![
        5 => (worker.clone(), 1..20_u32).prop_map(|(worker, units)| Step::Want(worker, units)),
        6 => (worker.clone(), any::<u64>(), 0..8_u8).prop_map(|(worker, which, taste)| Step::Report(worker, which, taste)),
        1 => worker.clone().prop_map(Step::Again),
        1 => (worker.clone(), any::<u64>(), any::<bool>()).prop_map(|(worker, which, failure)| Step::GiveBack(worker, which, failure)),
        1 => worker.clone().prop_map(Step::Gone),
        1 => worker.clone().prop_map(Step::Leave),
        2 => worker.clone().prop_map(Step::Connect),
        1 => worker.clone().prop_map(Step::Heartbeat),
        3 => (0..100_000_u64).prop_map(Step::Pass),
        1 => (-86_400_000..86_400_000_i64).prop_map(Step::Jump),
        1 => Just(Step::Crash),
        1 => Just(Step::Lose),
        1 => (worker, any::<u64>()).prop_map(|(worker, which)| Step::ReportAndCrash(worker, which)),
    ];
    prop::collection::vec(step, 1..120)
}

struct Chaos {
    env: Env,
    job: JobId,
    last: BTreeMap<usize, SignedBatch>,
    /// Whether the last worker lies now and then.
    liar: bool,
}

impl Chaos {
    fn new(units: u64, copies: u32, merge: bool, liar: bool) -> Self {
        let mut env = Env::new();
        let mut spec = if merge { merging(units, 3) } else { spec(units, copies) };
        (spec.copies, spec.attempts_max) = (copies, 1000);
        let job = env.submit(spec);
        for account in 0..WORKERS {
            env.worker(u8::try_from(account).unwrap());
        }
        Self { env, job, last: BTreeMap::new(), liar }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Want(worker, units) => self.env.want(worker, units),
            Step::Report(worker, which, taste) => self.report(worker, which, taste),
            Step::Again(worker) => {
                if let Some(batch) = self.last.get(&worker).cloned()
                    && self.env.workers[worker].session.is_some()
                {
                    let acks = self.env.send(worker, batch).acks;
                    assert!(
                        acks.iter().all(|ack| *ack != Ack::Accepted),
                        "accepted twice: {acks:?}"
                    );
                }
            }
            Step::GiveBack(worker, which, failure) => {
                if let Some((_, unit)) = self.pick(worker, which)
                    && self.env.workers[worker].session.is_some()
                {
                    self.env.give_back(worker, unit, failure);
                }
            }
            Step::Gone(worker) => {
                if let Some(session) = self.env.workers[worker].session.take() {
                    self.env.apply(Event::Gone(session));
                }
            }
            Step::Leave(worker) => {
                if let Some(session) = self.env.workers[worker].session.take() {
                    self.env.apply(Event::Goodbye { session, leaving: true });
                    self.env.workers[worker].leases.clear();
                }
            }
            Step::Connect(worker) => self.env.connect(worker),
            Step::Heartbeat(worker) => {
                if self.env.workers[worker].session.is_some() {
                    let leases = self.env.workers[worker].leases.keys().copied().collect();
                    self.env.heartbeat(worker, leases);
                }
            }
            Step::Pass(ms) => self.env.pass(ms),
            Step::Jump(ms) => self.env.now.wall_ms = self.env.now.wall_ms.saturating_add_signed(ms),
            Step::Crash => self.env.crash(),
            Step::Lose => self.env.lose(),
            Step::ReportAndCrash(worker, which) => {
                self.report(worker, which, 0);
                self.env.crash();
            }
        }
    }

    /// A unit that the worker holds.
    fn pick(&self, worker: usize, which: u64) -> Option<(LeaseId, u64)> {
        let leases = &self.env.workers[worker].leases;
        let units = leases.values().flat_map(|lease| {
            (lease.first.0..).take(lease.count as usize).map(|unit| (lease.lease, unit))
        });
        let units: Vec<_> = units.collect();
        let index = usize::try_from(which % (units.len() as u64).max(1)).unwrap();
        units.get(index).copied()
    }

    fn report(&mut self, worker: usize, which: u64, taste: u8) {
        if self.env.workers[worker].session.is_none() {
            return;
        }
        let Some((lease, unit)) = self.pick(worker, which) else { return };
        let lies = self.liar && worker == WORKERS - 1 && taste < 3;
        let said = if lies { wrong(unit, taste) } else { honest(unit) };
        let batch = self.env.batch(worker, self.job, &[(lease, unit, said)]);
        self.last.insert(worker, batch.clone());
        self.env.send(worker, batch);
        self.env.forget(worker, unit);
    }

    /// From here on all goes well.
    fn finish(&mut self) {
        for _ in 0..400 {
            if self.env.is_done(self.job) {
                return;
            }
            for worker in 0..WORKERS {
                if self.env.workers[worker].session.is_none() {
                    self.env.connect(worker);
                }
                self.env.want(worker, 100);
                self.env.report_all(worker, self.job);
            }
            self.env.pass(4_000_000);
        }
        panic!("not done: {:?}", self.env.core.why(self.job, None));
    }
}

proptest! {

    #[test]
    fn any_run_ends_like_a_calm_one(
        steps in steps(),
        units in 1..40_u64,
        copies in 1..4_u32,
        merge: bool,
        liar: bool,
    ) {
        // One lie is believed where one copy is enough, so liars only meet others.
        let liar = liar && 1 < copies;
        let mut calm = Chaos::new(units, copies, merge, false);
        calm.finish();
        let mut run = Chaos::new(units, copies, merge, liar);
        for step in &steps {
            run.step(step);
        }
        run.finish();
        prop_assert_eq!(run.env.results(run.job), calm.env.results(calm.job));
        let (run, calm) = (run.env.status(run.job), calm.env.status(calm.job));
        prop_assert_eq!((run.fuel, run.settled, run.failed), (calm.fuel, calm.settled, calm.failed));
        // Every agreeing copy is credited, once.
        prop_assert!(run.credit >= run.fuel * u128::from(copies) && run.credit <= run.fuel * u128::from(2 * copies + 2));
    }
}
