//! The researcher's command `starling`: build, try, submit, watch, fetch, verify, demo.
#![forbid(unsafe_code)]

pub mod amount;
pub mod args;
pub mod client;
mod command;
pub mod error;
pub mod forecast;
pub mod job_file;
mod line_file;
mod local;
pub mod output;
mod preview;
pub mod profile;
pub mod results;
pub mod shown;
pub mod upload;

pub use command::main;
