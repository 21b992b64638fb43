//! `starling logs`: what kernels have logged, as the workers tell it.

use super::Context;
use super::watch::is_lost;
use crate::amount;
use crate::args::{Logs, What};
use crate::client::Client;
use crate::error::Error;
use crate::output::Output;
use program::stdout;
use proto::unit_log::{Line, gaps};
use proto::{JobId, UnitIndex, WorkerKey, pb};
use serde::Serialize;
use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// The file beside fetched results.
pub(super) const FILE: &str = "logs.jsonl";
/// What is said of all lines.
const UNVERIFIED: &str =
    "what kernels say, each unit's lines as one worker tells them: nobody has verified them";
/// How long the coordinator may be away before following is given up.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long who asks why waits for lines: the reasons are there already.
const LAST_MAX: Duration = Duration::from_secs(20);
/// Pause before the connection is tried again.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn run(args: Logs, context: &Context) -> Result<(), Error> {
    let what = args.of.get()?;
    let client = context.connect().await?;
    let mut screen = Screen { output: context.output, unit: None, lines: 0 };
    context.output.note(UNVERIFIED);
    let left_out = tokio::select! {
        left_out = each(&client, what, args.follow, |log| screen.show(log)) => left_out?,
        // It may be long until the next line, and nobody reads it.
        () = stdout::closed() => return Err(Error::Closed),
    };
    if screen.lines == 0 {
        context.output.note("no lines: the kernels have logged nothing, or none of it has come");
    }
    if 0 < left_out {
        context.output.note(&missing(left_out));
    }
    Ok(())
}

/// Of units of which nothing is kept.
fn missing(left_out: u64) -> String {
    format!("the lines of {left_out} more units were not kept: the job's logs are full")
}

/// A line as programs see it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shown {
    job: String,
    unit: u64,
    worker: String,
    phase: &'static str,
    level: &'static str,
    /// Bytes that the unit had logged before.
    at: u64,
    /// Bytes between the line before and this one that were left out.
    #[serde(skip_serializing_if = "is_nothing")]
    left_out: u64,
    text: String,
}

fn is_nothing(bytes: &u64) -> bool {
    *bytes == 0
}

/// What one worker has logged of a unit, since the last time.
#[derive(Debug)]
pub(super) struct Log {
    unit: UnitIndex,
    worker: Option<WorkerKey>,
    pub(super) phase: pb::unit_log::Phase,
    pub(super) lines: Vec<Shown>,
    /// Where the next line begins.
    end: u64,
}

impl Log {
    /// The lines of a message from `from` on.
    fn new(job: JobId, log: pb::UnitLog, from: u64) -> Self {
        let (unit, phase) = (UnitIndex(log.unit), log.phase());
        let worker = WorkerKey::try_from(log.worker_key.as_ref()).ok();
        let lines: Vec<Line> = log.lines.into_iter().map(Line::from).collect();
        let end = lines.last().map_or(from, Line::end);
        let new = gaps(&lines, from).filter(|(_, line)| from <= line.at);
        let lines = new.map(|(left_out, line)| Shown {
            job: job.to_string(),
            unit: unit.0,
            worker: worker.map(|worker| worker.to_string()).unwrap_or_default(),
            phase: name(phase),
            level: level(line.level),
            at: line.at,
            left_out,
            text: line.text.clone(),
        });
        let lines = lines.collect();
        Self { unit, worker, phase, lines, end }
    }
}

fn name(phase: pb::unit_log::Phase) -> &'static str {
    match phase {
        pb::unit_log::Phase::Running => "running",
        pb::unit_log::Phase::Done => "done",
        pb::unit_log::Phase::Failed => "failed",
        pb::unit_log::Phase::Returned => "returned",
        pb::unit_log::Phase::Unspecified => "unknown",
    }
}

fn level(level: u8) -> &'static str {
    match level {
        1 => "error",
        2 => "warning",
        3 => "info",
        _ => "debug",
    }
}

