//! The walls around children that run real units: that they stand, that all that units do goes on behind them, and what is
//! said where the system has fewer.

use super::lab::{Lab, stepping, walker};
use sandbox::{Config, Event, Outcome, Trouble, Unit, WallPlan, Walls};
use std::fs;

/// The walls that this system has, as a pool says after a unit.
fn walls(lab: &Lab, plan: WallPlan) -> (Outcome, Option<Walls>) {
    let slots = lab.slots(Config { walls: plan, ..lab.config(1) });
    slots.pool.submit(1, lab.unit(stepping("(i32.const 0)"))).unwrap();
    let (_, finished) = slots.finished();
    (finished.outcome, slots.pool.status().walls)
}

#[test]
fn what_stands_around_the_children_is_said_and_the_system_says_the_same() {
    let lab = Lab::new();
    let slots = lab.slots(lab.config(1));
    let endless = Unit { snapshot: lab.snapshot(), ..lab.unit(stepping("(i32.const 1)")) };
    slots.pool.submit(1, endless).unwrap();
    slots.started();
    let walls = slots.pool.status().walls.unwrap();
    for child in lab.children() {
        let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap();
        let said = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().to_owned()
        };
        assert_eq!(said("Seccomp:"), if walls.calls { "2" } else { "0" });
        assert_eq!(said("NoNewPrivs:"), if walls.no_privileges { "1" } else { "0" });
        for set in ["CapEff:", "CapPrm:", "CapInh:"] {
            assert!(!walls.no_privileges || said(set).trim_matches('0').is_empty(), "{set}");
        }
        let limits = fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
        let limit = |name: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!(limit("Max processes"), "0");
        assert_eq!(limit("Max core file size"), "0");
        assert!(limit("Max open files").parse::<u32>().unwrap() <= 128);
        assert_ne!(limit("Max file size"), "unlimited");
    }
    slots.pool.stop();
}

#[test]
fn units_come_to_the_same_behind_fewer_walls_and_that_is_said() {
    let lab = Lab::new();
    let unit = Unit { snapshot: lab.snapshot(), ..lab.unit(walker(40)) };
    let all = lab.run(unit.clone()).0.outcome;
    assert!(matches!(all, Outcome::Done { .. }), "{all:?}");
    for (landlock, calls) in [(false, true), (true, false), (false, false)] {
        let plan = WallPlan { landlock, calls, namespaces: false, required: false };
        let config = Config { walls: plan, ..lab.config(1) };
        let finished = sandbox::run_once(config, unit.clone(), |event| {
            assert!(!matches!(event, Event::Warning(_)), "{event:?}");
        });
        assert_eq!(finished.unwrap().outcome, all);
        let stands = walls(&lab, plan).1.unwrap();
        assert!(!stands.namespaces && (landlock || stands.landlock.is_none()));
        let lacking = stands.to_string();
        assert!(calls || lacking.contains("seccomp"), "{lacking}");
        assert!(landlock || lacking.contains("lacks Landlock"), "{lacking}");
    }
}

#[test]
fn a_namespace_stands_only_where_landlock_denies_no_ports() {
    let lab = Lab::new();
    let stands = walls(&lab, WallPlan::default()).1.unwrap();
    assert!(!stands.namespaces || stands.landlock < Some(4), "{stands}");
    let (outcome, older) = walls(&lab, WallPlan { landlock: false, ..WallPlan::default() });
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    // Where the system lets one at all, which a namespace of a user that is made here tells.
    let lets = std::process::Command::new("unshare").args(["-Un", "true"]).status();
    if lets.is_ok_and(|status| status.success()) {
        assert!(older.unwrap().namespaces, "{older:?}");
    }
}

#[test]
fn where_walls_are_required_nothing_runs_without_them() {
    let lab = Lab::new();
    let full = WallPlan { required: true, ..WallPlan::default() };
    let (outcome, stands) = walls(&lab, full);
    match stands.map(|walls| walls.lacking()) {
        Some(None) => assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}"),
        // Compiling was refused already, or running.
        _ => assert!(matches!(outcome, Outcome::Infrastructure { .. }), "{outcome:?}"),
    }
    for plan in [WallPlan { landlock: false, ..full }, WallPlan { calls: false, ..full }] {
        let refused = |outcome: Outcome| {
            let Outcome::Infrastructure { reason: Trouble::Machine(text) } = outcome else {
                panic!("{outcome:?}");
            };
            assert!(text.contains("--require-walls"), "{text}");
        };
        // A kernel that was compiled already is not run.
        let lab = Lab::new();
        refused(walls(&lab, plan).0);
        walls(&lab, WallPlan::default());
        refused(walls(&lab, plan).0);
    }
}
