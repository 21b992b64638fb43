//! Searches a work unit natively: `cargo run --release -p seti --example native -- UNIT RESULT [LIMIT...]`.

use seti::{Header, Output, Samples, Search};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (unit, out) =
        (args.next().ok_or("name a work unit")?, args.next().ok_or("name the result")?);
    let limits: Vec<f64> = args.map(|limit| limit.parse()).collect::<Result<_, _>>()?;
    let bytes = std::fs::read(unit)?;
    let mut header = Header::read(&bytes)?;
    let samples = Samples::read(&bytes, &header.setup)?;
    if !limits.is_empty() {
        header = header.with_chirp_limits(&limits)?;
    }
    let mut search = Search::with(header, samples, |table| 0..table.pairs.len());
    while search.step(1_000_000_000) {}
    match search.finish() {
        Output::Result(bytes) => std::fs::write(out, bytes)?,
        Output::Part(_) => return Err("the search ended early".into()),
    }
    Ok(())
}
