//! The search as a whole: real and made recordings, and merges.

mod headers;
mod made;
mod recordings;

use crate::{Candidate, Pulsar};
use starling_sdk::native::run;

/// The candidates of a native run.
fn candidates(params: &str, inputs: &[&[u8]]) -> Vec<Candidate> {
    parse(&run::<Pulsar>(params, inputs).expect("the unit is right").output)
}

fn parse(output: &[u8]) -> Vec<Candidate> {
    let text = std::str::from_utf8(output).expect("output is text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is a candidate")).collect()
}

fn failure(params: &str, inputs: &[&[u8]]) -> String {
    run::<Pulsar>(params, inputs).expect_err("the unit is wrong").to_string()
}
