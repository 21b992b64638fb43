//! What the integration tests and benches share: real programs over loopback, a volunteer that says what a test wants it
//! to say, a wire that can be cut, and a simulated grid.
#![forbid(unsafe_code)]

pub mod grid;
pub mod load;
pub mod members;
pub mod netns;
pub mod researcher;
pub mod search;
pub mod simulation;
pub mod storms;
pub mod swarm;
pub mod volunteer;
pub mod wire;
