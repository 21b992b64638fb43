//! The parts of the arithmetic: the field, the transform, one squaring at every size.

use super::field::{Q, add, inverse, mul, mul_by_i, power, root_of_two, root_of_unity, sub};
use super::limbs::Limbs;
use super::transform::Transform;
use super::weighted::Weighted;
use num_bigint::BigUint;
use proptest::prelude::*;

fn element() -> impl Strategy<Value = u64> {
    prop_oneof![0..Q, 0..4_u64, Q - 4..Q, (1_u64 << 32) - 4..(1 << 32) + 4]
}

#[test]
fn roots_have_their_orders() {
    for log in 1..=32 {
        assert_eq!(power(root_of_unity(log), 1 << (log - 1)), Q - 1);
    }
    for log in 0..=26 {
        assert_eq!(power(root_of_two(log), 1 << log), 2, "2^{log}-th root");
    }
}

/// Convolution by its definition.
#[test]
fn the_transform_squares_polynomials() {
    for log in 2..=8 {
        let count = 1_usize << log;
        let words: Vec<u64> = (0..count as u64).map(|at| power(7, at * at + 3)).collect();
        let mut expected = vec![0; count];
        for (i, &a) in words.iter().enumerate() {
            for (j, &b) in words.iter().enumerate() {
                expected[(i + j) % count] = add(expected[(i + j) % count], mul(a, b));
            }
        }
        let mut squared = words;
        Transform::new(log).square(&mut squared);
        let expected: Vec<u64> =
            expected.into_iter().map(|value| mul(value, count as u64)).collect();
        assert_eq!(squared, expected, "length 2^{log}");
    }
}

/// Both representations iterate together, so each is checked by the other at sizes with even and odd logarithms.
#[test]
fn limbs_and_weighted_digits_agree() {
    for exponent in [4_001, 9_973, 31_607, 65_537, 200_003] {
        let (mut limbs, mut weighted) = (Limbs::new(exponent, 4), Weighted::new(exponent, 4));
        for iteration in 0..40 {
            limbs.square_less_2();
            weighted.square_less_2();
            assert_eq!(
                limbs.low_64(),
                weighted.low_64(),
                "exponent {exponent}, iteration {iteration}"
            );
        }
    }
}

/// All ones is the other form of zero, and the largest digits there are: what an inexact bound would get wrong.
#[test]
fn the_largest_digits_square_exactly() {
    for exponent in [4_001, 94_207, 753_659] {
        let mut weighted = Weighted::new(exponent, 4);
        weighted.set_all_ones();
        assert!(weighted.is_zero() && weighted.low_64() == 0);
        weighted.square_less_2();
        assert!(!weighted.is_zero());
        assert_eq!(weighted.low_64(), u64::MAX - 2, "0 * 0 - 2 is 2^p - 3");
        weighted.square_less_2();
        assert_eq!(weighted.low_64(), 2, "(-2)^2 - 2 is 2");
    }
}

proptest! {
    #[test]
    fn field_operations_are_those_of_the_integers(a in element(), b in element()) {
        let (q, wide_a, wide_b) = (u128::from(Q), u128::from(a), u128::from(b));
        prop_assert_eq!(u128::from(add(a, b)), (wide_a + wide_b) % q);
        prop_assert_eq!(u128::from(sub(a, b)), (wide_a + q - wide_b) % q);
        prop_assert_eq!(u128::from(mul(a, b)), wide_a * wide_b % q);
        prop_assert_eq!(u128::from(mul_by_i(a)), (wide_a << 48) % q);
        prop_assert_eq!(mul(a, inverse(a)), u64::from(a != 0));
    }

    #[test]
    fn small_residues_iterate_as_big_integers(exponent in 3_u32..300, start in 0_u64..6) {
        let modulus = (BigUint::from(1_u32) << exponent) - 1_u32;
        let mut expected = BigUint::from(start) % &modulus;
        let mut limbs = Limbs::new(exponent, expected.iter_u64_digits().next().unwrap_or(0));
        for _ in 0..20 {
            expected = (&expected * &expected + &modulus - 2_u32) % &modulus;
            limbs.square_less_2();
            prop_assert_eq!(limbs.low_64(), expected.iter_u64_digits().next().unwrap_or(0));
            prop_assert_eq!(limbs.is_zero(), expected == BigUint::ZERO);
        }
    }
}
