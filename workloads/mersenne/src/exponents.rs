//! Which exponents of a range are worth a test: the primes.

use crate::RANGE_MAX;
use starling_sdk::{Error, Range};

/// Largest exponent: its transform of 2^23 words takes 450 MB.
pub const EXPONENT_MAX: u32 = 100_000_000;

/// The prime exponents of a unit's range.
pub(crate) fn primes(range: Range) -> Result<Vec<u32>, Error> {
    if range.count() > RANGE_MAX {
        let count = range.count();
        return Err(Error::new(format!(
            "a unit of {count} exponents: cut p into units of at most {RANGE_MAX}"
        )));
    }
    let exponent = |p| match u32::try_from(p) {
        Ok(p) if p <= EXPONENT_MAX => Ok(p),
        _ => Err(Error::new(format!(
            "the exponent {p} is beyond {EXPONENT_MAX}, the largest this kernel tests"
        ))),
    };
    let exponents = range.into_iter().map(exponent).collect::<Result<Vec<_>, _>>()?;
    Ok(exponents.into_iter().filter(|&p| is_prime(p)).collect())
}

/// Whether a number is prime, by trial division.
pub fn is_prime(n: u32) -> bool {
    let limit = n.isqrt();
    n == 2 || (n > 2 && n % 2 == 1 && (3..=limit).step_by(2).all(|d| !n.is_multiple_of(d)))
}
