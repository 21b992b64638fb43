//! The one thread on which specifications are read that are submitted: a large one takes ten times its bytes for a moment, and
//! what a thread has once taken from the system is kept for that thread.

use crate::engine::Error;
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// Started when it is first needed; none when the system has no thread for it.
static READER: LazyLock<Option<Sender<Work>>> = LazyLock::new(|| {
    let (works, work) = channel::<Work>();
    let body = move || work.into_iter().for_each(|work| work());
    let started = std::thread::Builder::new().name("specifications".into()).spawn(body);
    started.ok().map(|_| works)
});

/// Does work on that thread, after what was there before it.
pub(crate) async fn on_reader<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let gone = || Error::Stopped(Some("the thread that reads specifications has ended".into()));
    let (answer, answered) = oneshot::channel();
    // Who asked may be gone.
    let work = Box::new(move || drop(answer.send(work())));
    READER.as_ref().ok_or_else(gone)?.send(work).map_err(|_| gone())?;
    answered.await.map_err(|_| gone())
}