impl Shown {
    /// As people see it.
    pub(super) fn line(&self) -> String {
        let gap = match self.left_out {
            0 => String::new(),
            bytes => format!("  [{} left out]\n", amount::size(bytes)),
        };
        format!("{gap}  {:<8}{}", self.level, self.text)
    }
}

/// Where lines are shown.
struct Screen {
    output: Output,
    /// Whose lines were shown last.
    unit: Option<(UnitIndex, Option<WorkerKey>)>,
    lines: u64,
}

impl Screen {
    fn show(&mut self, log: &Log) -> Result<(), Error> {
        self.lines += log.lines.len() as u64;
        let head = Some((log.unit, log.worker));
        if self.unit != head && !log.lines.is_empty() {
            self.unit = head;
            let worker = log.lines[0].worker.get(..8).unwrap_or("unknown");
            self.output.say(&format!("{}, as worker {worker} tells it:", log.unit))?;
        }
        for line in &log.lines {
            self.output.answer(line, || line.line())?;
        }
        let end = match log.phase {
            pb::unit_log::Phase::Failed => "  (the unit failed)",
            pb::unit_log::Phase::Returned => "  (this worker could not run the unit: another will)",
            _ => return Ok(()),
        };
        if self.unit == head {
            self.output.say(end)?;
        }
        Ok(())
    }
}

