//! What the three programs share where they meet people and machines that are no part of the grid: standard output, answers
//! and errors, logs, words to be typed, addresses that are written down, numbers for collectors, files that are theirs alone.
#![forbid(unsafe_code)]

pub mod address;
pub mod clock;
pub mod collector;
pub mod error;
pub mod file;
pub mod log;
pub mod output;
pub mod shell;
pub mod stdout;
