//! What the integration tests and benches share: real programs over loopback, a volunteer that says what a test wants it
//! to say, and a wire that can be cut.
#![forbid(unsafe_code)]

pub mod grid;
pub mod volunteer;
pub mod wire;
