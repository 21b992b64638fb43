//! Numbers: rounding with a bound, and printing as the original prints.

/// Digits that the original prints of any number.
const DIGITS: usize = 14;

/// Cut towards zero; 0 for what is negative or not a number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates"
)]
pub(crate) fn whole(value: f64) -> usize {
    value as u32 as usize
}

/// Rounded to the nearest f32.
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is asked")]
pub(crate) fn single(value: f64) -> f32 {
    value as f32
}

/// A count as f32; exact below 2^24.
pub(crate) fn count(value: usize) -> f32 {
    value as f32
}

/// As C's `%.14g`: at most 14 significant digits, without trailing zeros.
pub(crate) fn print(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let scientific = format!("{value:.precision$e}", precision = DIGITS - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    match usize::try_from(exponent) {
        Ok(exponent) if exponent < DIGITS => {
            trim(&format!("{value:.0$}", DIGITS - 1 - exponent)).to_owned()
        }
        Err(_) if -5 < exponent => {
            trim(&format!("{value:.0$}", DIGITS - 1 + exponent.unsigned_abs() as usize)).to_owned()
        }
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{}e{sign}{:02}", trim(mantissa), exponent.unsigned_abs())
        }
    }
}

fn trim(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_in_c() {
        let check = |value: f64, text: &str| assert_eq!(print(value), text);
        check(2451606.858528479, "2451606.8585285");
        check(f64::from(13.400_216_f32), "13.4002161026");
        check(0.1, "0.1");
        check(-91.0, "-91");
        check(1048576.0, "1048576");
        check(0.0, "0");
        check(0.000_1, "0.0001");
        check(0.000_01, "1e-05");
        check(1.5e20, "1.5e+20");
        check(99_999_999_999_999.0, "99999999999999");
        check(999_999_999_999_999.0, "1e+15");
        check(9.999_999_999_999_99, "10");
        check(-1.848_519_443_115_522_9e-3, "-0.0018485194431155");
    }
}
