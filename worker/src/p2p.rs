//! Workers as peers.

pub mod hold;
