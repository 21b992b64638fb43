//! The table of docs/trust.md: how many wrong units get through, and what that costs, for each kind and share of bad
//! workers, by Starling's rule and those of others.

#![allow(clippy::print_stdout, reason = "the table is printed as it is made")]

use crate::simulation::rivals::{self, Rule};
use crate::simulation::{FUEL, Kind, Setup, attack, run};

/// Units that a worker asks for at once.
const ASK: u32 = 20;
/// What a job of the table asks for.
const CONFIDENCE: f64 = 1e-6;

/// A sum over runs.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    units: u64,
    wrong: u64,
    copies: u64,
}

/// Prints the table for a crowd of `workers` with so many units each, over `seeds` runs a cell: of its rows those whose
/// kind and share contain `rows`, as "broken" or "wrong, 1 %".
///
/// # Errors
/// When a run does not end as it must.
pub fn print(workers: u64, units_per_worker: u64, seeds: u64, rows: &str) -> Result<(), String> {
    let kinds: [(&str, Kind); 9] = [
        ("broken, 1 in 10 wrong", Kind::Broken(0.1)),
        ("broken, 1 in 100 wrong", Kind::Broken(0.01)),
        ("liar, always", Kind::Liar),
        ("liar, 1 in 1000", Kind::Rarely(0.001)),
        ("sleeper, lies from unit 1000", Kind::Sleeper(1_000)),
        ("copying", Kind::Copying),
        ("league, always", Kind::League(0)),
        ("league, from unit 1000", Kind::League(1_000)),
        ("identities, new each 20 units", Kind::Identities(20)),
    ];
    println!(
        "{workers} workers, {units_per_worker} units each on average, {seeds} seeds a cell, confidence = {CONFIDENCE:e}\n"
    );
    println!("| bad workers | share | Starling | 2 of 2 | 2 of 3 | BOINC adaptive |");
    println!("|---|---|---|---|---|---|");
    let bad =
        kinds.iter().flat_map(|(name, kind)| [1, 5, 20, 40].map(|share| (*name, *kind, share)));
    for (name, kind, share) in [("none", Kind::Liar, 0)].into_iter().chain(bad) {
        if format!("{name}, {share} %").contains(rows) {
            row(name, kind, share, workers, units_per_worker, seeds)?;
        }
    }
    Ok(())
}

/// Prints what a thousand identities of one person on a hundred networks do to ten honest workers, by what he chooses, and what
/// two agreeing accounts and BOINC's rule make of the same crowd: the rows whose name contains `rows`.
///
/// # Errors
/// When a run does not end as it must.
pub fn attacks(units: u64, seed: u64, rows: &str) -> Result<(), String> {
    let tactics: [(&str, Option<Kind>); 10] = [
        ("nobody", None),
        ("lies at once", Some(Kind::Sybil { after: 0, share: 1.0 })),
        ("lies from unit 20", Some(Kind::Sybil { after: 20, share: 1.0 })),
        ("lies from unit 100", Some(Kind::Sybil { after: 100, share: 1.0 })),
        ("1 unit in 10 at once", Some(Kind::Sybil { after: 0, share: 0.1 })),
        ("1 unit in 100 at once", Some(Kind::Sybil { after: 0, share: 0.01 })),
        ("1 unit in 1000 at once", Some(Kind::Sybil { after: 0, share: 0.001 })),
        ("1 unit in 100 from unit 100", Some(Kind::Sybil { after: 100, share: 0.01 })),
        ("hoards", Some(Kind::Hoarding)),
        ("refuses", Some(Kind::Refusing)),
    ];
    println!(
        "10 honest workers and 1000 identities on 100 networks, {units} units, confidence = {CONFIDENCE:e}, seed {seed}\n"
    );
    println!(
        "| what they do | wrong, copies | days | reports | of them the referee's | caught | for each wrong unit: he computes | and loses accounts | 2 of 2 | 2 of 3 | BOINC adaptive |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (name, kind) in tactics.into_iter().filter(|(name, _)| name.contains(rows)) {
        let ended = run(&attack(seed, units, kind))?;
        let crowd: Vec<(Kind, u32)> =
            [(Kind::Honest, 10)].into_iter().chain(kind.map(|kind| (kind, 1_000))).collect();
        let rival = |rule| {
            let tally = rivals::run(rule, &crowd, units, ASK, seed);
            let mut sum = Sum::default();
            add(&mut sum, tally.units, tally.wrong, tally.copies);
            cell(&sum)
        };
        let mut sum = Sum::default();
        add(&mut sum, ended.units, ended.wrong, ended.copies);
        let each = |what: u64| match ended.wrong {
            0 => "-".to_owned(),
            wrong => (what / wrong).to_string(),
        };
        println!(
            "| {name} | {} | {:.1} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&sum),
            ended.days,
            ended.copies,
            ended.checks,
            ended.caught,
            each(ended.price),
            each(ended.caught),
            rival(Rule::Votes { first: 2, agree: 2 }),
            rival(Rule::Votes { first: 3, agree: 2 }),
            rival(Rule::Adaptive),
        );
    }
    Ok(())
}

