//! What the benches of this folder begin with: each is its own sandbox's program.

use sandbox::{CHILD_VERB, child_main};
use std::error::Error;
use std::process::ExitCode;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The words of the command line from this place on, without the one that Cargo adds.
pub(crate) fn words(from: usize) -> impl Iterator<Item = String> {
    std::env::args().filter(|word| word != "--bench").skip(from)
}

/// Is a child if told to be; otherwise runs the bench with the number of repetitions that stands first, or the usual one.
pub(crate) fn run(usual: usize, bench: impl FnOnce(usize) -> Result<()>) -> ExitCode {
    let first = words(1).next();
    if first.as_deref() == Some(CHILD_VERB) {
        return child_main();
    }
    match bench(first.and_then(|text| text.parse().ok()).unwrap_or(usual)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}
