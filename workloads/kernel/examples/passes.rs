//! Prints what preparing costs: `cargo run --release -p kernel --example passes -- FILE.wasm...`
#![expect(clippy::disallowed_methods, reason = "it measures, which the crate does not")]
#![expect(clippy::print_stdout, reason = "it is for people")]

use kernel::{Contract, NanMode, inspect, prepare};
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    for path in std::env::args().skip(1) {
        let wasm = std::fs::read(&path)?;
        let summary = inspect(&wasm)?;
        println!("{path}: {} bytes, {} functions", wasm.len(), summary.functions);
        for limit in &summary.limits {
            println!("  {}: {} of {}", limit.what, limit.value, limit.max);
        }
        for contract in [Contract::One, Contract::Two] {
            for nan in [NanMode::Unchecked, NanMode::Canonical] {
                let start = Instant::now();
                let bytes = prepare(&wasm, nan, contract)?.wasm.len();
                let ms = start.elapsed().as_secs_f64() * 1e3;
                println!("  contract {}, {nan:?}: {bytes} bytes, {ms:.1} ms", contract.number());
            }
        }
    }
    Ok(())
}