/// Hands what comes to `each`, through lost connections; how many units are left out.
pub(super) async fn each(
    client: &Client,
    what: What,
    follow: bool,
    mut each: impl FnMut(&Log) -> Result<(), Error>,
) -> Result<u64, Error> {
    let (job, unit) = match what {
        What::Job(job) => (job, None),
        What::Unit(id) => (id.job, Some(id.unit.0)),
    };
    let request = pb::LogsRequest { job_id: job.0, unit, follow };
    let (mut reader, mut heard) = (Reader::new(job), Instant::now());
    loop {
        let lost = match client.jobs().logs(request).await {
            Ok(stream) => {
                reader.again();
                let mut stream = stream.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(reply)) => {
                            heard = Instant::now();
                            for log in reply.logs {
                                if let Some(log) = reader.fresh(log) {
                                    each(&log)?;
                                }
                            }
                            if reply.last {
                                return Ok(reply.units_left_out);
                            }
                        }
                        Ok(None) => break Status::unavailable("the coordinator ended the stream"),
                        Err(status) => break status,
                    }
                }
            }
            Err(status) => status,
        };
        if lost.code() == Code::Unimplemented {
            let old =
                "the coordinator is of an older release, which keeps nothing of what kernels log";
            return Err(Error::Failed(old.into()));
        }
        if !is_lost(&lost) || PATIENCE < heard.elapsed() {
            return Err(client.error("tell what the kernels have logged", &lost));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What has come, so that a new stream tells nothing twice.
#[derive(Debug)]
struct Reader {
    job: JobId,
    /// Logs of units that had ended, over all streams and on this one.
    ended: u64,
    ended_here: u64,
    /// Where the next line begins of units that run.
    told: HashMap<(u64, Vec<u8>), u64>,
}

impl Reader {
    fn new(job: JobId) -> Self {
        Self { job, ended: 0, ended_here: 0, told: HashMap::new() }
    }

    /// Another stream begins, with all that is kept.
    fn again(&mut self) {
        self.ended_here = 0;
    }

    /// What is new of a log.
    fn fresh(&mut self, log: pb::UnitLog) -> Option<Log> {
        let key = (log.unit, log.worker_key.to_vec());
        if log.phase() == pb::unit_log::Phase::Running {
            let from = self.told.get(&key).copied().unwrap_or(0);
            let log = Log::new(self.job, log, from);
            self.told.insert(key, log.end);
            return Some(log);
        }
        self.ended_here += 1;
        if self.ended_here <= self.ended {
            return None;
        }
        self.ended = self.ended_here;
        let from = self.told.remove(&key).unwrap_or(0);
        Some(Log::new(self.job, log, from))
    }
}

/// Writes what kernels have logged into a file of a folder; how many lines there are.
pub(super) async fn save(client: &Client, job: JobId, folder: &Path) -> Result<u64, Error> {
    let (path, aside) = (folder.join(FILE), folder.join(format!(".{FILE}.new")));
    let mut options = program::file::no_link();
    let file = options.write(true).create(true).truncate(true).open(&aside);
    let file = file.map_err(Error::file("write", &aside))?;
    let (mut file, mut lines) = (BufWriter::new(file), 0);
    let came = each(client, What::Job(job), false, |log| {
        for line in &log.lines {
            lines += 1;
            let text = serde_json::to_string(line).unwrap_or_default();
            writeln!(file, "{text}").map_err(Error::file("write", &aside))?;
        }
        Ok(())
    });
    let came = came.await;
    file.flush().map_err(Error::file("write", &aside))?;
    if 0 < lines && came.is_ok() {
        std::fs::rename(&aside, &path).map_err(Error::file("write", &path))?;
    } else {
        std::fs::remove_file(&aside).map_err(Error::file("remove", &aside))?;
    }
    came.map(|_| lines)
}

/// The last lines of a unit that failed or could not be run; none when there are none. Whoever asks why is told without
/// them too.
pub(super) async fn last(client: &Client, what: What, lines_max: usize) -> Vec<Shown> {
    use pb::unit_log::Phase;
    let mut found = Vec::new();
    let came = each(client, what, false, |log| {
        if matches!(log.phase, Phase::Failed | Phase::Returned) && !log.lines.is_empty() {
            let first = log.lines.len().saturating_sub(lines_max);
            found = log.lines[first..].to_vec();
        }
        Ok(())
    });
    match tokio::time::timeout(LAST_MAX, came).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!("no lines came: {}", error.chain()),
        Err(_) => tracing::debug!("no lines came in time"),
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use pb::unit_log::Phase;

    fn log(phase: Phase, lines: std::ops::Range<u64>) -> pb::UnitLog {
        let line =
            |at: u64| pb::LogLine { at: at * 10, len: 10, level: 1, text: format!("line {at}") };
        pb::UnitLog {
            unit: 5,
            worker_key: vec![1; 32].into(),
            phase: phase.into(),
            lines: lines.map(line).collect(),
        }
    }

    fn texts(log: Option<Log>) -> Vec<String> {
        log.map(|log| log.lines.into_iter().map(|line| line.text).collect()).unwrap_or_default()
    }

    #[test]
    fn a_new_stream_tells_nothing_twice() {
        let mut reader = Reader::new(JobId(1));
        assert_eq!(texts(reader.fresh(log(Phase::Done, 0..1))), ["line 0"]);
        assert_eq!(texts(reader.fresh(log(Phase::Running, 0..2))), ["line 0", "line 1"]);
        reader.again();
        assert!(reader.fresh(log(Phase::Done, 0..1)).is_none());
        assert_eq!(texts(reader.fresh(log(Phase::Running, 0..3))), ["line 2"]);
        assert_eq!(texts(reader.fresh(log(Phase::Failed, 0..4))), ["line 3"]);
        assert_eq!(texts(reader.fresh(log(Phase::Returned, 0..1))), ["line 0"]);
    }

    #[test]
    fn gaps_are_told_and_harm_is_not() {
        let mut gap = log(Phase::Failed, 3..5);
        gap.lines[1].text = "\x1b[31m\u{202e}red".into();
        let log = Log::new(JobId(1), gap, 0);
        assert_eq!(log.lines[0].left_out, 30);
        assert!(log.lines[0].line().contains("left out]\n  error   line 3"));
        assert_eq!(log.lines[1].line(), "  error    [31m red");
    }
}
