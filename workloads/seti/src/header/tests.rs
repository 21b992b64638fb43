//! The header of the reference unit.

use super::*;
use crate::tests::{reference_result, reference_unit};

#[test]
fn the_header_prints_as_in_the_reference_result() {
    let Some(result) = reference_result() else { return };
    let expected =
        &result[result.find("  <workunit_header>").unwrap()..result.find("<triplet>").unwrap()];
    let Some(unit_file) = reference_unit() else { return };
    assert_eq!(Header::read(&unit_file).unwrap().print(), expected);
}

#[test]
fn a_bad_field_is_named() {
    let Some(unit_file) = reference_unit() else { return };
    let unit = String::from_utf8(unit_file).unwrap();
    let check = |from: &str, to: &str, message: &str| {
        assert!(unit.contains(from), "{from}");
        let error = Header::read(unit.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    check(
        "<nsamples>1048576",
        "<nsamples>1048577",
        "data_desc/nsamples of the work unit's header is 1048577",
    );
    check("<nsamples>1048576", "<nsamples>99999999999999", "data_desc/nsamples");
    check("<sample_rate>9765.62", "<sample_rate>NaN", "subband_desc/sample_rate");
    check(
        "<sample_rate>9765.62",
        "<sample_rate>",
        "subband_desc/sample_rate of the work unit's header is not a number",
    );
    check("<chirp_limit>50.0", "<chirp_limit>5e5", "analysis_cfg/chirps/chirp_limit");
    check(
        "<fft_len_flags>262136",
        "<fft_len_flags>262137",
        "analysis_cfg/chirps/chirp_parameter_t/fft_len_flags",
    );
    check("<data_type>encoded", "<data_type>tape", "splitter_cfg/data_type");
    check("<max_signals>30</max_signals>", "", "no analysis_cfg/max_signals");
    check("<coordinate_t>", "<coordinate>", "malformed");
    check("</workunit_header>", "", "<workunit_header>");
}

#[test]
fn limits_can_be_replaced() {
    let Some(unit_file) = reference_unit() else { return };
    let header = Header::read(&unit_file).unwrap().with_chirp_limits(&[1.0, 2.0]).unwrap();
    assert_eq!(header.setup.chirps.iter().map(|entry| entry.limit).collect::<Vec<_>>(), [1.0, 2.0]);
}
