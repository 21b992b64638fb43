//! Arithmetic modulo Q = 2^64 - 2^32 + 1, a prime whose products reduce by shifts, since 2^64 = 2^32 - 1 and
//! 2^96 = -1. Every value that goes in and comes out is below Q.
#![expect(
    clippy::cast_possible_truncation,
    reason = "words are cut from wider products on purpose"
)]

/// The modulus. Its group has a root of unity of order 2^32, and a 2^k-th root of 2 up to k = 26.
pub(super) const Q: u64 = 0xFFFF_FFFF_0000_0001;
/// 2^64 modulo Q.
const EPSILON: u64 = 0xFFFF_FFFF;
/// Generates the group.
const GENERATOR: u64 = 7;
/// Order of [`root_of_unity`]'s largest root: 2^32.
const TWO_ADICITY: u32 = 32;

#[inline(always)]
pub(super) fn add(a: u64, b: u64) -> u64 {
    let (sum, below) = a.overflowing_sub(Q - b);
    if below { sum.wrapping_add(Q) } else { sum }
}

#[inline(always)]
pub(super) fn sub(a: u64, b: u64) -> u64 {
    let (difference, below) = a.overflowing_sub(b);
    if below { difference.wrapping_add(Q) } else { difference }
}

#[inline(always)]
pub(super) fn mul(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    reduce(wide as u64, (wide >> 64) as u64)
}

/// a times 2^48, a square root of -1.
#[inline(always)]
pub(super) fn mul_by_i(a: u64) -> u64 {
    reduce(a << 48, a >> 16)
}

/// low + 2^64 high: with high = h + 2^32 k, k is taken off (2^96 = -1) and h (2^32 - 1) is added (2^64 = 2^32 - 1).
#[inline(always)]
fn reduce(low: u64, high: u64) -> u64 {
    let (less, below) = low.overflowing_sub(high >> 32);
    let less = if below { less.wrapping_sub(EPSILON) } else { less };
    // `less` may be Q or more, but the product is at most Q - 2^32, so that `add` still ends below Q.
    add(less, (high & EPSILON) * EPSILON)
}

pub(super) fn power(base: u64, exponent: u64) -> u64 {
    (0..u64::BITS - exponent.leading_zeros()).rev().fold(1, |result, bit| {
        let square = mul(result, result);
        if exponent >> bit & 1 == 1 { mul(square, base) } else { square }
    })
}

pub(super) fn inverse(a: u64) -> u64 {
    power(a, Q - 2)
}

/// The root of unity of order 2^log whose quarter turn is 2^48.
pub(super) fn root_of_unity(log: u32) -> u64 {
    let root = power(GENERATOR, (Q - 1) >> TWO_ADICITY);
    let quarter = power(root, 1 << (TWO_ADICITY - 2));
    let root = if quarter == 1 << 48 { root } else { inverse(root) };
    power(root, 1 << (TWO_ADICITY - log))
}

/// A 2^log-th root of 2, for log up to 26.
///
/// 2 has order 192 = 64 * 3, and 2 = 2^129 * 2^64 (193 = 1 modulo 192) parts it into an element of order 64 and one of
/// order 3. The first is a power of the root of order 64, whose 2^log-th root is the same power of the root of order
/// 2^(log + 6). The second's is itself or its square, as 2^log is its own inverse modulo 3.
pub(super) fn root_of_two(log: u32) -> u64 {
    let order_64 = root_of_unity(6);
    let turns =
        (0..64).find(|&turns| power(order_64, turns) == power(2, 129)).expect("2^129 has order 64");
    let thirds = if log.is_multiple_of(2) { 1 } else { 2 };
    mul(power(root_of_unity(log + 6), turns), power(power(2, 64), thirds))
}
