//! Checks of segments and disputes: workers with traces, liars of several kinds, and what becomes of them.

use super::env::*;
use crate::event::{Event, Found, Segment, Show, Shown};
use crate::record::{EvidenceRecord, Table, decode};
use crate::saved::read;
use crate::store::Store;
use proto::job::JobSpec;
use proto::report::{Ack, Batch, JobRef, Outcome, Output, Report};
use proto::trace::{Claim, Point, SegmentStatement, Trace};
use proto::{Digest, JobId, UnitIndex};

const SPACING: u64 = 1 << 16;
const SEGMENTS: u64 = 10;
const FUEL: u64 = SEGMENTS * SPACING + 7;

/// What a worker makes of a unit: right, or wrong from a segment on in a way of its own.
type Lie = Option<(u64, u8)>;

fn traced(units: u64, confidence: f64) -> JobSpec {
    JobSpec { confidence: Some(confidence), trace_fuel: SPACING, ..spec(units, 1) }.with_fuel()
}

trait WithFuel {
    fn with_fuel(self) -> Self;
}

impl WithFuel for JobSpec {
    fn with_fuel(mut self) -> Self {
        self.limits.fuel = 2 * FUEL;
        self
    }
}

fn point(unit: u64, at: u64, lie: Lie) -> Point {
    let taste = lie.filter(|(from, _)| *from <= at).map(|(_, taste)| taste);
    let state = Digest::of(format!("{unit} {at} {taste:?}").as_bytes());
    Point { fuel: at * SPACING, state }
}

fn trace(unit: u64, lie: Lie) -> Trace {
    let mut trace = Trace::new(SPACING);
    for at in 1..=SEGMENTS {
        trace.push(point(unit, at, lie));
    }
    trace
}

fn output(unit: u64, lie: Lie) -> Outcome {
    let taste = lie.map(|(_, taste)| taste);
    Outcome::Done(Output::Inline(format!("{unit} {taste:?}").into_bytes()))
}

fn end(unit: u64, lie: Lie) -> Claim {
    let Outcome::Done(output) = output(unit, lie) else { unreachable!() };
    Claim::End { result: Ok(output.digest()), fuel: FUEL }
}

impl Env {
    /// Reports all units that a worker holds of a job, lying about each as it does.
    fn report_traced(&mut self, worker: usize, job: JobId, lie: Lie) -> Vec<Ack> {
        let spec = Digest::of(&read::spec(self.store.as_ref(), job).unwrap().unwrap());
        let leases = std::mem::take(&mut self.workers[worker].leases);
        let units = leases.values().flat_map(|lease| {
            (lease.first.0..).take(lease.count as usize).map(move |unit| (lease.lease, unit))
        });
        let reports: Vec<Report> = units
            .map(|(lease, unit)| Report {
                job: 0,
                lease,
                unit: UnitIndex(unit),
                outcome: output(unit, lie),
                fuel: FUEL,
                trace_root: trace(unit, lie).root(),
            })
            .collect();
        if reports.is_empty() {
            return Vec::new();
        }
        let volunteer = &mut self.workers[worker];
        volunteer.sequence += 1;
        let jobs = vec![JobRef { id: job, spec }];
        let batch = Batch::new(PROJECT, volunteer.key, volunteer.sequence, jobs, reports);
        let payload = batch.encode().into();
        let signed =
            crate::event::SignedBatch { root: batch.root(), batch, payload, signature: [0; 64] };
        self.send(worker, signed).acks
    }

    /// Answers everything that a worker was asked, as one that lies so.
    fn answer(&mut self, worker: usize, lie: Lie) -> usize {
        let session = self.workers[worker].session.unwrap();
        let shows = std::mem::take(&mut self.workers[worker].shows);
        let segments = std::mem::take(&mut self.workers[worker].segments);
        let count = shows.len() + segments.len();
        for Show { ask, unit, fuel, .. } in shows {
            let trace = trace(unit.0, lie);
            let from = fuel.and_then(|fuel| trace.from(trace.points_until(fuel)));
            let state = from.map(|from| (Digest([7; 32]), 100, from));
            let shown = Shown { ask, trace: Ok(trace.encode()), state };
            self.apply(Event::Shown(session, shown));
        }
        for Segment { ask, job, unit, spacing, from, .. } in segments {
            let found = match from.map_or(0, |from| from.fuel / SPACING) {
                _ if spacing == 0 => end(unit.0, lie),
                at if at < SEGMENTS => Claim::Point(point(unit.0, at + 1, lie)),
                _ => end(unit.0, lie),
            };
            let spec = read::spec(self.store.as_ref(), job).unwrap().unwrap();
            let spec = Digest::of(&spec);
            let statement = SegmentStatement::new(PROJECT, spec, unit, spacing, from, found);
            self.apply(Event::Found(session, Found { ask, found: Ok((statement, [0; 64])) }));
        }
        count
    }

