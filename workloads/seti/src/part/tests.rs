//! However the table is cut, the whole is the same.

use super::*;
use crate::{Plant, Recipe, SHARES, Search, Seti};
use starling_sdk::native;

/// A unit with signals of several kinds.
fn unit(max_signals: usize) -> Vec<u8> {
    let tone =
        Plant::Tone { amplitude: 0.07, frequency: 300.0, drift: -0.03, begin: 40.2, end: 53.8 };
    let source = Plant::Source { amplitude: 0.1, frequency: 350.0, drift: 0.01, at: 51.0 };
    let echo = Plant::Echo { amplitude: 0.05, delay: 3.1 };
    let plants = vec![tone, source, echo];
    Recipe { seed: 3, nsamples: 1 << 16, chirp_limits: [0.06, 0.12], max_signals, plants }
        .unit()
        .unwrap()
}

fn pieces(unit: &[u8], count: u64) -> Vec<Vec<u8>> {
    let params = |piece: u64| {
        let (first, end) = (piece * SHARES / count, (piece + 1) * SHARES / count);
        format!("{{\"share\":{{\"end\":{end},\"first\":{first}}}}}")
    };
    (0..count).map(|piece| native::run::<Seti>(&params(piece), &[unit]).unwrap().output).collect()
}

fn merge(parts: &[Vec<u8>], level: u32) -> Vec<u8> {
    let inputs: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    native::run::<Seti>(&format!("{{\"merge\":{{\"level\":{level}}}}}"), &inputs).unwrap().output
}

#[test]
fn the_result_does_not_depend_on_the_cut() {
    for max_signals in [1000, 5] {
        let unit = unit(max_signals);
        let whole = native::run::<Seti>("{}", &[&unit]).unwrap();
        assert!(whole.output.starts_with(b"<result>"));
        let records = crate::read_result(&whole.output).unwrap();
        assert!(
            5 <= records.len() && (max_signals != 5 || records.len() == 5),
            "{}",
            records.len()
        );
        for count in [1, 7, 100] {
            let parts = pieces(&unit, count);
            assert_eq!(merge(&parts, 1), whole.output, "{count} pieces");
            let tree: Vec<_> = parts.chunks(10).map(|parts| merge(parts, 1)).collect();
            assert_eq!(merge(&tree, 2), whole.output, "{count} pieces up a tree");
        }
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let parts = pieces(&unit(1000), 7);
    let read = |index: usize| Output::from_bytes(&parts[index]).unwrap();
    let message = |outputs| Output::merge(outputs).unwrap_err().to_string();
    // Chirp 0 is a large part of so small a table: the second piece may be empty, the last is not.
    assert!(message(vec![read(0), read(6)]).starts_with("after pair "));
    assert!(message(vec![read(6), read(6)]).starts_with("after pair "));
    assert_eq!(message(Vec::new()), "there are no parts to merge");
    let Output::Part(mut other) = read(1) else { panic!() };
    other.header.push('x');
    assert_eq!(
        message(vec![read(0), Output::Part(other)]),
        "the parts are of different work units"
    );
    assert!(Output::from_bytes(b"nothing").is_err());
    assert!(Output::from_bytes(&parts[0][..parts[0].len() - 1]).is_err());
}

#[test]
fn a_search_in_many_steps_ends_as_one_in_few() {
    let unit = unit(1000);
    let run = |cost: u64| {
        let mut search = Search::new(&unit, |table| 0..table.pairs.len()).unwrap();
        while search.step(cost) {}
        search.finish().to_bytes()
    };
    assert_eq!(run(1), run(u64::MAX));
}
