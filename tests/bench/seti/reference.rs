//! Whether a result is the reference result, in all that section 25 of the specification asks for.

use anyhow::{Context, Result, ensure};
use seti::{Record, Similarity, compare, read_result};
use std::path::Path;

/// Relative tolerance of powers.
const POWER: f64 = 2e-6;
/// Relative tolerance of misfits.
const MISFIT: f64 = 5e-5;

/// Compares signal by signal, in order: places exactly, powers and misfits within their tolerances.
pub(crate) fn check(result: &[u8]) -> Result<()> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/seti/reference_result_unit.sah");
    let expected =
        std::fs::read(&path).with_context(|| format!("{} is missing", path.display()))?;
    let (expected, found) = (read_result(&expected)?, read_result(result)?);
    ensure!(expected.len() == found.len(), "{} instead of {}", found.len(), expected.len());
    let mut worst = (0.0f64, 0.0f64);
    for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
        ensure!(
            expected.kind == found.kind,
            "signal {}: {} is {}",
            index + 1,
            expected.kind,
            found.kind
        );
        for (field, value) in &expected.numbers {
            compare_field(expected, found, field, *value, &mut worst)
                .with_context(|| format!("signal {}, {}", index + 1, found.kind))?;
        }
    }
    ensure!(compare(&expected, &found).similarity == Similarity::Strong, "not strongly similar");
    println!(
        "the reference result: {} signals in order, places and periods the same, powers within {:.1e}, misfits within {:.1e}",
        found.len(),
        worst.0,
        worst.1
    );
    Ok(())
}

fn compare_field(
    expected: &Record,
    found: &Record,
    field: &str,
    value: f64,
    worst: &mut (f64, f64),
) -> Result<()> {
    let got = found.number(field);
    let apart = if got == value { 0.0 } else { (got / value - 1.0).abs() };
    let (limit, worst) = match field {
        "peak_power" | "mean_power" | "max_power" | "snr" | "thresh" => (POWER, &mut worst.0),
        "chisqr" | "null_chisqr" => (MISFIT, &mut worst.1),
        // The original's score of a best signal is not what it reports.
        "score" if expected.kind.starts_with("best_") => return Ok(()),
        _ => (0.0, &mut worst.0),
    };
    ensure!(apart <= limit, "{field}: {got} instead of {value}");
    *worst = worst.max(apart);
    Ok(())
}