fn row(
    name: &str,
    kind: Kind,
    share: u64,
    workers: u64,
    units_per_worker: u64,
    seeds: u64,
) -> Result<(), String> {
    let bad = u32::try_from(workers * share / 100).unwrap_or(0);
    let honest = u32::try_from(workers).unwrap_or(u32::MAX) - bad;
    let units = workers * units_per_worker;
    let mut sums = [Sum::default(); 4];
    for seed in 0..seeds {
        let setup = Setup {
            seed,
            units,
            honest,
            referee: true,
            others: vec![(kind, bad)],
            confidence: Some(CONFIDENCE),
            copies: 1,
            fan_in: 0,
            crash: 0.0,
            check: false,
            ask: ASK,
            unit_minutes: 10,
            days_max: 10_000,
        };
        let ended = run(&setup)?;
        add(&mut sums[0], ended.units, ended.wrong, ended.copies + ended.segments_fuel / FUEL);
        let rules = [
            Rule::Votes { first: 2, agree: 2 },
            Rule::Votes { first: 3, agree: 2 },
            Rule::Adaptive,
        ];
        let crowd = [(Kind::Honest, honest), (kind, bad)];
        for (sum, rule) in sums[1..].iter_mut().zip(rules) {
            let tally = rivals::run(rule, &crowd, units, ASK, seed);
            add(sum, tally.units, tally.wrong, tally.copies);
        }
    }
    let cells: Vec<String> = sums.iter().map(cell).collect();
    println!("| {name} | {share} % | {} |", cells.join(" | "));
    Ok(())
}

fn add(sum: &mut Sum, units: u64, wrong: u64, copies: u64) {
    sum.units += units;
    sum.wrong += wrong;
    sum.copies += copies;
}

/// The wrong fraction with its interval, and copies per unit.
#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 units")]
fn cell(sum: &Sum) -> String {
    let (units, wrong) = (sum.units as f64, sum.wrong as f64);
    let (low, high) = wilson(wrong, units);
    let copies = sum.copies as f64 / units;
    if sum.wrong == 0 {
        return format!("0 (< {high:.0e}), {copies:.3}");
    }
    format!("{:.1e} ({low:.0e} to {high:.0e}), {copies:.3}", wrong / units)
}

/// The 95 % interval of a fraction (E. B. Wilson 1927).
fn wilson(hits: f64, of: f64) -> (f64, f64) {
    const Z: f64 = 1.96;
    let share = hits / of;
    let scale = 1.0 + Z * Z / of;
    let middle = share + Z * Z / (2.0 * of);
    let spread = Z * (share * (1.0 - share) / of + Z * Z / (4.0 * of * of)).sqrt();
    (((middle - spread) / scale).max(0.0), (middle + spread) / scale)
}
