//! Some hundred small worlds, each from its seed; every invariant is checked after every event. A seed that fails is
//! printed, and runs again with `simulate seed N`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is the result of a test"
)]

use rayon::prelude::*;
use tests::simulation::{Setup, run, small};

/// Seeds of the suite.
const SEEDS: u64 = 240;

#[test]
fn whatever_happens_every_unit_gets_one_verdict_and_liars_get_nowhere() {
    let worlds = (0..SEEDS).into_par_iter().map(small);
    let worlds: Vec<_> = worlds.map(|setup| (run(&setup).unwrap(), setup)).collect();
    let (mut units, mut wrong, mut withdrawn, mut caught) = (0, 0, 0, 0);
    let (mut crashes, mut restarts) = (0, 0);
    for (ended, setup) in worlds {
        let seed = setup.seed;
        if setup.others.iter().all(|(kind, _)| kind.is_honest()) {
            assert_eq!((ended.wrong, ended.given_up, ended.caught), (0, 0, 0), "seed {seed}");
        }
        units += ended.units;
        wrong += ended.wrong;
        crashes += ended.crashes;
        restarts += ended.restarts;
        withdrawn += ended.withdrawn;
        caught += ended.caught;
    }
    // Jobs of a few hundred units ask for chances down to one in ten of a wrong unit, among up to 40 % liars.
    assert!(wrong * 50 < units, "{wrong} of {units} units are wrong");
    // The seeds meet what they are there for.
    assert!(5 < withdrawn && 50 < caught, "{withdrawn} {caught}");
    assert!(50 < crashes && 50 < restarts, "{crashes} {restarts}");
}

#[test]
fn a_run_with_crashes_ends_as_a_calm_one() {
    (0..20).into_par_iter().for_each(|seed| {
        let calm = Setup { others: Vec::new(), crash: 0.0, ..small(seed) };
        let stormy = Setup { crash: 0.1, ..calm.clone() };
        let (calm, stormy) = (run(&calm).unwrap(), run(&stormy).unwrap());
        assert!(0 < stormy.crashes, "seed {seed}");
        assert_eq!(calm.fingerprint, stormy.fingerprint, "seed {seed}");
    });
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    let setup = small(7);
    assert_eq!(run(&setup).unwrap(), run(&setup).unwrap());
}
