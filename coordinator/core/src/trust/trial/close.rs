//! A trial ends: who was wrong loses its say and its standing, what proves it is kept, and the unit is judged anew.

use super::hearing::Hearing;
use super::{Stage, Trial};
use crate::Core;
use crate::event::Effects;
use crate::job::Voter;
use crate::queue::Run;
use crate::record::{EvidenceRecord, HeardRecord, Place, Table};
use crate::time::Now;
use crate::trust::{self, Detection, Fault};
use crate::verdict::Vote;
use proto::Digest;
use proto::trace::Claim;

impl Core {
    /// Forgets a trial whose unit has its verdict, or whose job has ended.
    pub(super) fn drop_trial(&mut self, trial: &Trial, effects: &mut Effects) {
        for ask in &trial.asks {
            self.forget_ask(ask.number);
        }
        if let Stage::Segment(hearing) = &trial.stage {
            effects.forgotten.extend(hearing.state.map(|(digest, _)| digest));
        }
    }

    /// Nobody could tell: a check is made by computing the whole unit again, a dispute is left to votes.
    pub(super) fn close_undecided(&mut self, trial: Trial, effects: &mut Effects) {
        self.drop_trial(&trial, effects);
        let Some(known) =
            self.jobs.get_mut(&trial.job).and_then(|job| job.known.get_mut(&trial.unit))
        else {
            return;
        };
        known.trial = None;
        if trial.opinions.len() < 2 {
            (known.looked, known.checked) = (true, true);
        } else {
            known.votes_only = true;
        }
        self.judge_after_trial(&trial);
    }

    /// The segment ends like this: whoever says otherwise is wrong.
    pub(super) fn close_decided(
        &mut self,
        now: Now,
        trial: Trial,
        truth: Claim,
        effects: &mut Effects,
    ) {
        for ask in &trial.asks {
            self.forget_ask(ask.number);
        }
        let Stage::Segment(hearing) = &trial.stage else { return };
        let Some(job) = self.jobs.get_mut(&trial.job) else { return };
        let class = trust::class(job, trial.unit);
        let Some(known) = job.known.get_mut(&trial.unit) else { return };
        (known.trial, known.looked) = (None, true);
        let wrong: Vec<Digest> = (trial.opinions.iter().zip(&hearing.claims))
            .filter(|(_, claim)| **claim != truth)
            .map(|(opinion, _)| opinion.statement)
            .collect();
        // Two that say the same here differ in what no segment shows: votes are left.
        known.votes_only |= wrong.is_empty() && 1 < trial.opinions.len();
        let refuted: Vec<Vote> =
            known.votes.extract_if(.., |vote| wrong.contains(&vote.statement)).collect();
        known.refuted.extend(
            refuted.iter().map(|vote| Voter { account: vote.account, network: vote.network }),
        );
        let parts = part_of(hearing, truth, &trial);
        let ran = (hearing.heard.len() as u64, fuel_of(hearing, truth));
        job.record.segments += ran.0;
        job.record.segments_fuel += u128::from(ran.0) * u128::from(ran.1);
        let right: Vec<u32> = known
            .votes
            .iter()
            .filter(|vote| opinions_hold(&trial, vote))
            .map(|vote| vote.place.worker)
            .collect();
        self.dirty.jobs.insert(trial.job);
        for worker in right {
            let record = &self.workers[worker as usize].record;
            self.standings.pass_part(worker, record.account, record.network, class, parts);
        }
        let shared = shared_by_accounts(&refuted);
        let (job, unit) = (trial.job, trial.unit);
        for vote in &refuted {
            let worker = vote.place.worker;
            self.worker_mut(worker).record.disagreed += 1;
            self.strike_out(vote.place);
            self.close_report(worker, vote.place.sequence);
            let league = shared.contains(&vote.statement);
            let fault =
                if league { Fault::Shared { job, unit } } else { Fault::SoleReports { job, unit } };
            self.caught.push(Detection { worker, class, fault });
        }
        let liars = hearing.heard.iter().filter(|heard| heard.statement.found != truth);
        let liars: Vec<u32> = liars.map(|heard| heard.worker).collect();
        for worker in &liars {
            let fault = Fault::SoleReports { job, unit };
            self.caught.push(Detection { worker: *worker, class, fault });
        }
        let proven = !refuted.is_empty() || !liars.is_empty();
        if proven {
            self.keep_evidence(now, &trial, hearing, &refuted, truth);
        } else {
            effects.forgotten.extend(hearing.state.map(|(digest, _)| digest));
        }
        self.judge_after_trial(&trial);
    }

