//! Everything that a host needs to know of a prepared module beside its bytes.

use serde::{Deserialize, Serialize};

/// The two kinds of kernel.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Exports `starling_start` and `starling_step`; can be snapshot between steps.
    Step,
    /// A WASI command: exports `_start`, runs in one go.
    Wasi,
}

/// Type of a global.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValueType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 128-bit vector.
    V128,
}

/// A mutable global of the kernel, exported so that a host can save and restore it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct GlobalExport {
    /// The export's name: `starling:global:` and the global's index.
    pub name: String,
    /// The global's type.
    pub ty: ValueType,
}

/// Bytes of memory that instantiation writes.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct DataRange {
    /// First byte's address.
    pub offset: u32,
    /// Number of bytes, at least 1.
    pub len: u32,
}

/// Where the state of a prepared module lies.
///
/// Between two calls of a step kernel its memory and [`Layout::globals`] (with the fuel left) are its
/// whole state: tables cannot change, and no frame is on the stack.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The number of the contract by which the module was prepared.
    pub contract: u32,
    /// Which of the two kinds the module is.
    pub kind: Kind,
    /// The kernel's mutable globals in the order of their indices; the fuel is not among them.
    pub globals: Vec<GlobalExport>,
    /// Pages (64 KiB) of memory at the start.
    pub memory_min_pages: u64,
    /// Pages beyond which the module itself says that memory cannot grow. The host's own limit comes on
    /// top, and `memory.grow` must answer -1 at the lower of the two on every machine.
    pub memory_max_pages: Option<u64>,
    /// What instantiation writes into memory, in the order of the module's active data segments. To
    /// restore a snapshot into a new instance, zero these where the snapshot holds no bytes of its own.
    pub data: Vec<DataRange>,
}
