//! What the log adds up to, job by job: every unit has at most one standing verdict, and only what stands is withdrawn.

use proto::log::{End, Entry, Event, Span};
use proto::{Digest, JobId};
use roaring::RoaringTreemap;
use std::collections::BTreeMap;

/// Jobs as the log tells of them.
#[derive(Debug, Default)]
pub(super) struct JobSums {
    jobs: BTreeMap<JobId, Account>,
}

/// One job.
#[derive(Debug, Default)]
pub(super) struct Account {
    spec: Option<Digest>,
    /// Entries with verdicts so far.
    pub(super) verdicts: u64,
    /// Units with a standing verdict.
    pub(super) settled: RoaringTreemap,
    /// Of these, failed or given up.
    pub(super) failed: RoaringTreemap,
    pub(super) withdrawn: u64,
    pub(super) end: Option<JobEnd>,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobEnd {
    Done,
    Cancelled,
}

impl JobSums {
    /// Takes in the next entry; what does not fit is the error.
    pub(super) fn note(&mut self, entry: &Entry) -> Result<(), String> {
        let id = entry.job;
        if let Event::Submitted { .. } = entry.event {
            if self.jobs.last_key_value().is_some_and(|(last, _)| id <= *last) {
                return Err(format!("{id} is submitted after a later job, or twice"));
            }
            self.jobs.insert(id, Account { spec: Some(entry.spec), ..Account::default() });
            return Ok(());
        }
        let job = self.jobs.get_mut(&id).ok_or_else(|| format!("{id} was never submitted"))?;
        if job.spec != Some(entry.spec) {
            return Err(format!("{id} has another specification than when it was submitted"));
        }
        if job.end.is_some() {
            return Err(format!("{id} had ended before"));
        }
        match &entry.event {
            Event::Submitted { .. } => {}
            Event::Done => job.end = Some(JobEnd::Done),
            Event::Cancelled => job.end = Some(JobEnd::Cancelled),
            Event::Verdicts { position, spans, .. } => {
                if *position != job.verdicts {
                    return Err(format!(
                        "it is number {position} of {id}, number {} is due",
                        job.verdicts
                    ));
                }
                job.verdicts += 1;
                for span in spans {
                    job.span(span).map_err(|why| format!("{id}: {why}"))?;
                }
            }
        }
        Ok(())
    }

    /// What the log says of a job.
    pub(super) fn job(&self, id: JobId) -> Option<&Account> {
        self.jobs.get(&id)
    }
}

impl Account {
    fn span(&mut self, span: &Span) -> Result<(), String> {
        let end = span.first + u64::from(span.count);
        let units = span.first..end;
        let count = u64::from(span.count);
        match &span.end {
            End::Withdrawn(_) => {
                if self.settled.range_cardinality(units.clone()) != count {
                    return Err(format!(
                        "units from u{} to u{} are withdrawn and have no verdict",
                        span.first,
                        end - 1
                    ));
                }
                self.settled.remove_range(units.clone());
                self.failed.remove_range(units);
                self.withdrawn += count;
            }
            ended => {
                if self.settled.insert_range(units.clone()) != count {
                    return Err(format!(
                        "of the units from u{} to u{} one has two verdicts",
                        span.first,
                        end - 1
                    ));
                }
                if !matches!(ended, End::Done(_)) {
                    self.failed.insert_range(units);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::ProjectKey;

    fn entry(job: u64, event: Event) -> Entry {
        Entry::new(ProjectKey([1; 32]), 1, JobId(job), Digest([2; 32]), event)
    }

    fn submitted(job: u64) -> Entry {
        entry(job, Event::Submitted { account: "ada".into(), submission: [0; 16] })
    }

    fn verdicts(position: u64, spans: &[(u64, u32, bool)]) -> Entry {
        let span = |&(first, count, withdrawn): &(u64, u32, bool)| {
            let reason = String::new();
            let end = if withdrawn { End::Withdrawn(reason) } else { End::GivenUp(reason) };
            Span { first, count, end, figure: 0, fuel: 0 }
        };
        let spans = spans.iter().map(span).collect();
        entry(1, Event::Verdicts { position, sources: vec![], spans })
    }

    fn check(entries: &[Entry], expected: Result<(), &str>) {
        let mut sums = JobSums::default();
        let found = entries.iter().try_for_each(|entry| sums.note(entry));
        match (found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_log_must_make_sense() {
        let first = verdicts(0, &[(0, 10, false), (20, 1, false)]);
        check(&[submitted(1), first.clone(), entry(1, Event::Done), submitted(2)], Ok(()));
        check(std::slice::from_ref(&first), Err("never submitted"));
        check(&[submitted(2), submitted(2)], Err("twice"));
        check(&[submitted(1), entry(1, Event::Done), first.clone()], Err("ended before"));
        check(&[submitted(1), first.clone(), first.clone()], Err("number 1 is due"));
        let again = verdicts(1, &[(9, 3, false)]);
        check(&[submitted(1), first.clone(), again], Err("two verdicts"));
        let withdrawn = verdicts(1, &[(3, 4, true), (4, 1, false)]);
        check(&[submitted(1), first.clone(), withdrawn], Ok(()));
        let twice = verdicts(1, &[(3, 4, true), (4, 1, true)]);
        check(&[submitted(1), first.clone(), twice], Err("have no verdict"));
        let mut other = first;
        other.spec = Digest([9; 32]);
        check(&[submitted(1), other], Err("another specification"));
    }
}
