//! How a coordinator is to run, as its starter says.

use crate::core::admission::Admission;
use crate::engine;
use crate::grpc::Timeouts;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How a coordinator is to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The project's folder; made when it is not there.
    pub data: PathBuf,
    /// The program in whose children kernels are compiled at submission: it calls [`sandbox::child_main`] when its
    /// first argument is [`sandbox::CHILD_VERB`].
    pub program: PathBuf,
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// `HOST:PORT` for the join string; from `listen` and the machine's name when absent.
    pub advertise: Option<String>,
    /// Bytes that are kept for one researcher's account: blobs that it puts, specifications, outputs and logs of its jobs.
    pub account_bytes: u64,
    /// Free disk space to leave alone, bytes.
    pub reserve_bytes: u64,
    /// Share of a trusted worker's units that are checked, from 0 to 1.
    pub check_floor: f64,
    /// Whether accounts on private addresses count for themselves, and not as one network.
    pub lan: bool,
    /// What accounts must show that are not known yet.
    pub admission: Admission,
    /// Whether a referee comes with it: a worker of its own with one slot, which checks what strangers agree on.
    pub referee: bool,
    /// Connections open at once.
    pub connections_max: usize,
    /// How long to wait for others.
    pub patience: Timeouts,
    /// How often to log a line of numbers.
    pub summary_every: Duration,
    /// Where to tell the numbers of `status` to collectors, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// To build the records up again from what workers have kept, first: until nothing new has come for so long.
    pub rebuild: Option<Duration>,
    /// To go on with what is left, should the records not be as they were left, and write down what was accepted.
    pub accept_loss: bool,
}

impl Config {
    /// The usual, on loopback at a port that the system chooses.
    pub fn new(data: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            program: program.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: None,
            account_bytes: 1 << 40,
            reserve_bytes: engine::RESERVE_BYTES,
            check_floor: crate::core::trust::estimate::CHECK_FLOOR,
            lan: false,
            admission: Admission::Open,
            referee: false,
            connections_max: 20_000,
            patience: Timeouts::default(),
            summary_every: Duration::from_secs(60),
            metrics: None,
            rebuild: None,
            accept_loss: false,
        }
    }
}
