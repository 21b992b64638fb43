//! Between what the two cores say to each other: what the wire does for real programs, without bytes and signatures.

use crate::simulation::Random;
use crate::simulation::traces::States;
use coordinator::core::event::{
    Event, Found, Heartbeat, Return, Segment, Session, Show, Shown, SignedBatch, ToWorker, Want,
};
use coordinator::core::record::Table;
use coordinator::store::Store;
use coordinator::store::memory::MemoryStore;
use proto::WorkerKey;
use proto::id::UnitId;
use proto::job::{Extra, Outline, Stage};
use proto::report::Output;
use proto::{JobId, UnitIndex};
use std::time::Duration;
use worker_core::agent;

/// What a worker is asked to wait at least when there is nothing for it, seconds; in addition up to four times as much. Its
/// wish stands meanwhile, so that nothing is lost by it but events.
const IDLE_S: u64 = 20 * 60;

/// What the coordinator says, for the agent.
pub(super) fn to_agent(
    message: ToWorker,
    store: &MemoryStore,
    random: &mut Random,
) -> Option<agent::Event> {
    Some(match message {
        ToWorker::Job { job } => {
            // A store in memory can always be read, and what is said was saved before.
            let spec = store.get(&Table::Spec.key(job.0)).ok().flatten()?;
            agent::Event::Job { id: job, spec }
        }
        ToWorker::Lease(lease) => {
            let merges = lease.spec.cut_units <= lease.first.0;
            let units = (lease.first.0..).take(if merges { lease.count as usize } else { 0 });
            agent::Event::Leases(vec![agent::Lease {
                id: lease.lease,
                job: lease.job,
                first: lease.first,
                count: lease.count,
                duration: Duration::from_millis(lease.expires_in_ms),
                extras: units.map(|unit| extra(&lease.spec, UnitIndex(unit))).collect(),
            }])
        }
        ToWorker::Cancel { leases, reason } => agent::Event::Cancel { leases, reason },
        ToWorker::Idle { reason, retry_after_ms } => {
            let least = Duration::from_secs(IDLE_S + random.below(4 * IDLE_S));
            let retry_after = Duration::from_millis(retry_after_ms).max(least);
            agent::Event::Idle { reason, retry_after }
        }
        ToWorker::Show(Show { ask, job, unit, fuel, spec, .. }) => {
            errand(ask, job, unit, &spec, agent::Wish::Show { fuel })
        }
        ToWorker::Segment(Segment {
            ask,
            job,
            unit,
            spacing,
            from,
            state,
            expires_in_ms,
            spec,
            ..
        }) => {
            let from = from.zip(state);
            let from = from.map(|(point, (blob, len))| agent::Start { point, blob, len });
            let expires_in = Duration::from_millis(expires_in_ms);
            errand(ask, job, unit, &spec, agent::Wish::Segment { spacing, from, expires_in })
        }
        ToWorker::Advice(text) => agent::Event::Advice(text),
        // Only one stream of each worker is ever open.
        ToWorker::Replaced => return None,
    })
}

fn errand(
    number: u64,
    job: JobId,
    unit: UnitIndex,
    spec: &Outline,
    wish: agent::Wish,
) -> agent::Event {
    let extra = extra(spec, unit);
    agent::Event::Errand(agent::Request { number, unit: UnitId { job, unit }, extra, wish })
}

/// What a unit's lease brings. What a merge puts out does not depend on what it merges here.
fn extra(spec: &Outline, unit: UnitIndex) -> Extra {
    let Some(Stage::Merge { count, .. }) = spec.stage(unit) else { return Extra::default() };
    let inputs = (0..count).map(|_| Output::Inline(Vec::new())).collect();
    Extra { line: None, inputs }
}

/// What a worker says: reports need a look at what is stored when they come.
#[derive(Debug)]
pub(super) enum Word {
    Event(Event),
    Reports(SignedBatch),
}

/// What a worker says, for the coordinator's core; `states` knows what is in the blobs that it shows.
pub(super) fn to_coordinator(
    message: agent::Message,
    worker: WorkerKey,
    session: Session,
    states: &States,
) -> Word {
    let event = match message {
        agent::Message::Want { units, seconds, fuel_per_second, memory_bytes, .. } => {
            Event::Want(session, Want { units, seconds, fuel_per_second, memory_bytes })
        }
        agent::Message::Reports(batch) => {
            debug_assert_eq!(batch.worker, worker, "a batch names its maker");
            let signed = SignedBatch {
                root: batch.root(),
                payload: batch.encode().into(),
                batch,
                signature: [0; 64],
            };
            return Word::Reports(signed);
        }
        agent::Message::Heartbeat { leases, paused, .. } => {
            Event::Heartbeat(session, Heartbeat { leases, paused })
        }
        agent::Message::Returns(returns) => {
            let returns = returns.into_iter().map(|returned| Return {
                lease: returned.lease,
                unit: returned.unit,
                reason: returned.reason,
                failure: returned.failure,
            });
            Event::Returned(session, returns.collect())
        }
        agent::Message::Shown { show, shown } => {
            let (trace, state) = match shown {
                Ok(shown) => (Ok(shown.trace.encode()), shown.state),
                Err(reason) => (Err(reason), None),
            };
            let state =
                state.and_then(|file| Some((file.digest, file.len, states.point(&file.digest)?)));
            Event::Shown(session, Shown { ask: show, trace, state })
        }
        agent::Message::Segment { segment, found } => {
            let found = found.map(|statement| (statement, [0; 64]));
            Event::Found(session, Found { ask: segment, found })
        }
        agent::Message::Goodbye { leaving } => Event::Goodbye { session, leaving },
    };
    Word::Event(event)
}