    /// A crowd goes on until the job is done; each worker lies as `lies` says.
    fn work(&mut self, job: JobId, lies: &[Lie]) {
        for _ in 0..2_000 {
            for (worker, lie) in (0..).zip(lies) {
                self.want(worker, 4);
                self.report_traced(worker, job, *lie);
            }
            while (0..).zip(lies).map(|(worker, lie)| self.answer(worker, *lie)).sum::<usize>() > 0
            {
            }
            if self.is_done(job) {
                return;
            }
            self.pass(11_000);
        }
        panic!("not done: {:#?}", self.core.why(job, None));
    }

    fn evidence(&self, job: JobId) -> Vec<EvidenceRecord> {
        let page = self.store.page(&Table::Evidence.key(job.0), None, 1000).unwrap();
        page.iter().map(|(_, value)| decode(value).unwrap()).collect()
    }

    fn caught(&self, worker: usize) -> u64 {
        let all = self.core.workers(None, 1000);
        all.iter().find(|status| status.worker == self.workers[worker].key).unwrap().caught
    }

    fn all_right(&self, job: JobId, units: u64) {
        for (unit, told) in self.results(job).range(..units) {
            assert_eq!(*told, format!("{:?} for {FUEL}", output(*unit, None)));
        }
    }
}

#[test]
fn a_dispute_is_led_back_to_one_segment_and_the_liar_is_proved_wrong() {
    let mut env = Env::new();
    let job = env.submit(traced(1, 0.05));
    let (ada, eve) = (env.worker(1), env.worker(2));
    let others: Vec<usize> = (3..9).map(|account| env.worker(account)).collect();
    env.lease(ada, 1);
    env.lease(eve, 1);
    env.report_traced(ada, job, None);
    let lie = Some((6, 1));
    env.report_traced(eve, job, lie);
    for worker in &others {
        env.want(*worker, 0);
    }
    // Both are asked for their traces, then one of them for the state at the last point that they share.
    let why = env.core.why(job, Some(UnitIndex(0))).unwrap();
    assert!(why[0].contains("traces"), "{why:?}");
    env.answer(ada, None);
    env.answer(eve, lie);
    assert_eq!(env.answer(ada, None) + env.answer(eve, lie), 1);
    let mut asked: Vec<u64> = Vec::new();
    for _ in 0..4 {
        for worker in &others {
            asked.extend(env.workers[*worker].segments.iter().map(|s| s.from.unwrap().fuel));
            env.answer(*worker, None);
        }
    }
    assert!(!asked.is_empty() && asked.iter().all(|fuel| *fuel == 5 * SPACING), "{asked:?}");
    assert_eq!((env.caught(ada), env.caught(eve)), (0, 1));
    let evidence = env.evidence(job);
    assert_eq!((evidence.len(), evidence[0].points, evidence[0].accused.len()), (1, 5, 1));
    assert_eq!(evidence[0].truth, Claim::Point(point(0, 6, None)));
    assert!(env.workers[eve].heard.iter().any(|text| text.contains("overclock")));
}

#[test]
fn a_colluding_majority_loses_against_one_honest_worker_before_a_referee() {
    let mut env = Env::new();
    let job = env.submit(traced(1, 0.01));
    let honest = env.worker(1);
    let league: Vec<usize> = (2..12).map(|account| env.worker(account)).collect();
    let referee = env.worker(50);
    let key = env.workers[referee].key;
    env.apply(Event::Appoint { worker: key, appointed: true });
    env.want(referee, 0);
    let lie = Some((3, 9));
    env.lease(honest, 1);
    env.report_traced(honest, job, None);
    for round in 0..50 {
        for liar in &league {
            env.want(*liar, 1);
            env.report_traced(*liar, job, lie);
            env.answer(*liar, lie);
        }
        env.answer(honest, None);
        env.answer(referee, None);
        if !env.evidence(job).is_empty() {
            break;
        }
        assert!(round < 49, "{:?}", env.core.why(job, Some(UnitIndex(0))));
        env.pass(11_000);
    }
    let proof = &env.evidence(job)[0];
    assert_eq!((proof.truth, proof.points), (Claim::Point(point(0, 3, None)), 2));
    assert!(!proof.accused.is_empty() && env.caught(honest) == 0);
    for place in &proof.accused {
        let liar = league.iter().find(|liar| env.caught(**liar) == 1);
        assert!(liar.is_some(), "{place:?}");
    }
    // Whoever is left settles the unit, and rightly.
    let crowd: Vec<usize> = (60..70).map(|account| env.worker(account)).collect();
    for _ in 0..20 {
        for worker in &crowd {
            env.want(*worker, 1);
            env.report_traced(*worker, job, None);
            env.answer(*worker, None);
        }
        env.answer(referee, None);
        env.answer(honest, None);
        // It checks what the others agree on.
        env.want(referee, 1);
        env.report_traced(referee, job, None);
        env.pass(11_000);
    }
    assert!(env.is_done(job), "{:?}", env.core.why(job, Some(UnitIndex(0))));
    env.all_right(job, 1);
}