    /// Keeps what anybody needs to convince himself: a record for each statement that was proved wrong, or one that accuses
    /// only those who ran the segment.
    fn keep_evidence(
        &mut self,
        now: Now,
        trial: &Trial,
        hearing: &Hearing,
        refuted: &[Vote],
        truth: Claim,
    ) {
        let Some(job) = self.jobs.get_mut(&trial.job) else { return };
        let heard: Vec<HeardRecord> = (hearing.heard.iter())
            .map(|heard| HeardRecord {
                worker: heard.worker,
                statement: heard.statement.encode(),
                signature: heard.signature.to_vec(),
            })
            .collect();
        let accused = |statement: Digest| -> Vec<Place> {
            let saying = refuted.iter().filter(|vote| vote.statement == statement);
            saying.map(|vote| vote.place).collect()
        };
        let proved: Vec<(Vec<Place>, Option<Vec<u8>>)> = (trial.opinions.iter())
            .map(|opinion| {
                let trace = opinion.trace.as_ref().map(proto::trace::Trace::encode);
                (accused(opinion.statement), trace)
            })
            .filter(|(accused, _)| !accused.is_empty())
            .collect();
        let proved = if proved.is_empty() { vec![(Vec::new(), None)] } else { proved };
        for (accused, trace) in proved {
            let record = EvidenceRecord {
                unit: trial.unit,
                at_ms: now.wall_ms,
                accused,
                trace,
                spacing: hearing.spacing,
                points: hearing.points as u64,
                from: hearing.from,
                state: hearing.state,
                truth,
                heard: heard.clone(),
            };
            let number = job.record.next_evidence;
            job.record.next_evidence += 1;
            self.dirty.put(Table::Evidence.key2(trial.job.0, number), &record);
        }
    }

    /// What remains of a unit is judged; it is lent to others if that is not enough.
    fn judge_after_trial(&mut self, trial: &Trial) {
        let (id, unit) = (trial.job, trial.unit);
        self.judge(id, unit);
        if 0 < self.missing(id, unit) {
            self.put_back(id, None, Run::new(unit, 1));
        }
    }
}

fn opinions_hold(trial: &Trial, vote: &Vote) -> bool {
    trial.opinions.iter().any(|opinion| opinion.statement == vote.statement)
}

/// Statements that more than one account makes: chance does not make two machines wrong alike.
fn shared_by_accounts(refuted: &[Vote]) -> Vec<Digest> {
    let of = |vote: &Vote| refuted.iter().filter(|other| other.statement == vote.statement).count();
    refuted.iter().filter(|vote| 1 < of(vote)).map(|vote| vote.statement).collect()
}

/// Fuel of a segment that ends like this.
fn fuel_of(hearing: &Hearing, truth: Claim) -> u64 {
    let end = match truth {
        Claim::Point(point) => point.fuel,
        Claim::End { fuel, .. } => fuel,
    };
    end.saturating_sub(hearing.start())
}

/// How much of the unit was run again, in parts of [`trust::standings::PARTS`].
fn part_of(hearing: &Hearing, truth: Claim, trial: &Trial) -> u32 {
    let whole = match trial.opinions.first().map(|opinion| opinion.end) {
        Some(Claim::End { fuel, .. }) => fuel.max(1),
        _ => return 0,
    };
    let parts = u128::from(fuel_of(hearing, truth)) * u128::from(trust::standings::PARTS)
        / u128::from(whole);
    u32::try_from(parts).unwrap_or(trust::standings::PARTS).min(trust::standings::PARTS)
}
