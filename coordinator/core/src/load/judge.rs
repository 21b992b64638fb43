//! Verdicts on what was saved as open.

use crate::Core;
use crate::event::Effects;
use crate::queue::Run;
use crate::record::Place;
use crate::time::Now;
use crate::verdict::{self, Vote};
use proto::{Digest, JobId};

impl Core {
    /// Judges the open units of jobs that ask for confidence: what was known of workers may have grown since they
    /// reported. One that has all it needs and is computed all the same is being checked.
    pub(super) fn judge_loaded(&mut self, now: Now) {
        let jobs: Vec<JobId> =
            self.jobs.values().filter(|job| job.estimates()).map(|job| job.id).collect();
        for id in jobs {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let mut units: Vec<(Option<Place>, u64)> = Vec::new();
            let patient = job.patient();
            for (&unit, known) in &mut job.known {
                known.patient = patient;
                note_learned(&mut known.votes);
                known.checked = !known.holders.is_empty() && verdict::alone(&known.votes).is_some();
                units.push((known.votes.first().map(|vote| vote.place), unit));
            }
            units.sort_unstable();
            for (_, unit) in units {
                self.judge(id, unit);
                if 0 < self.missing(id, unit) {
                    self.put_back(id, None, Run::new(unit, 1));
                }
            }
            self.dirty.jobs.insert(id);
        }
        self.judge_copies();
        // Nobody is connected who could be told anything.
        self.judge_caught(now, &mut Effects::default());
        self.close_escrow();
    }

    /// Judges the open units of all other jobs: a coordinator that was built up again from its workers may have found the
    /// reports of a verdict, and not the verdict.
    fn judge_copies(&mut self) {
        let mut open: Vec<(Place, JobId, u64)> = Vec::new();
        for job in self.jobs.values().filter(|job| !job.estimates()) {
            for (&unit, known) in &job.known {
                open.extend(known.votes.first().map(|vote| (vote.place, job.id, unit)));
            }
        }
        open.sort_unstable();
        for (_, id, unit) in open {
            self.judge(id, unit);
        }
    }
}

/// Those who agree have that on their records since the later one reported.
fn note_learned(votes: &mut [Vote]) {
    let statements: Vec<Digest> = votes.iter().map(|vote| vote.statement).collect();
    for vote in votes {
        let same = statements.iter().filter(|statement| **statement == vote.statement);
        vote.learned = 1 < same.count();
    }
}
