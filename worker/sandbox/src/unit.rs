//! What a slot is given to run and what it says of it.

use kernel::{Contract, NanMode};
pub use proto::bounds::{INPUTS_MAX, OUTPUT_BYTES_MAX};
pub use proto::report::Failure;
use proto::trace::{Point, Trace};
use proto::unit_log::Line;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// A BLAKE3 digest as plain bytes.
pub type Digest = [u8; 32];

/// Segments over all inputs of one unit.
pub const SEGMENTS_MAX: usize = 65_536;
/// Bytes of a unit's parameters: they are one JSON object, not data.
pub const PARAMS_BYTES_MAX: usize = 1 << 20;
/// Bytes of memory: all that wasm32 can address.
pub const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// The counter of fuel in a kernel is a signed 64-bit integer.
pub const FUEL_MAX: u64 = i64::MAX as u64;

/// A unit as the sandbox sees it: files, bytes and limits, and nothing of who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// The kernel to run.
    pub kernel: Kernel,
    /// The parameters: one JSON object in UTF-8.
    pub params: Vec<u8>,
    /// The inputs, in the order in which the kernel numbers them.
    pub inputs: Vec<Input>,
    /// Where the random bytes of a WASI command come from.
    pub seed: [u8; 32],
    /// What the unit may use before it fails.
    pub limits: Limits,
    /// The exit codes of a WASI command that has put out an answer.
    pub exit_codes: Vec<i32>,
    /// CPU time after which the unit is stopped as an infrastructure failure: a guard against steps that never return.
    pub time: Duration,
    /// Where the unit's state is kept between steps, if anywhere. The file is the caller's to remove once the outcome
    /// is durable.
    pub snapshot: Option<SnapshotPlan>,
    /// Which of its states are named, shown or begun from. A WASI command has none and runs as if there were no plan.
    pub trace: Option<TracePlan>,
}

/// The kernel of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kernel {
    /// The file with the module as the researcher submitted it.
    pub path: PathBuf,
    /// Its digest, checked before it is compiled.
    pub digest: Digest,
    /// How NaN bits are treated.
    pub nan: NanMode,
    /// The contract by which it is prepared: what it is charged, and with that what its states are.
    pub contract: Contract,
}

/// One input: the concatenation of segments of files, read where the kernel asks and never copied whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// In the order of the bytes.
    pub segments: Vec<Segment>,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// Digest of the whole file, by which a snapshot knows the unit it belongs to. It is not checked here.
    pub digest: Digest,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// Limits that belong to the job: going beyond them has the same outcome on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of linear memory; `memory.grow` beyond them answers -1.
    pub memory: u64,
    /// Fuel budget.
    pub fuel: u64,
    /// Bytes of output.
    pub output: u64,
    /// Bytes of log lines; what is beyond is cut with a mark and has no effect on the outcome.
    pub log: u64,
}

/// Where and how often the state of a unit is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPlan {
    /// The file. Beside it a file with the suffix `.part` may appear for moments.
    pub path: PathBuf,
    /// Time between two snapshots.
    pub interval: Duration,
}

/// What is done with the states of a unit between its steps: its whole trace, or one segment of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePlan {
    /// Fuel between two points of the trace, at least 1; `u64::MAX` for none.
    pub spacing: u64,
    /// Where the run begins.
    pub begin: Begin,
    /// Where it ends.
    pub until: Until,
    /// Where states are kept to be shown later, if they are.
    pub archive: Option<ArchivePlan>,
}

impl TracePlan {
    /// The files that it names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let begin = match &self.begin {
            Begin::Start => None,
            Begin::State { path, .. } | Begin::Archived(path) => Some(path),
        };
        let until = match &self.until {
            Until::End | Until::NextPoint => None,
            Until::State { to, .. } => Some(to),
        };
        begin.into_iter().chain(until).chain(self.archive.iter().map(|plan| &plan.path))
    }
}

/// Where a run begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Begin {
    /// At the start of the unit.
    Start,
    /// At a state that somebody showed.
    State {
        /// The state in the form of [`proto::state`].
        path: PathBuf,
        /// What it must be. A file that is anything else is refused as [`Trouble::Unit`].
        point: Point,
    },
    /// At the last state in this file of a [`ArchivePlan`] that does not lie behind the end of the run; at the start where
    /// there is none.
    Archived(PathBuf),
}

