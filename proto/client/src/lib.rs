//! How a program reaches the coordinator: [`tls`] to whoever holds a certificate of the authority that the join string names,
//! and the [`bearer`] token on each call. The messages are [`proto::pb`].
#![forbid(unsafe_code)]

pub mod bearer;
pub mod tls;