#[test]
fn segments_of_trusted_workers_are_checked_and_cost_a_fraction_of_a_unit() {
    let mut env = Env::new();
    env.core.set_check_floor(0.2);
    let job = env.submit(traced(600, 0.01));
    let lies = [None; 8];
    for account in 1..=8 {
        env.worker(account);
    }
    env.work(job, &lies);
    let status = env.status(job);
    assert!(10 < status.segments, "{status:?}");
    let each = status.segments_fuel / u128::from(status.segments);
    assert!(each <= u128::from(2 * SPACING) && u128::from(FUEL) / 12 <= each + 7, "{each}");
    env.all_right(job, 600);
    assert!((0..8).all(|worker| env.caught(worker) == 0));
}

#[test]
fn one_that_begins_to_lie_is_caught_by_segments_and_its_units_are_computed_again() {
    let mut env = Env::new();
    env.core.set_check_floor(0.2);
    let (first, second) = (env.submit(traced(400, 0.01)), env.submit(traced(200, 0.01)));
    for account in 1..=8 {
        env.worker(account);
    }
    env.work(first, &[None; 8]);
    let mut lies = [None; 8];
    lies[3] = Some((1, 4));
    env.work(second, &lies);
    assert!(0 < env.caught(3));
    env.all_right(second, 200);
    assert!((0..8).filter(|worker| *worker != 3).all(|worker| env.caught(worker) == 0));
}

#[test]
fn a_wrong_state_shown_is_found_out_and_the_unit_is_computed_again() {
    let mut env = Env::new();
    env.core.set_check_floor(1.0);
    let job = env.submit(traced(300, 0.05));
    for account in 1..=6 {
        env.worker(account);
    }
    let mut tampered = 0;
    for _ in 0..500 {
        for worker in 0..6 {
            env.want(worker, 4);
            env.report_traced(worker, job, None);
            if worker == 2 {
                let session = env.workers[2].session.unwrap();
                for Show { ask, unit, fuel, .. } in std::mem::take(&mut env.workers[2].shows) {
                    let from = fuel.map(|fuel| Point { fuel, state: Digest([66; 32]) });
                    let state = from.map(|from| (Digest([8; 32]), 100, from));
                    let shown = Shown { ask, trace: Ok(trace(unit.0, None).encode()), state };
                    env.apply(Event::Shown(session, shown));
                    tampered += 1;
                }
            }
            env.answer(worker, None);
        }
        if env.is_done(job) {
            break;
        }
        env.pass(11_000);
    }
    assert!(env.is_done(job) && 0 < tampered, "{:?}", env.core.why(job, None));
    assert!(0 < env.caught(2) && env.caught(1) == 0);
    env.all_right(job, 300);
}

#[test]
fn those_who_are_asked_and_go_do_not_hold_a_unit_up() {
    let mut env = Env::new();
    let job = env.submit(traced(1, 0.05));
    let workers: Vec<usize> = (1..9).map(|account| env.worker(account)).collect();
    env.lease(0, 1);
    env.lease(1, 1);
    env.report_traced(0, job, None);
    env.report_traced(1, job, Some((4, 1)));
    // Neither shows anything; the coordinator dies meanwhile, and one of them comes back.
    env.pass(3_600_000);
    env.crash();
    for worker in &workers[2..] {
        env.connect(*worker);
    }
    for _ in 0..60 {
        for worker in &workers[2..] {
            env.want(*worker, 1);
            env.report_traced(*worker, job, None);
            env.answer(*worker, None);
        }
        env.pass(3_600_000);
    }
    assert!(env.is_done(job), "{:?}", env.core.why(job, Some(UnitIndex(0))));
    env.all_right(job, 1);
}
