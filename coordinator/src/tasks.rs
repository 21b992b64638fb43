//! Tasks that belong together: each ends by itself, or with its owner.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;

/// Tasks of one owner; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn set(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one more.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set();
        while let Some(ended) = set.try_join_next() {
            log(ended);
        }
        set.spawn(task);
    }

    /// Waits until all have ended, those too that are started meanwhile.
    pub(crate) async fn wait(&self) {
        loop {
            let mut running = std::mem::take(&mut *self.set());
            if running.is_empty() {
                return;
            }
            while let Some(ended) = running.join_next().await {
                log(ended);
            }
        }
    }
}

fn log(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task has failed");
    }
}
