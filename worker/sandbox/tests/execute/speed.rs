//! That short units are cheap and slots do not hinder each other, at the coarse; the bench `execute` measures it.

use super::lab::{Lab, stepping};
use sandbox::Unit;
use std::time::Instant;

#[test]
fn thousands_of_trivial_units_pass_in_seconds() {
    let lab = Lab::new();
    let slots = lab.slots(lab.config(1));
    let unit = lab.unit(stepping("(i32.const 0)"));
    slots.pool.submit(0, unit.clone()).unwrap();
    slots.finished();
    let start = Instant::now();
    for id in 1..=20_000 {
        slots.pool.submit(id, Unit { params: b"{}".to_vec(), ..unit.clone() }).unwrap();
    }
    for _ in 1..=20_000 {
        slots.finished();
    }
    let rate = 20_000.0 / start.elapsed().as_secs_f64();
    println!("{rate:.0} trivial units per second in one slot");
    assert!(500.0 < rate, "{rate}");
}
