//! Large residues: squaring modulo 2^p - 1 by a weighted cyclic convolution (Crandall and Fagin 1994), over the integers
//! modulo Q instead of the reals, so that every result is exact.
//!
//! A number is n = 2^log digits, digit i at bit ceil(p i / n), so that their widths are p / n rounded up or down.
//! Multiplied by the weight 2^(ceil(p i / n) - p i / n), which is a power of the n-th root of 2 modulo Q, a cyclic
//! convolution of length n wraps round modulo 2^p - 1. Before it is reduced modulo Q, an output is a sum of n products
//! of two digits, each times 1 or 2: below Q, and so exact, by [`fits`].

use super::field::{Q, inverse, mul, power, root_of_two};
use super::transform::Transform;

/// What the carries of a digit may add to its sum: widths are at least 5 bits, so a carry is below 2^(64 - 5).
const CARRY_ROOM: u128 = 1 << 60;
/// Fewest digits.
const LOG_MIN: u32 = 4;

#[derive(Debug)]
pub(super) struct Weighted {
    transform: Transform,
    digits: Vec<Digit>,
    words: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Digit {
    weight: u64,
    /// Takes off the weight and the transform's factor n.
    unweight: u64,
    width: u32,
}

/// Work of one squaring, in about the same measure as that of limbs.
pub(super) fn square_cost(exponent: u32) -> u64 {
    let log = log_digits(exponent);
    u64::from(log + 3) << log
}

/// The fewest digits, a power of two, with which squaring modulo 2^exponent - 1 is exact.
fn log_digits(exponent: u32) -> u32 {
    (LOG_MIN..)
        .find(|&log| fits(exponent, log))
        .expect("digits of 5 to 16 bits fit at any log up to 26")
}

/// Whether 2^log sums of 2^log products of digits, each doubled at most, and a carry stay below Q.
fn fits(exponent: u32, log: u32) -> bool {
    let digit_max = (1_u128 << exponent.div_ceil(1 << log).min(40)) - 1;
    ((digit_max * digit_max) << (log + 1)) + CARRY_ROOM < u128::from(Q)
}

impl Weighted {
    /// `value`, below 32, modulo 2^exponent - 1.
    pub(super) fn new(exponent: u32, value: u64) -> Self {
        let log = log_digits(exponent);
        let mut words = vec![0; 1 << log];
        words[0] = value;
        Self { transform: Transform::new(log), digits: digits(exponent, log), words }
    }

    pub(super) fn square_less_2(&mut self) {
        for (word, digit) in self.words.iter_mut().zip(&self.digits) {
            *word = mul(*word, digit.weight);
        }
        self.transform.square(&mut self.words);
        self.carry();
    }

    /// Back to digits, adding 2^p - 3, which is -2: all bits but that of value 2.
    fn carry(&mut self) {
        let mut carry = 0;
        let mut minus_2 = 2;
        for (word, digit) in self.words.iter_mut().zip(&self.digits) {
            let mask = (1 << digit.width) - 1;
            let sum = mul(*word, digit.unweight) + (mask - minus_2) + carry;
            (*word, carry) = (sum & mask, sum >> digit.width);
            minus_2 = 0;
        }
        // What leaves the top comes in at the bottom: 2^p is 1.
        while carry > 0 {
            for (word, digit) in self.words.iter_mut().zip(&self.digits) {
                let sum = *word + carry;
                (*word, carry) = (sum & ((1 << digit.width) - 1), sum >> digit.width);
                if carry == 0 {
                    break;
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn set_all_ones(&mut self) {
        for (word, digit) in self.words.iter_mut().zip(&self.digits) {
            *word = (1 << digit.width) - 1;
        }
    }

    /// Zero has two forms: all bits clear, and all set (2^p - 1).
    pub(super) fn is_zero(&self) -> bool {
        self.words.iter().all(|&word| word == 0) || self.is_all_ones()
    }

    fn is_all_ones(&self) -> bool {
        self.words.iter().zip(&self.digits).all(|(&word, digit)| word == (1 << digit.width) - 1)
    }

    pub(super) fn low_64(&self) -> u64 {
        if self.is_all_ones() {
            return 0;
        }
        let mut at = 0;
        let mut low = 0;
        for (word, digit) in self.words.iter().zip(&self.digits) {
            low |= word << at;
            at += digit.width;
            if at >= u64::BITS {
                break;
            }
        }
        low
    }
}

fn digits(exponent: u32, log: u32) -> Vec<Digit> {
    let (exponent, count) = (u64::from(exponent), 1_u64 << log);
    let root = root_of_two(log);
    assert_eq!(power(root, count), 2, "the weights are powers of the count-th root of 2");
    let bit = |index: u64| (exponent * index).div_ceil(count);
    let unweight_0 = inverse(count);
    let digit = |index| {
        // ceil(p i / n) - p i / n is so many n-th parts of a bit.
        let weight = power(root, bit(index) * count - exponent * index);
        let width = u32::try_from(bit(index + 1) - bit(index)).expect("a digit is below 64 bits");
        Digit { weight, unweight: mul(inverse(weight), unweight_0), width }
    };
    (0..count).map(digit).collect()
}