/// Where a run ends, unless the unit ends before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Until {
    /// With the unit.
    End,
    /// At the first point of the trace behind the beginning.
    NextPoint,
    /// At the state with exactly this fuel.
    State {
        /// Fuel burnt until then.
        fuel: u64,
        /// The file to write the state to, in the form of [`proto::state`].
        to: PathBuf,
    },
}

/// Where states at points of the trace are kept, now and then: what is kept costs about one part in a hundred of the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivePlan {
    /// The file, which the caller removes when nobody may ask any more.
    pub path: PathBuf,
    /// Bytes of the file at most.
    pub bytes_max: u64,
}

/// What happens to a unit, in order. [`Event::Finished`] comes exactly once and last.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The first instruction is about to run; `resumed` tells whether from a snapshot. Comes again after a pause.
    Started {
        /// Whether a snapshot was taken up.
        resumed: bool,
    },
    /// How far the kernel says it is, ten times a second at most.
    Progress {
        /// In the kernel's own measure.
        done: u64,
        /// In the kernel's own measure; 0 if it does not know.
        total: u64,
        /// Fuel burned so far.
        fuel: u64,
        /// CPU time so far, over all resumptions.
        cpu: Duration,
    },
    /// A line for the researcher. One that was said before comes again when a unit is taken up again.
    Log(Line),
    /// Something for the volunteer: the unit goes on, but a snapshot was useless or could not be written.
    Warning(String),
    /// The end.
    Finished(Finished),
}

/// How a unit ended and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// How.
    pub outcome: Outcome,
    /// CPU time of the whole unit, over all its resumptions.
    pub cpu: Duration,
}

/// How a unit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel said that it is done.
    Done {
        /// What it wrote.
        output: Vec<u8>,
        /// What it burned.
        fuel: u64,
        /// Its states, if they were asked for: in a segment those behind its beginning.
        trace: Option<Trace>,
    },
    /// The kernel failed as it would on every machine: a result like any other.
    Failed {
        /// How.
        reason: Failure,
        /// What it burned until then.
        fuel: u64,
        /// As of a unit that is done: the same on every machine.
        trace: Option<Trace>,
    },
    /// The run came to where its [`Until`] says.
    Reached(Point),
    /// This machine could not run it: nobody's result.
    Infrastructure {
        /// Why.
        reason: Trouble,
    },
    /// The pool was stopped or the unit cancelled.
    Interrupted {
        /// Whether the state of this moment is in the snapshot file.
        saved: bool,
    },
}

/// Why this machine could not run a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Trouble {
    /// The module is no admissible kernel, or starts with more memory than the unit may have. Known at submission.
    #[error("the kernel was refused: {0}")]
    Refused(String),
    /// The engine's compiler refuses it.
    #[error("the kernel could not be compiled: {0}")]
    Compile(String),
    /// Compiling it took more time or memory than it may take here.
    #[error("the kernel could not be compiled on this machine: {0}")]
    CompileLimit(String),
    /// The depth of the machine's stack is not a property of the kernel.
    #[error("the kernel recursed deeper than this machine's stack")]
    StackOverflow,
    /// The machine has less memory left than the unit may use.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The unit's CPU time was spent.
    #[error("the unit was stopped after {} s of CPU time", .0.as_secs_f64())]
    Time(Duration),
    /// The child process ended in the middle of the unit.
    #[error("the unit's process ended: {0}")]
    Died(String),
    /// It was ended from outside, as the system does when it has no memory left.
    #[error("the unit's process was ended: {0}")]
    Killed(String),
    /// The disk is full.
    #[error("no room on the disk: {0}")]
    NoRoom(String),
    /// A process could not be started, a file not be read, memory not be reserved, or the like.
    #[error("{0}")]
    Machine(String),
    /// The unit is not what it should be: parameters that are no object, a state that is another.
    #[error("{0}")]
    Unit(String),
}

/// Whose fault a [`Trouble`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The unit's: it would come to the same, or nearly, on other machines.
    Unit,
    /// This machine's: nothing is said about the unit.
    Machine,
    /// That of one of them. A trial unit tells: when it runs, it was the unit's.
    Unclear,
}

impl Trouble {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(_)
            | Self::Compile(_)
            | Self::StackOverflow
            | Self::Time(_)
            | Self::Unit(_) => Fault::Unit,
            Self::CompileLimit(_)
            | Self::OutOfMemory(_)
            | Self::Killed(_)
            | Self::NoRoom(_)
            | Self::Machine(_) => Fault::Machine,
            Self::Died(_) => Fault::Unclear,
        }
    }
}
