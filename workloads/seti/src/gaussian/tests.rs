//! The constants of the reference unit.

use super::*;
use crate::header::Header;
use crate::tests::reference_unit;

#[test]
fn weights_and_scores_are_those_of_the_original() {
    let Some(unit_file) = reference_unit() else { return };
    let setup = Header::read(&unit_file).unwrap().setup;
    let gaussians = Gaussians::new(&setup, &Derived::new(&setup), true);
    let weights = [1.0, 0.945_289_43, 0.798_471_15, 0.602_675_14, 0.406_477_87, 0.244_974_09];
    for (d, weight) in weights.into_iter().enumerate() {
        assert!((gaussians.weights[d] - weight).abs() < 1e-7, "{d} {}", gaussians.weights[d]);
    }
    assert!((gaussians.norm - 0.153_708_36).abs() < 2e-8, "{}", gaussians.norm);
    assert!((gaussians.offset + 10.033).abs() < 1e-5, "{}", gaussians.offset);
    assert_eq!((gaussians.first, gaussians.end, gaussians.reach), (4, 60, 4));
    for (chi, null_chi, score) in [(1.411_675, 2.108_55, 0.2516), (1.260_55, 2.260_767, 4.6799)] {
        let got = gaussians.score(&Fit { chi, null_chi, ..Fit::default() });
        assert!((got - score).abs() < 1e-4, "{got}");
    }
    let floor = gaussians.null_floor(4.0);
    assert!(gaussians.score(&Fit { null_chi: floor, ..Fit::default() }) <= 4.0);
    assert!(4.0 < gaussians.score(&Fit { null_chi: floor * 1.01, ..Fit::default() }));
}
