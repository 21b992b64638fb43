//! `starling watch`: a job's progress until it ends, through lost connections.

use super::Context;
use super::view::{View, details, has_ended, line};
use crate::client::{Client, is_passing};
use crate::error::Error;
use crate::output::Output;
use indicatif::ProgressBar;
use program::stdout;
use proto::{JobId, pb};
use std::time::{Duration, Instant};

/// How long the coordinator may be away before the watch is given up: a restart takes seconds, a repair minutes.
const PATIENCE: Duration = Duration::from_secs(600);
/// A stream that was open for longer was open to a coordinator that was there.
pub(super) const LASTING: Duration = Duration::from_secs(10);
/// Pause before the connection is tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// How often a line is written where no bar can be drawn.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

pub(super) async fn run(job: JobId, context: &Context) -> Result<(), Error> {
    let client = context.connect().await?;
    end(&follow(&client, job, context.output).await?)
}

/// Shows the job until it has ended, and how it ended.
pub(super) async fn follow(
    client: &Client,
    job: JobId,
    output: Output,
) -> Result<pb::JobStatus, Error> {
    let mut screen = Screen::new(output);
    let status = tokio::select! {
        status = until_end(client, job, |status| screen.show(status)) => status?,
        // It may be long until the next line, and nobody reads it.
        () = stdout::closed() => return Err(Error::Closed),
    };
    screen.bar.finish_and_clear();
    if !output.is_json() {
        output.say(&line(&status))?;
    }
    Ok(status)
}

/// Hands each status to `each` until the job has ended.
pub(super) async fn until_end(
    client: &Client,
    job: JobId,
    mut each: impl FnMut(&pb::JobStatus) -> Result<(), Error>,
) -> Result<pb::JobStatus, Error> {
    let mut heard = Instant::now();
    loop {
        let lost = match client.jobs().watch(pb::JobRequest { job_id: job.0 }).await {
            Ok(stream) => {
                let (mut stream, opened) = (stream.into_inner(), Instant::now());
                let lost = loop {
                    match stream.message().await {
                        Ok(Some(status)) => {
                            heard = Instant::now();
                            each(&status)?;
                            if has_ended(&status) {
                                return Ok(status);
                            }
                        }
                        Ok(None) => break None,
                        Err(status) => break Some(status),
                    }
                };
                if LASTING < opened.elapsed() {
                    // It was there until now, though it may have had nothing to say for days.
                    heard = Instant::now();
                }
                lost
            }
            Err(status) => Some(status),
        };
        if let Some(status) = lost
            && (!is_lost(&status) || PATIENCE < heard.elapsed())
        {
            return Err(client.error("show the job", &status));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a stream broke because the connection or the coordinator went away: an answer has no cause on this side.
pub(super) fn is_lost(status: &tonic::Status) -> bool {
    is_passing(status) || std::error::Error::source(status).is_some()
}

/// An error unless each unit has a result.
pub(super) fn end(status: &pb::JobStatus) -> Result<(), Error> {
    let job = JobId(status.job_id);
    match (status.state(), status.failed) {
        (pb::job_status::State::Done, 0) => Ok(()),
        (pb::job_status::State::Done, failed) => Err(Error::NotWhole(format!(
            "{failed} units of {job} failed: starling why {job} tells why"
        ))),
        _ => Err(Error::NotWhole(format!(
            "{job} was cancelled with {} of {} units settled",
            status.settled, status.units
        ))),
    }
}

/// Where the progress is shown: a bar, lines, or JSON.
struct Screen {
    output: Output,
    bar: ProgressBar,
    /// When a line was written last, with how many units settled, and whether with what the job waits for.
    written: Option<(Instant, u64, bool)>,
}

impl Screen {
    fn new(output: Output) -> Self {
        Self {
            output,
            bar: output.bar(0, "[{bar:30}] {pos}/{len} units, {elapsed}, {msg}"),
            written: None,
        }
    }

    fn show(&mut self, status: &pb::JobStatus) -> Result<(), Error> {
        if self.output.is_json() {
            return self.output.answer(&View::from(status), String::new);
        }
        if self.output.is_live() {
            self.bar.set_length(status.units);
            self.bar.set_position(status.settled);
            self.bar.set_message(details(status));
            return Ok(());
        }
        let due = self.written.as_ref().is_none_or(|(at, settled, waits)| {
            let moved = *settled != status.settled || *waits == status.waiting.is_empty();
            moved && LINE_INTERVAL <= at.elapsed()
        });
        if due && !has_ended(status) {
            let waits = !status.waiting.is_empty();
            self.written = Some((Instant::now(), status.settled, waits));
            self.output.say(&line(status))?;
        }
        Ok(())
    }
}
