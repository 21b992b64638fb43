//! Random modules and random bytes, from fixed seeds.

use crate::checks::{self, Fate};
use crate::smith::{self, Diet};
use kernel::{Contract, NanMode, prepare};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;

/// Bytes from which a module is made.
const BYTES: usize = 4096;

fn bytes(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

fn check(diet: Diet, contract: Contract, seeds: std::ops::Range<u64>) {
    let mut fates = BTreeMap::new();
    let n_seeds = seeds.end - seeds.start;
    for seed in seeds {
        println!("seed {seed}");
        *fates.entry(checks::generated(diet, contract, &bytes(seed))).or_insert(0) += 1;
    }
    println!("{diet:?}, {contract:?}: {fates:?}");
    let count = |fate| fates.get(&fate).copied().unwrap_or(0);
    let compared = count(Fate::Compared) + count(Fate::WithoutWinch);
    assert!(n_seeds / 2 < compared, "too few modules were compared: {fates:?}");
    assert!(0 < count(Fate::Compared), "Winch compiled none: {fates:?}");
    // wasmi 2.0.0 divides by zero where no other engine does, in about one module of 400.
    assert!(count(Fate::WithoutWasmi) <= n_seeds / 50, "{fates:?}");
}

#[test]
fn random_modules_behave_the_same_prepared_or_not_on_every_engine() {
    check(Diet::Mixed, Contract::One, 0..75);
    check(Diet::Mixed, Contract::Two, 75..150);
}

#[test]
fn random_modules_without_traps_behave_the_same_prepared_or_not_on_every_engine() {
    check(Diet::Calm, Contract::One, 4_000..4_050);
    check(Diet::Calm, Contract::Two, 4_050..4_100);
}

#[test]
fn random_modules_of_arithmetic_behave_the_same_prepared_or_not_on_every_engine() {
    check(Diet::Arithmetic, Contract::One, 1_000..1_075);
    check(Diet::Arithmetic, Contract::Two, 1_075..1_150);
}

#[test]
fn random_modules_stop_at_every_budget() {
    let mut n_modules = 0;
    for seed in 2_000..2_030 {
        let Some(wasm) = smith::module(Diet::Calm, &bytes(seed)) else { continue };
        let contract = if seed % 2 == 0 { Contract::One } else { Contract::Two };
        let Ok(prepared) = prepare(&wasm, NanMode::Canonical, contract) else { continue };
        println!("seed {seed}");
        n_modules += u32::from(checks::exact_stop(&prepared, smith::CALLS, 20));
    }
    println!("{n_modules} modules ended well");
    assert!(3 <= n_modules, "only {n_modules} modules ended well");
}

#[test]
fn random_and_damaged_bytes_are_refused_without_a_panic() {
    for seed in 3_000..3_300 {
        let mut random = StdRng::seed_from_u64(seed);
        checks::any_bytes(&bytes(seed));
        let Some(mut wasm) = smith::module(Diet::Mixed, &bytes(seed)) else { continue };
        for _ in 0..random.random_range(1..4) {
            let position = random.random_range(0..wasm.len());
            wasm[position] = random.random();
        }
        checks::any_bytes(&wasm);
        wasm.truncate(random.random_range(0..wasm.len()));
        checks::any_bytes(&wasm);
    }
}
