//! The referee that comes with a coordinator: a worker on its own machine with one slot, so that it takes one core at most. It
//! computes units that the coordinator draws, so that there is somebody whose word nobody else has made.

use super::{Config, StartError};
use crate::project::{Folder, names};
use proto::WorkerKey;
use proto::join::Join;
use sandbox::Priority;
use std::net::SocketAddr;
use std::time::Duration;
use worker::folder::{self, Project};

/// Its name, for the operator.
const NAME: &str = "embedded referee";
/// Disk for kernels and inputs, bytes: what a volunteer gives.
const CACHE_BYTES: u64 = 10 << 30;
/// Units that it holds ahead: one that waits was drawn too early.
const BUFFER: Duration = Duration::from_secs(1);

/// A referee that does not run yet.
#[derive(Debug)]
pub(super) struct Referee {
    folder: folder::Folder,
    /// By which the engine knows it.
    pub(super) key: WorkerKey,
}

impl Referee {
    /// The one of a project, made at its first start.
    pub(super) fn of(project: &Folder) -> Result<Self, folder::Error> {
        let folder = folder::Folder::take(&project.at(names::REFEREE))?;
        let key = WorkerKey::from(&folder.identity()?.worker);
        Ok(Self { folder, key })
    }

    /// The one of a project that had one, to be dismissed.
    pub(super) fn former(project: &Folder) -> Result<Option<Self>, folder::Error> {
        match project.at(names::REFEREE).exists() {
            true => Self::of(project).map(Some),
            false => Ok(None),
        }
    }

    /// Starts it for the coordinator that listens at `address`.
    pub(super) fn start(
        self,
        config: &Config,
        join: &Join,
        address: SocketAddr,
    ) -> Result<worker::Worker, StartError> {
        let joined = Project {
            join: Join { address: address.to_string(), ..join.clone() },
            name: NAME.into(),
            account_name: NAME.into(),
        };
        self.folder.join(&joined).map_err(StartError::Referee)?;
        let usual = worker::Config::new(config.program.clone());
        let config = worker::Config {
            slots: 1,
            cache_bytes: CACHE_BYTES,
            reserve_bytes: Some(config.reserve_bytes),
            buffer: BUFFER,
            priority: Priority::Normal,
            peers: None,
            ..usual
        };
        worker::Worker::start(self.folder, config).map_err(StartError::RefereeStart)
    }
}
