//! The coordinator as this worker speaks with it: how a session begins, and what is told and asked beside the stream.

mod announce;
mod session;

pub(crate) use announce::run as announce;
pub(crate) use session::{
    Introduction, Session, Trouble, greet, printable, refused, say_goodbye, with_token,
};
