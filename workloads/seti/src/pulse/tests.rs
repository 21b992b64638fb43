//! Folds against sums by hand.

use super::*;
use crate::header::Header;
use crate::tests::reference_unit;

#[test]
fn plans_fold_as_the_original_does() {
    let Some(unit_file) = reference_unit() else { return };
    let setup = Header::read(&unit_file).unwrap().setup;
    let plan = Plan::new(&setup, 33, &mut Limits::default());
    assert_eq!(plan.levels, 2);
    let spans: Vec<_> =
        plan.folds.iter().map(|fold| (fold.pulses, fold.period, fold.length)).collect();
    assert_eq!(spans.first(), Some(&(3, 11.0, 11)));
    assert_eq!(spans.iter().filter(|(pulses, _, _)| *pulses == 3).count(), 6);
    assert_eq!(spans.last(), Some(&(5, 5.75, 5)));
    let five = plan.folds.last().unwrap();
    assert_eq!(five.starts, [0, 6, 12, 17, 23]);
    for fold in &plan.folds {
        assert!(fold.starts[fold.pulses - 1] + fold.length <= 33);
    }
}

#[test]
fn a_train_of_pulses_is_found_at_its_period() {
    let Some(unit_file) = reference_unit() else { return };
    let setup = Header::read(&unit_file).unwrap().setup;
    let plan = Plan::new(&setup, 264, &mut Limits::default());
    let mut window = vec![f32x4::splat(1.0); 264];
    (0..5).for_each(|pulse| window[7 + pulse * 55] = f32x4::new([1.0, 20.0, 1.0, 8.0]));
    let mean = f32x4::new([1.0, 1.36, 1.0, 1.13]);
    let found = search(&window, mean, &plan, 0.0, &mut Vec::new());
    let (_, pulse) = found[1].reported.as_ref().unwrap();
    assert_eq!((pulse.period, pulse.profile.len(), pulse.most), (55.0, 55, 80.0));
    assert_eq!((pulse.scaled()[7], pulse.scaled()[8]), (255, 0));
    assert!(found[0].best.is_none() && found[3].reported.is_none());
    assert!(found[3].best.as_ref().is_some_and(|best| best.score < 1.0 && best.period == 55.0));
}
