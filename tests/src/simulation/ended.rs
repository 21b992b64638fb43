//! Taking stock at the end of a run.

use crate::simulation::kind::Answer;
use crate::simulation::traces::output;
use crate::simulation::{Ended, World};
use coordinator::core::saved::{Results, read};
use coordinator::core::status::{Cursor, JobState, JobStatus, Told};
use proto::report::Outcome;
use proto::{Digest, WorkerKey};
use std::collections::{BTreeMap, HashMap};

const DAY_MS: f64 = 86_400_000.0;

impl World {
    /// What came of the job, `honest` telling of each worker's last name whether it is.
    pub(super) fn ended(self, honest: &HashMap<WorkerKey, bool>) -> Result<Ended, String> {
        self.core.check_invariants().map_err(|broken| broken.to_string())?;
        let status = self.status()?;
        if status.state != JobState::Done {
            return Err(format!("the job ended as {:?}", status.state));
        }
        let held = self.verdicts()?;
        if held.len() as u64 != status.units {
            return Err(format!("{} of {} units have a verdict", held.len(), status.units));
        }
        let given_up = held.values().filter(|told| matches!(told, Told::GivenUp(_))).count() as u64;
        let wrong = held.iter().filter(|(unit, told)| {
            let right = Outcome::Done(output(**unit, Answer::Right));
            **unit < self.setup.units && matches!(told, Told::Settled(outcome) if *outcome != right)
        });
        let wrong = wrong.count() as u64;
        let workers = self.core.workers(None, usize::MAX);
        let credit: u128 = workers.iter().map(|worker| worker.credit).sum();
        if credit != status.credit {
            return Err(format!("workers hold {credit} credit, {} was granted", status.credit));
        }
        let caught_honest = workers
            .iter()
            .filter(|worker| honest.get(&worker.worker) == Some(&true))
            .map(|worker| worker.caught);
        Ok(Ended {
            units: status.units,
            wrong,
            given_up,
            copies: status.copies,
            checks: workers
                .iter()
                .filter(|worker| worker.referee)
                .map(|worker| worker.reported)
                .sum(),
            segments_fuel: u64::try_from(status.segments_fuel).unwrap_or(u64::MAX),
            withdrawn: status.withdrawn,
            caught: workers.iter().map(|worker| worker.caught).sum(),
            caught_honest: caught_honest.sum(),
            price: self.shared.price,
            days: self.now.monotonic_ms as f64 / DAY_MS,
            crashes: self.crashes,
            restarts: self.restarts,
            fingerprint: Digest::of(format!("{held:?}").as_bytes()).to_string(),
        })
    }

    /// The verdict of each unit that stands.
    fn verdicts(&self) -> Result<BTreeMap<u64, Told>, String> {
        let mut held: BTreeMap<u64, Told> = BTreeMap::new();
        let mut cursor = Cursor::default();
        let mut results = Results::of(&self.store, self.job, None)
            .map_err(|error| error.to_string())?
            .ok_or("the job is not in the store")?;
        loop {
            let page = results.page(&self.store, cursor, None, 4096);
            let page = page.map_err(|error| error.to_string())?;
            if page.cursor == cursor {
                return Ok(held);
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
    }

    fn status(&self) -> Result<JobStatus, String> {
        read::ended_job(&self.store, self.job)
            .map_err(|error| error.to_string())?
            .ok_or_else(|| "the job is not in the store".into())
    }
}
