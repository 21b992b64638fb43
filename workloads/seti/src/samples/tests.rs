//! Decoding, on the reference unit and on bytes made up.

use super::*;
use crate::header::Header;
use crate::tests::reference_unit;

#[test]
fn the_reference_unit_decodes() {
    let Some(unit) = reference_unit() else { return };
    let setup = Header::read(&unit).unwrap().setup;
    let samples = Samples::read(&unit, &setup).unwrap();
    assert_eq!(samples.re.len(), 1 << 20);
    assert_eq!(samples.re[..12], [1., 1., 1., 1., -1., -1., 1., 1., 1., -1., -1., 1.]);
    assert_eq!(samples.im[..12], [-1., -1., -1., -1., -1., 1., -1., -1., -1., -1., 1., 1.]);
    assert_eq!((samples.re.iter().sum::<f32>(), samples.im.iter().sum::<f32>()), (116.0, -572.0));
    assert_eq!((samples.re[(1 << 20) - 3], samples.im[(1 << 20) - 3]), (-1.0, 1.0));
}

#[test]
fn truncated_data_are_refused() {
    let Some(unit) = reference_unit() else { return };
    let setup = Header::read(&unit).unwrap().setup;
    let error = Samples::read(&unit[..100_000], &setup).unwrap_err();
    assert!(matches!(error, Error::Truncated { needed: 262_144, .. }), "{error}");
    assert_eq!(Samples::read(&unit[..6_000], &setup), Err(Error::Absent));
}

#[test]
fn every_depth_has_its_levels() {
    let Some(unit_file) = reference_unit() else { return };
    let mut setup = Header::read(&unit_file).unwrap().setup;
    setup.nsamples = 4;
    let mut check = |bits, bytes: &[u8], re: [f32; 4], im: [f32; 4]| {
        setup.wu_bits_per_sample = bits;
        assert_eq!(
            from_bytes(bytes, &setup).unwrap(),
            Samples { re: re.to_vec(), im: im.to_vec() },
            "{bits}"
        );
    };
    check(
        4,
        &[0b1100_1101, 0b0001_1011],
        [1., -3.335_875, 3.335_875, 3.335_875],
        [3.335_875, -1., -1., -3.335_875],
    );
    check(8, &[0x0f, 0xf0, 0x12, 0x34], [7.5, -7.5, -4.5, -6.5], [-7.5, 7.5, -3.5, -5.5]);
    check(16, &[1, 2, 255, 128, 0, 127, 3, 4], [2., -128., 127., 4.], [1., -1., 0., 3.]);
    assert_eq!(
        from_text(b"1 2\n\n3 -4 x\n", 2).unwrap(),
        Samples { re: vec![1., 3.], im: vec![2., -4.] }
    );
    assert_eq!(from_text(b"1 2\n3\n", 2), Err(Error::Line { line: 2 }));
    assert_eq!(from_text(b"1 2\n3 inf\n", 2), Err(Error::Line { line: 2 }));
}

#[test]
fn six_bits_go_both_ways() {
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(six_bits(to_six_bits(&bytes).as_bytes())[..256], bytes);
}
