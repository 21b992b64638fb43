//! What parent and child say to each other: all that either side of the wall knows of the other.

pub(crate) mod frame;
pub(crate) mod socket;

use crate::unit::{Digest, Failure, Trouble, Unit};
use crate::walls::{WallPlan, Walls};
use kernel::{Contract, NanMode};
use proto::trace::{Point, Trace};
use proto::unit_log::Line;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// First argument by which a program is told to be a child.
pub const CHILD_VERB: &str = "__execute";
/// Exit code of a child that could not begin: EX_OSERR of sysexits.
pub(crate) const SETUP_FAILED: u8 = 71;
/// Bytes of a compiled kernel: many times what a module within the static limits becomes.
pub(crate) const COMPILED_BYTES_MAX: u64 = 256 << 20;
/// Bytes of the keyed digest in front of a compiled kernel, which its parent has checked.
pub(crate) const TAG_BYTES: usize = blake3::OUT_LEN;

/// The first message to a child: what it is for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Compile the kernel in the file that comes along, answer with a [`Verdict`] and end.
    Compile(CompileOrder),
    /// Run units until the input ends.
    Serve(ServeOrder),
}

/// What a compile child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CompileOrder {
    pub(crate) digest: Digest,
    pub(crate) nan: NanMode,
    pub(crate) contract: Contract,
    pub(crate) priority: Priority,
    /// CPU time in whole seconds.
    pub(crate) cpu_s: u64,
    /// Address space in bytes.
    pub(crate) memory: u64,
    /// Whether functions are inlined; by the module's own measure when absent.
    pub(crate) inlining: Option<bool>,
    pub(crate) walls: WallPlan,
}

/// How a unit child is set up.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ServeOrder {
    pub(crate) priority: Priority,
    /// Bytes of private memory.
    pub(crate) memory: u64,
    pub(crate) walls: WallPlan,
}

/// What came of a compilation, and the walls around it. The payload is the code.
pub(crate) type Verdict = Result<(Compiled, Walls), Trouble>;

/// To a unit child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Run these units one after the other.
    Run { batch: u64, units: Vec<(Key, Unit)> },
    /// End this batch with snapshots where that is possible.
    Interrupt { batch: u64 },
    /// What was needed last: done, and the file comes along if it is one; or the system's number of the error.
    Met(Result<(), i32>),
}

/// From a unit child, about the unit at this place of the batch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) index: u32,
    pub(crate) message: ChildMessage,
}

/// What a unit child says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ChildMessage {
    /// The first: what stands around the child.
    Walls(Walls),
    /// Nothing more is said before this is met.
    Need(Need),
    /// `cpu` is what the unit had used before.
    Started {
        resumed: bool,
        cpu: Duration,
    },
    Progress {
        done: u64,
        total: u64,
        fuel: u64,
        cpu: Duration,
    },
    Log(Line),
    Warning(String),
    /// `cpu` is the unit's in all, `process_cpu` the child's. The payload is the output.
    Finished {
        end: End,
        cpu: Duration,
        process_cpu: Duration,
        trace: Option<Trace>,
    },
}

/// How a unit ended in the child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    Done {
        fuel: u64,
    },
    Failed {
        reason: Failure,
        fuel: u64,
    },
    /// Where the run was to end.
    Reached(Point),
    Trouble(Trouble),
    Interrupted {
        saved: bool,
    },
    /// The compiled kernel was damaged or gone.
    Recompile,
}

/// What a child needs of its parent for the unit that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Need {
    /// The compiled kernel, to be read.
    Compiled,
    /// The file of a segment of an input, to be read.
    Input { input: u32, segment: u32 },
    /// The snapshot that an earlier run has left, to be read and appended to.
    Snapshot,
    /// An empty file beside it.
    NewSnapshot,
    /// That the file beside becomes the snapshot.
    Publish,
    /// That the file beside goes.
    Discard,
    /// The state at which the run begins, shown or kept, to be read.
    Begin,
    /// The file of states that are kept, as it is or empty.
    Archive,
    /// An empty file for the state that is to be shown.
    Show,
}

/// Names a compiled kernel: digest of the module, NaN mode, kernel contract, engine and its settings, target and
/// features of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Key(pub(crate) [u8; 32]);

/// What compiling took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileCost {
    /// CPU time.
    pub cpu: Duration,
    /// Most memory that was in use, bytes; 0 where the system does not tell.
    pub memory: u64,
    /// Most address space, which is what the limit counts, bytes; 0 where the system does not tell.
    pub space: u64,
    /// Of the code, bytes.
    pub bytes: u64,
    /// Whether functions were inlined.
    pub inlined: bool,
}

/// A compilation, beside its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compiled {
    pub(crate) cost: CompileCost,
    /// The prepared module's layout as JSON.
    pub(crate) layout: Vec<u8>,
}

/// How the children share the processor with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Priority {
    /// Only what nobody else wants: nice 19, and the idle class where there is one.
    Background,
    /// Like any program, for somebody who waits for the answer.
    Normal,
}
