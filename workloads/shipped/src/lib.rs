//! The kernels that come with Starling, compiled to WASM when this package is built, and the sources of a new one.

mod template;

pub use template::{SOURCES, TEMPLATE};

/// Lucas-Lehmer tests of a range of exponents (package `mersenne`).
pub const MERSENNE: &[u8] = include_bytes!(env!("MERSENNE_WASM"));
/// A search for pulsars in a recording (package `pulsar`).
pub const PULSAR: &[u8] = include_bytes!(env!("PULSAR_WASM"));
/// The search of SETI@home in one of its work units (package `seti`).
pub const SETI: &[u8] = include_bytes!(env!("SETI_WASM"));
/// Collatz records of a range, a WASI command compiled from C (folder `workloads/collatz`).
pub const COLLATZ: &[u8] = include_bytes!("../../collatz/collatz.wasm");

/// A kernel that comes with Starling.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// What a job calls it.
    pub name: &'static str,
    /// The module, not yet prepared.
    pub wasm: &'static [u8],
    /// What it computes, in a sentence without a full stop.
    pub about: &'static str,
}

/// All of them, by name.
pub const ALL: &[Shipped] = &[
    Shipped {
        name: "collatz",
        wasm: COLLATZ,
        about: "records of the Collatz sequence in a range of starts n (C, WASI)",
    },
    Shipped {
        name: "mersenne",
        wasm: MERSENNE,
        about: "Mersenne primes in a range of exponents p (Lucas-Lehmer test)",
    },
    Shipped {
        name: "pulsar",
        wasm: PULSAR,
        about: "pulsars in a SIGPROC recording, over a range of dispersions dm",
    },
    Shipped {
        name: "seti",
        wasm: SETI,
        about: "signals in a work unit of SETI@home, over a range of equal shares of its search",
    },
];

/// The shipped kernel of this name.
pub fn find(name: &str) -> Option<&'static Shipped> {
    ALL.iter().find(|shipped| shipped.name == name)
}

#[cfg(test)]
mod tests;
