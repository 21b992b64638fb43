//! Where everything in a worker's folder is, and how its files are called.

use super::{Folder, WORK};
use proto::id::UnitId;
use std::path::{Path, PathBuf};

/// Where a worker's folder is unless it is told otherwise: `$XDG_DATA_HOME/starling-worker` or its like.
#[must_use]
pub fn default_path() -> PathBuf {
    directories::ProjectDirs::from("", "", "starling-worker").map_or_else(
        || PathBuf::from("starling-worker"),
        |folders| folders.data_dir().to_path_buf(),
    )
}

/// Where the worker on the folder at `path` keeps the nonce of the work that its project asked of the account.
#[must_use]
pub fn work(path: &Path) -> PathBuf {
    path.join(WORK)
}

impl Folder {
    /// The nonce of the work that the project asked of the account.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        work(&self.path)
    }

    /// What is held.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Reports held for others and one's own.
    #[must_use]
    pub fn held(&self) -> PathBuf {
        self.path.join("held")
    }

    /// Kernels and inputs.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// Outputs of units that are not acknowledged.
    #[must_use]
    pub fn outputs(&self) -> PathBuf {
        self.path.join("outputs")
    }

    /// The output of a unit.
    #[must_use]
    pub fn output(&self, id: UnitId) -> PathBuf {
        self.outputs().join(unit_name(id))
    }

    /// Snapshots of units, and inputs that came inside their leases.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The snapshot of a unit.
    #[must_use]
    pub fn snapshot(&self, id: UnitId) -> PathBuf {
        self.snapshots().join(unit_name(id))
    }

    /// Inputs of a unit that came inside its lease, one after the other.
    #[must_use]
    pub fn inline_inputs(&self, id: UnitId) -> PathBuf {
        self.snapshots().join(format!("{}.in", unit_name(id)))
    }

    /// What kernels of units that are held have logged, of the last run of the program.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Traces of units that were run here, and states on them.
    #[must_use]
    pub fn traces(&self) -> PathBuf {
        self.path.join("traces")
    }

    /// Files of runs for errands: of no use to anybody after a restart.
    #[must_use]
    pub fn errands(&self) -> PathBuf {
        self.path.join("errands")
    }

    /// The state that a run for a show was to reach.
    #[must_use]
    pub fn errand_state(&self, run: u64) -> PathBuf {
        self.errands().join(format!("{run}.state"))
    }

    /// Inputs of a run for an errand that came with it, one after the other.
    #[must_use]
    pub fn errand_inputs(&self, run: u64) -> PathBuf {
        self.errands().join(format!("{run}.in"))
    }

    /// Compiled kernels.
    #[must_use]
    pub fn compiled(&self) -> PathBuf {
        self.path.join("compiled")
    }

    /// Where the trial unit runs.
    #[must_use]
    pub fn trial(&self) -> PathBuf {
        self.path.join("trial")
    }

    /// The socket by which the owner's commands reach the running worker.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(&self.path)
    }
}

/// The socket of the worker that runs on the folder at `path`.
#[must_use]
pub fn socket(path: &Path) -> PathBuf {
    path.join("control.sock")
}

/// The name of a unit's files: `j7-u12`.
pub(crate) fn unit_name(id: UnitId) -> String {
    format!("{}-{}", id.job, id.unit)
}

/// The unit of a file whose name begins as `unit_name` says.
#[must_use]
pub fn unit_of(name: &str) -> Option<UnitId> {
    let (job, rest) = name.split_once('-')?;
    let unit = rest.split('.').next()?;
    Some(UnitId {
        job: job.strip_prefix('j')?.parse().ok()?,
        unit: unit.strip_prefix('u')?.parse().ok()?,
    })
}
