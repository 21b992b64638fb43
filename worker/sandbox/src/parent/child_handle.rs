//! A unit child as its slot holds it: the process, the way there and back, and the clock of its CPU time.

use crate::parent::pool::Config;
use crate::parent::process::{self, By, Death};
use crate::protocol::frame::{self, Frames};
use crate::protocol::{Key, Order, Reply, ServeOrder, socket};
use crate::unit::Unit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::fs::File;
use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ChildStdout;
use std::time::{Duration, Instant};

/// A child that runs units, ended when it is dropped.
pub(crate) struct Child {
    process: std::process::Child,
    orders: UnixStream,
    stdout: ChildStdout,
    /// Where the system counts its CPU time.
    times: Option<File>,
    frames: Frames,
    /// Number of the batch that was sent last.
    batch: u64,
    /// The child's CPU time when its last unit ended.
    cpu_at_end: Duration,
    /// When that was, or when it got its batch.
    end: Instant,
    /// Its CPU time when it was ended itself.
    cpu_at_death: Option<Duration>,
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// There may be something to do.
    Something,
    /// The child has closed its side.
    End,
}

/// A [`crate::protocol::Request`] that borrows its units, with the same bytes.
#[derive(Serialize)]
enum RequestRef<'a> {
    Run { batch: u64, units: Vec<(Key, &'a Unit)> },
    Interrupt { batch: u64 },
    Met(Result<(), i32>),
}

impl Child {
    pub(crate) fn start(config: &Config) -> io::Result<Self> {
        let (mut process, orders) = process::start(&config.program)?;
        let stdout =
            process.stdout.take().ok_or_else(|| io::Error::other("a child without a pipe"))?;
        let times = process::times(process.id());
        let child = Self {
            process,
            orders,
            stdout,
            times,
            frames: Frames::default(),
            batch: 0,
            cpu_at_end: Duration::ZERO,
            end: Instant::now(),
            cpu_at_death: None,
        };
        let order = ServeOrder {
            priority: config.priority,
            memory: config.slot_memory,
            walls: config.walls,
        };
        child.write(&Order::Serve(order), None)?;
        Ok(child)
    }

    /// The child, if it has not ended.
    pub(crate) fn alive(mut self) -> Option<Self> {
        matches!(self.process.try_wait(), Ok(None)).then_some(self)
    }

    pub(crate) fn send(&mut self, units: Vec<(Key, &Unit)>) -> io::Result<()> {
        self.batch += 1;
        self.end = Instant::now();
        self.write(&RequestRef::Run { batch: self.batch, units }, None)
    }

    pub(crate) fn interrupt(&mut self) -> io::Result<()> {
        self.write(&RequestRef::Interrupt { batch: self.batch }, None)
    }

    /// Says what came of a need, and hands over the file.
    pub(crate) fn meet(&self, met: io::Result<Option<File>>) -> io::Result<()> {
        match met {
            Ok(file) => self.write(&RequestRef::Met(Ok(())), file.as_ref()),
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error());
                self.write(&RequestRef::Met(Err(number)), None)
            }
        }
    }

    fn write(&self, message: &impl Serialize, file: Option<&File>) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, message, &[])?;
        socket::send(&self.orders, &bytes, file.map(AsFd::as_fd))
    }

    /// The next reply that has arrived whole.
    pub(crate) fn reply(&mut self) -> io::Result<Option<(Reply, Vec<u8>)>> {
        self.frames.take()
    }

    /// Waits for the child or the bell.
    pub(crate) fn wait(&mut self, bell: &PipeReader, most: Duration) -> io::Result<Heard> {
        let mut fds = [PollFd::new(&self.stdout, PollFlags::IN), PollFd::new(bell, PollFlags::IN)];
        // One millisecond more, so that a deadline has passed when the wait for it ends.
        let most = Timespec::try_from(most + Duration::from_millis(1)).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds[0].revents().is_empty() {
            return Ok(Heard::Something);
        }
        Ok(if self.frames.fill(&mut self.stdout)? { Heard::Something } else { Heard::End })
    }

    /// Stops the process where it is.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It fails only if the process has ended, which the next wait tells.
            let _ = kill_process(pid, signal);
        }
    }

    /// Notes what the child says of its own CPU time at the end of a unit.
    pub(crate) fn note_end(&mut self, process_cpu: Duration) {
        self.cpu_at_end = process_cpu;
        self.end = Instant::now();
    }

    /// CPU time since the last unit ended, or the time on the wall where the system does not tell of other processes.
    pub(crate) fn cpu_since_last_end(&self) -> Duration {
        match self.cpu_at_death.or_else(|| self.cpu()) {
            Some(now) => now.saturating_sub(self.cpu_at_end),
            None => self.end.elapsed(),
        }
    }

    /// CPU time that it has used.
    fn cpu(&self) -> Option<Duration> {
        self.times.as_ref().and_then(process::cpu_of)
    }

    /// Ends the process and says how it ended, which is its own way if it had one.
    pub(crate) fn end(&mut self) -> Death {
        self.cpu_at_death = self.cpu();
        let _ = self.process.kill();
        match self.process.wait() {
            Ok(status) => Death::of(status),
            Err(error) => Death { text: format!("unknown: {error}"), by: By::System },
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}
