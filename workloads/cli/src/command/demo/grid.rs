//! A coordinator and two workers in this process; their children are this program too.

use crate::error::Error;
use coordinator::Coordinator;
use program::error::chain;
use proto::join::Join;
use sandbox::{Priority, own_program};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;
use worker::Worker;
use worker::folder::{Folder, Project};

/// Work that a worker holds ahead for each slot: little, so that both are busy until the end.
const BUFFER: Duration = Duration::from_secs(4);
/// Memory that each worker lends, bytes.
const MEMORY_BYTES: u64 = 1 << 30;
/// Disk that each worker lends, bytes.
const CACHE_BYTES: u64 = 256 << 20;
/// How long the coordinator waits for its calls to end.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// The workers' owners.
const OWNERS: [&str; 2] = ["ada", "grace"];

/// What runs.
#[derive(Debug)]
pub(super) struct Grid {
    coordinator: Coordinator,
    workers: Vec<Worker>,
}

impl Grid {
    pub(super) async fn start(home: &Path) -> Result<Self, Error> {
        let failed = |error: &dyn std::error::Error| {
            Error::Failed(format!("the demo did not start: {}", chain(error)))
        };
        let program = own_program().map_err(|error| failed(&error))?;
        let config = coordinator::Config::new(home.join("coordinator"), &program);
        let coordinator = Coordinator::start(config).await.map_err(|error| failed(&error))?;
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut config = worker::Config::new(program);
        config.slots = u32::try_from(cores.div_ceil(OWNERS.len())).unwrap_or(1);
        config.memory_bytes = MEMORY_BYTES;
        config.cache_bytes = CACHE_BYTES;
        config.buffer = BUFFER;
        config.priority = Priority::Normal;
        let mut workers = Vec::new();
        for owner in OWNERS {
            let folder = Folder::take(&home.join(format!("worker-{owner}")))
                .map_err(|error| failed(&error))?;
            let join = coordinator.join().clone();
            let project =
                Project { join, name: format!("{owner}'s machine"), account_name: owner.into() };
            folder.join(&project).map_err(|error| failed(&error))?;
            workers.push(Worker::start(folder, config.clone()).map_err(|error| failed(&error))?);
        }
        Ok(Self { coordinator, workers })
    }

    pub(super) fn join(&self) -> Join {
        self.coordinator.join().clone()
    }

    pub(super) fn token(&self) -> String {
        self.coordinator.operator_token().to_owned()
    }

    pub(super) async fn shutdown(self) {
        for worker in self.workers {
            worker.shutdown().await;
        }
        self.coordinator.shutdown(SHUTDOWN).await;
    }
}
