//! Peers: workers that carry each other's blobs.

pub mod swarm;
