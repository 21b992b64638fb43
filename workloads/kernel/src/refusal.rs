//! Why a module cannot be a kernel.

use std::fmt;
use thiserror::Error;

/// Where in a module something is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Index of the function, imports counted.
    pub function: u32,
    /// The function's name, where the module tells one.
    pub name: Option<String>,
    /// Byte of the module.
    pub offset: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function {}", self.function)?;
        if let Some(name) = &self.name {
            write!(f, " ({name})")?;
        }
        write!(f, " at byte {}", self.offset)
    }
}

/// Why a module cannot be a kernel: what is wrong, where, and what is allowed.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The bytes are no core WebAssembly module, or use what no kernel may use.
    #[error("not WebAssembly with the features that a kernel may use: {message} (byte {offset})")]
    Invalid {
        /// What the validator says.
        message: String,
        /// Byte of the module.
        offset: usize,
    },
    /// The same, inside a function.
    #[error("not WebAssembly with the features that a kernel may use: {message} in {place}")]
    InvalidCode {
        /// What the validator says.
        message: String,
        /// Where.
        place: Place,
    },
    /// The module has the exports of neither kind.
    #[error(
        "neither a step kernel (export starling_abi_1: see docs/kernels.md) nor a WASI command (export _start)"
    )]
    NoKind,
    /// An import that the ABI does not have.
    #[error("import {module}.{name} is not in the ABI; a kernel of this kind may import {allowed}")]
    Import {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// What may be imported.
        allowed: String,
    },
    /// An import of the ABI with another type.
    #[error("import {module}.{name} is {found}, but must be {expected}")]
    ImportType {
        /// The import's module.
        module: String,
        /// The import's name.
        name: String,
        /// Its type in the module.
        found: String,
        /// Its type in the ABI.
        expected: String,
    },
    /// An export that this kind of kernel must have is absent.
    #[error("export {name} is missing; it must be {expected}")]
    MissingExport {
        /// The export's name.
        name: &'static str,
        /// What it must be.
        expected: String,
    },
    /// An export of the ABI with another type.
    #[error("export {name} is {found}, but must be {expected}")]
    ExportType {
        /// The export's name.
        name: &'static str,
        /// What it is in the module.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// An export whose name belongs to the host.
    #[error("export {name} starts with \"starling:\", which is reserved; rename it")]
    ReservedExport {
        /// The export's name.
        name: String,
    },
    /// Something valid that no kernel may have.
    #[error("{what} is not admissible in a kernel{}", at(.place.as_ref()))]
    Forbidden {
        /// What it is.
        what: &'static str,
        /// Where, if in a function.
        place: Option<Place>,
    },
    /// One of [`crate::limits`] is passed.
    #[error("{what}: {value}, but at most {max} are allowed{}", at(.place.as_ref()))]
    Limit {
        /// What is limited, as in [`crate::Limit`].
        what: &'static str,
        /// The module's value.
        value: u64,
        /// The largest admissible value.
        max: u64,
        /// Where, if in a function.
        place: Option<Place>,
    },
    /// An active segment that would trap when the module is instantiated.
    #[error("{what} segment {index} ends at {end}, beyond the {size} that there are at the start")]
    Segment {
        /// "data" or "element".
        what: &'static str,
        /// Index of the segment.
        index: u32,
        /// One past the segment's last byte or element.
        end: u64,
        /// Bytes of memory or elements of the table.
        size: u64,
    },
}

fn at(place: Option<&Place>) -> String {
    place.map_or_else(String::new, |place| format!(" (in {place})"))
}

impl From<wasmparser::BinaryReaderError> for Refusal {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Invalid { message: shorten(error.message()), offset: error.offset() }
    }
}

/// Characters of a stranger's text that a message repeats: enough to recognise a mangled Rust name.
const QUOTED_CHARS_MAX: usize = 100;

/// A stranger's text as it may stand in a message: short, and without control characters.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String =
        text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
    if QUOTED_CHARS_MAX < text.chars().count() {
        short.push('…');
    }
    short
}
