//! Standard output, of which nothing is lost without a word.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind, Write};
use std::time::Duration;
use tokio::time::sleep;

/// How often a reader is looked for while nothing is written: often enough that a program that only waits ends soon after
/// its reader.
const LOOK: Duration = Duration::from_millis(200);

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Whoever read it has gone, and wants no more: no reason to complain.
    #[error("nobody reads the standard output any more")]
    Closed,
    /// A full disk, or the like.
    #[error("could not write to standard output: {0}")]
    Failed(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

/// Writes all of it, as far as the system takes it.
///
/// # Errors
/// [`Trouble`]: a part of it may have been written.
pub fn write(bytes: &[u8]) -> Result<(), Trouble> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// What came of text that another has written to standard output, when that is flushed.
///
/// # Errors
/// As [`write()`].
pub fn written(result: io::Result<()>) -> Result<(), Trouble> {
    result?;
    Ok(io::stdout().lock().flush()?)
}

/// Writes a line.
///
/// # Errors
/// As [`write()`].
pub fn line(text: &str) -> Result<(), Trouble> {
    write(format!("{text}\n").as_bytes())
}

/// Whether standard output is a pipe that nobody reads any more.
#[must_use]
pub fn is_closed() -> bool {
    let out = io::stdout();
    let mut wanted = [PollFd::new(&out, PollFlags::empty())];
    let looked = poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    looked.is_ok() && wanted[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Ends when nobody reads standard output any more.
pub async fn closed() {
    while !is_closed() {
        sleep(LOOK).await;
    }
}
