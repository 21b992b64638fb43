//! Where the coordinator's records are kept: the trait is the core's, here are those that write to a disk.

pub mod sled;

pub use coordinator_core::store::*;

#[cfg(test)]
mod tests;
