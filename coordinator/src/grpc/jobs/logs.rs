//! What kernels have logged, for researchers: first what is kept, then, for who follows, what comes.

use super::follow::{Gone, send, vanished};
use crate::core::logs::LiveLogs;
use crate::core::record::{LogEnd, LogsRecord, UnitLogRecord};
use crate::grpc::refusal::{Refusal, blocking};
use crate::grpc::{Services, end};
use proto::unit_log::Line;
use proto::{JobId, UnitIndex, WorkerKey, pb};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;
use tonic::Status;

/// Records read at once: with the longest logs, one message.
const PAGE_RECORDS: usize = 32;
/// How often what comes is looked for: sooner than workers send it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Where a follower is.
#[derive(Debug, Default)]
struct Reader {
    /// Of the records.
    position: Option<u64>,
    tick: u64,
    /// By unit whose lines are told while it runs: who says them, and where the next line begins.
    told: HashMap<UnitIndex, (WorkerKey, u64)>,
}

/// Logs of a job's units, or of one; with `follow` until the job has ended.
pub(super) async fn follow(
    shared: &Services,
    job: JobId,
    unit: Option<UnitIndex>,
    follow: bool,
    stream: &Sender<Result<pb::LogsReply, Status>>,
) {
    let mut reader = Reader::default();
    loop {
        match reader.look(shared, job, unit, follow, stream).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(Some(refusal)) => return end(shared, stream, refusal).await,
            Err(None) => return,
        }
        tokio::select! {
            () = stream.closed() => return,
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

impl Reader {
    /// Sends what is there and was not sent; whether more may come.
    async fn look(
        &mut self,
        shared: &Services,
        job: JobId,
        unit: Option<UnitIndex>,
        follow: bool,
        stream: &Sender<Result<pb::LogsReply, Status>>,
    ) -> Result<bool, Option<Refusal>> {
        let tick = self.tick;
        let find = move |core: &crate::core::Core| core.live_logs(job, unit, tick);
        // Asked for before the records: what is kept between the two is found there.
        let live = shared.engine.look(find).await.map_err(|error| Some(error.into()))?;
        let record = self.kept(shared, job, unit, stream).await?;
        if !follow || !live.runs {
            let units_left_out = record.left_out;
            let last = pb::LogsReply { units_left_out, last: true, ..Default::default() };
            send(shared, stream, last).await.map_err(|Gone| None)?;
            return Ok(false);
        }
        self.tick = live.tick;
        for log in self.running(live) {
            let reply = pb::LogsReply { logs: vec![log], ..Default::default() };
            send(shared, stream, reply).await.map_err(|Gone| None)?;
        }
        Ok(true)
    }

    /// Sends the records that were not sent.
    async fn kept(
        &mut self,
        shared: &Services,
        job: JobId,
        unit: Option<UnitIndex>,
        stream: &Sender<Result<pb::LogsReply, Status>>,
    ) -> Result<LogsRecord, Option<Refusal>> {
        loop {
            let (engine, from) = (shared.engine.clone(), self.position);
            let page =
                blocking(move || engine.logs(job, from, PAGE_RECORDS)).await.map_err(Some)?;
            let Some((record, page)) = page else { return Err(Some(vanished(job))) };
            let Some((last, _)) = page.last() else { return Ok(record) };
            self.position = Some(*last);
            let wanted = page.into_iter().map(|(_, record)| record);
            let wanted = wanted.filter(|record| unit.is_none_or(|unit| unit.0 == record.unit));
            let logs: Vec<_> = wanted.map(|record| self.ended(record)).collect();
            if !logs.is_empty() {
                let reply = pb::LogsReply { logs, ..Default::default() };
                send(shared, stream, reply).await.map_err(|Gone| None)?;
            }
        }
    }

    /// A record, without the lines that were told while its unit ran.
    fn ended(&mut self, record: UnitLogRecord) -> pb::UnitLog {
        let UnitLogRecord { unit, worker, end, lines } = record;
        let from = match self.told.remove(&UnitIndex(unit)) {
            Some((who, next)) if who == worker => next,
            _ => 0,
        };
        let phase = match end {
            LogEnd::Done => pb::unit_log::Phase::Done,
            LogEnd::Failed => pb::unit_log::Phase::Failed,
            LogEnd::Returned => pb::unit_log::Phase::Returned,
        };
        message(unit, worker, phase, &lines, from)
    }

    /// The new lines of running units, of one worker each: of several that run the same unit, of the one that spoke first.
    fn running(&mut self, live: LiveLogs) -> Vec<pb::UnitLog> {
        let LiveLogs { logs, held, .. } = live;
        self.told.retain(|unit, (worker, _)| held.contains(&(*unit, *worker)));
        let mut messages = Vec::new();
        for log in logs {
            let (worker, next) = self.told.entry(log.unit).or_insert((log.worker, 0));
            let end = log.lines.last().map_or(0, Line::end);
            if *worker == log.worker && *next < end {
                let phase = pb::unit_log::Phase::Running;
                messages.push(message(log.unit.0, log.worker, phase, &log.lines, *next));
                *next = end;
            }
        }
        messages
    }
}

fn message(
    unit: u64,
    worker: WorkerKey,
    phase: pb::unit_log::Phase,
    lines: &[Line],
    from: u64,
) -> pb::UnitLog {
    let lines = lines.iter().filter(|line| from <= line.at).map(pb::LogLine::from).collect();
    pb::UnitLog { unit, worker_key: worker.0.to_vec().into(), phase: phase.into(), lines }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::logs::LiveLog;

    const A: WorkerKey = WorkerKey([1; 32]);
    const B: WorkerKey = WorkerKey([2; 32]);

    fn lines(count: u64) -> Vec<Line> {
        let line = |n: u64| Line { at: n * 4, len: 4, level: 3, text: n.to_string() };
        (0..count).map(line).collect()
    }

    fn live(logs: &[(WorkerKey, u64)]) -> LiveLogs {
        let log = |&(worker, count): &(WorkerKey, u64)| LiveLog {
            unit: UnitIndex(5),
            worker,
            lines: lines(count),
        };
        LiveLogs {
            tick: 1,
            runs: true,
            logs: logs.iter().map(log).collect(),
            held: logs.iter().map(|(worker, _)| (UnitIndex(5), *worker)).collect(),
        }
    }

    fn texts(log: &pb::UnitLog) -> Vec<&str> {
        log.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn each_line_is_told_once_of_one_worker() {
        let mut reader = Reader::default();
        let first = reader.running(live(&[(A, 2), (B, 1)]));
        assert_eq!(first.len(), 1);
        assert_eq!(texts(&first[0]), ["0", "1"]);
        assert_eq!(texts(&reader.running(live(&[(A, 3), (B, 3)]))[0]), ["2"]);
        assert!(reader.running(live(&[(A, 3), (B, 3)])).is_empty());
        let kept = UnitLogRecord { unit: 5, worker: A, end: LogEnd::Failed, lines: lines(4) };
        let ended = reader.ended(kept.clone());
        assert_eq!((texts(&ended), ended.phase()), (vec!["3"], pb::unit_log::Phase::Failed));
        assert_eq!(texts(&reader.ended(kept)).len(), 4);
    }

    #[test]
    fn another_workers_log_is_told_whole() {
        let mut reader = Reader::default();
        reader.running(live(&[(A, 2)]));
        // A has gone.
        let other = reader.running(live(&[(B, 1)]));
        assert_eq!(texts(&other[0]), ["0"]);
        let kept = UnitLogRecord { unit: 5, worker: A, end: LogEnd::Done, lines: lines(3) };
        assert_eq!(texts(&reader.ended(kept)), ["0", "1", "2"]);
    }
}
