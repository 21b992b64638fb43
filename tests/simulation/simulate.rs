//! Runs simulations by hand: `seed N` one small world, `long N` so many of them, `crowd N` thousands of workers, `attack` a
//! thousand identities of one person beside ten honest workers, `table` what docs/trust.md shows.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what is printed is what the program is for"
)]

use std::process::ExitCode;
use tests::simulation::{crowd, run, run_and_tell, small, table};

/// What 3,100 workers compute in about two months when hardly anybody is trusted yet.
const CROWD_UNITS: u64 = 100_000;
const USAGE: &str = "usage: simulate seed N | simulate long N [FIRST] | simulate crowd N [UNITS] | simulate attack [UNITS [SEED [ROWS]]] | simulate table [WORKERS UNITS_PER_WORKER SEEDS [ROWS]]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let done = match (arguments.first().map(String::as_str), number(1)) {
        (Some("seed"), Some(seed)) => {
            println!("{:?}", small(seed));
            run(&small(seed)).map(|ended| println!("{ended:?}"))
        }
        (Some("crowd"), Some(seed)) => {
            let setup = crowd(seed, number(2).unwrap_or(CROWD_UNITS));
            println!("{setup:?}");
            let tell = |day, settled| {
                eprintln!("day {day}: {settled} of {} units are settled", setup.units);
            };
            run_and_tell(&setup, tell).map(|ended| println!("{ended:?}"))
        }
        (Some("attack"), units) => table::attacks(
            units.unwrap_or(20_000),
            number(2).unwrap_or(0),
            arguments.get(3).map_or("", String::as_str),
        ),
        (Some("long"), Some(count)) => long(number(2).unwrap_or(0), count),
        (Some("table"), workers) => table::print(
            workers.unwrap_or(200),
            number(2).unwrap_or(10_000),
            number(3).unwrap_or(1),
            arguments.get(4).map_or("", String::as_str),
        ),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn long(first: u64, count: u64) -> Result<(), String> {
    let (mut units, mut wrong) = (0, 0);
    for seed in first..first + count {
        let ended = run(&small(seed))?;
        units += ended.units;
        wrong += ended.wrong;
        if (seed + 1) % 100 == 0 {
            println!("seeds {first} to {seed}: {wrong} of {units} units are wrong");
        }
    }
    Ok(())
}
