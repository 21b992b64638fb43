//! The one thread on which specifications are read that are submitted: a large one takes ten times its bytes for a moment, and
//! what a thread has once taken from the system is kept for that thread.

use crate::engine::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// The thread, which ends with the last of these.
#[derive(Clone, Debug)]
pub(super) struct Reader(Sender<Work>);

impl Reader {
    /// Starts it.
    pub(super) fn start() -> io::Result<Self> {
        let (works, work) = channel::<Work>();
        // What panics loses its own answer, and nobody else's.
        let body = move || {
            for work in work {
                drop(catch_unwind(AssertUnwindSafe(work)));
            }
        };
        std::thread::Builder::new().name("specifications".into()).spawn(body)?;
        Ok(Self(works))
    }

    /// Does work on that thread, after what was there before it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let gone = || Error::Stopped(Some("the reading of this specification has ended".into()));
        let (answer, answered) = oneshot::channel();
        // Who asked may be gone.
        let work = Box::new(move || drop(answer.send(work())));
        self.0.send(work).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }
}
