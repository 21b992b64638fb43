//! The kernels that come with Starling, in the sandbox, killed again and again.

use super::interrupted::under_fire;
use super::lab::Lab;
use sandbox::{Begin, Outcome, TracePlan, Unit, Until};

fn text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { output, .. } => String::from_utf8(output.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mersenne_primes_come_out_the_same_under_fire() {
    let lab = Lab::new();
    let mut unit = lab.unit(shipped::MERSENNE);
    unit.params = br#"{"p":{"end":4500,"first":3200}}"#.to_vec();
    let plan =
        TracePlan { spacing: 1 << 26, begin: Begin::Start, until: Until::End, archive: None };
    unit.trace = Some(plan);
    let want = lab.run(unit.clone()).0.outcome;
    assert!(
        matches!(&want, Outcome::Done { trace: Some(trace), .. } if !trace.points().is_empty())
    );
    let primes = |text: &str| -> Vec<u32> {
        let lines = text.lines().filter(|line| line.contains(" prime "));
        lines.map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(primes(&text(&want)), [3217, 4253, 4423]);
    unit.snapshot = lab.snapshot();
    let (outcome, n_killed, n_resumed) = under_fire(&lab, &unit, 1, 300);
    assert!(outcome == want);
    assert!(0 < n_killed);
    println!("{n_killed} kills, {n_resumed} resumptions");
}

#[test]
fn a_program_in_c_runs_as_it_is() {
    let lab = Lab::new();
    let unit =
        Unit { params: br#"{"n":{"end":1000,"first":1}}"#.to_vec(), ..lab.unit(shipped::COLLATZ) };
    let finished = lab.run(unit.clone()).0;
    assert!(!text(&finished.outcome).is_empty());
    assert_eq!(lab.run(unit).0.outcome, finished.outcome);
}
