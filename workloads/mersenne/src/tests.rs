//! The test of exponents against the known primes, another implementation's residues, and wrong parameters.

use crate::{EXPONENT_MAX, Line, Mersenne, Test, is_prime};
use num_bigint::BigUint;
use proptest::prelude::*;
use starling_sdk::native::run;

/// Exponents of the Mersenne primes up to 5,000 (OEIS A000043).
const KNOWN: [u32; 20] =
    [2, 3, 5, 7, 13, 17, 19, 31, 61, 89, 107, 127, 521, 607, 1279, 2203, 2281, 3217, 4253, 4423];

fn output(params: &str, inputs: &[&[u8]]) -> String {
    String::from_utf8(run::<Mersenne>(params, inputs).expect("the unit is right").output)
        .expect("output is text")
}

fn range(first: u32, end: u32) -> String {
    output(&format!(r#"{{"p":{{"end":{end},"first":{first}}}}}"#), &[])
}

fn test(exponent: u32) -> Line {
    let mut test = Test::new(exponent);
    loop {
        if let Some(line) = test.line() {
            return line;
        }
        test.advance(1_000_000);
    }
}

/// The last residue by an implementation that shares nothing with ours.
fn residue(exponent: u32) -> u64 {
    let modulus = (BigUint::from(1_u32) << exponent) - 1_u32;
    let last =
        (2..exponent).fold(BigUint::from(4_u32), |s, _| (&s * &s + &modulus - 2_u32) % &modulus);
    last.iter_u64_digits().next().unwrap_or(0)
}

#[test]
fn the_known_mersenne_primes_are_found_and_no_others() {
    let lines = range(0, 4_500);
    let lines: Vec<Line> = lines.lines().map(|line| line.parse().unwrap()).collect();
    assert!(lines.iter().map(|line| line.exponent).eq((0..4_500).filter(|&p| is_prime(p))));
    let primes: Vec<u32> =
        lines.iter().filter(|line| line.prime).map(|line| line.exponent).collect();
    assert_eq!(primes, KNOWN);
    assert!(lines.iter().all(|line| line.prime == (line.residue == 0)));
}

#[test]
fn larger_known_primes_are_found() {
    for exponent in [9_689, 9_941, 11_213, 19_937] {
        assert_eq!(test(exponent), Line { exponent, prime: true, residue: 0 });
    }
}

#[test]
fn residues_are_those_of_another_implementation() {
    let exponents = (3..700)
        .filter(|&p| is_prime(p))
        .chain([1_021, 2_039, 3_989, 4_001, 4_007, 5_003, 6_007, 8_111]);
    for exponent in exponents {
        assert_eq!(test(exponent).residue, residue(exponent), "exponent {exponent}");
    }
}

#[test]
fn the_output_is_the_golden_one() {
    assert_eq!(range(4_380, 4_430), include_str!("tests/golden.txt"));
}

#[test]
fn a_merge_sorts_the_lines_whatever_the_grouping() {
    let [a, b, c] = [range(0, 50), range(50, 100), range(100, 150)];
    let merge = |inputs: &[&str]| {
        let inputs: Vec<&[u8]> = inputs.iter().map(|input| input.as_bytes()).collect();
        output(r#"{"merge":{"level":1}}"#, &inputs)
    };
    assert_eq!(merge(&[&c, &a, &b]), range(0, 150));
    assert_eq!(merge(&[&merge(&[&b, &c]), &a]), range(0, 150));
}

#[test]
fn an_empty_range_has_an_empty_output() {
    assert_eq!(range(24, 29), "");
    assert_eq!(range(29, 29), "");
}

#[test]
fn wrong_parameters_get_their_reason() {
    let beyond = u64::from(EXPONENT_MAX) + 1;
    let cases = [
        ("{}".to_owned(), "an axis p of integers"),
        (
            format!(r#"{{"p":{{"end":{},"first":{beyond}}}}}"#, beyond + 1),
            "the largest this kernel tests",
        ),
        (r#"{"p":{"end":9000000,"first":0}}"#.to_owned(), "units of at most"),
        (r#"{"p":7}"#.to_owned(), "do not fit this kernel"),
    ];
    for (params, reason) in cases {
        let error = run::<Mersenne>(&params, &[]).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let error =
        run::<Mersenne>(r#"{"merge":{"level":1}}"#, &[b"7 maybe 0\n"]).unwrap_err().to_string();
    assert!(error.contains("is not a line like"), "{error}");
}

#[test]
fn progress_ends_where_it_should() {
    let run = run::<Mersenne>(r#"{"p":{"end":2300,"first":2200}}"#, &[]).unwrap();
    assert_eq!(run.progress.0, run.progress.1);
}

proptest! {
    #[test]
    fn a_line_reads_back(exponent: u32, prime: bool, residue: u64) {
        let line = Line { exponent, prime, residue };
        prop_assert_eq!(line.to_string().parse::<Line>().unwrap(), line);
    }
}
