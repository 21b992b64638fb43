//! The reference result, read.

use super::*;
use crate::tests::reference_result;

#[test]
fn the_reference_result_is_read() {
    let Some(result_file) = reference_result() else { return };
    let records = read(result_file.as_bytes()).unwrap();
    assert_eq!(records.len(), 27);
    assert_eq!(records[0].number("peak_power"), 8.642_654_418_945_3);
    assert_eq!((records[16].kind.as_str(), records[16].pot.len()), ("gaussian", 64));
    assert_eq!((records[25].kind.as_str(), records[25].pot.len()), ("best_pulse", 45));
}

#[test]
fn lists_wrap_as_in_the_reference_result() {
    let Some(text) = reference_result() else { return };
    for record in read(text.as_bytes()).unwrap().iter().filter(|record| !record.pot.is_empty()) {
        let printed = format!("  <pot length={}</pot>\n", body(&wrap(&record.pot), 2));
        assert!(text.contains(&printed), "{printed}");
    }
}

#[test]
fn broken_results_are_refused() {
    let Some(text) = reference_result() else { return };
    let message = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(message("<x></x>"), "there is no <result> in the file");
    let changed = text.replacen("<chirp_rate>0.9168656437853", "<chirp_rate>NaN", 1);
    assert_eq!(message(&changed), "signal 1 (triplet) has no chirp_rate that is a finite number");
    assert!(message(&text[..text.find("</triplet>").unwrap() + 4]).contains("malformed"));
}
