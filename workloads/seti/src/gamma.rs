//! The tail of the gamma distribution, and its inverse on the path that the original walks.

/// Continued fractions and the inverse end by themselves after far fewer rounds; this is for arguments without sense.
const ROUNDS_MAX: usize = 10_000;

/// `ln Q(a, x)`, the logarithm of the upper regularised incomplete gamma function, for `x >= a + 1`.
pub(crate) fn ln_q(a: f64, x: f64) -> f32 {
    let tiny = f64::MIN_POSITIVE / f64::EPSILON;
    let guard = |value: f64| if value.abs() < tiny { tiny } else { value };
    // Modified Lentz.
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / tiny;
    let mut d = 1.0 / guard(b);
    let mut h = d;
    for i in 1..ROUNDS_MAX {
        let i = i as f64;
        let an = -i * (i - a);
        b += 2.0;
        d = 1.0 / guard(an * d + b);
        c = guard(b + an / c);
        let factor = d * c;
        h *= factor;
        if (factor - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    crate::number::single(libm::log(h) - x + a * libm::log(x) - libm::lgamma(a))
}

/// The x with `ln_q(a, x) = y`, to the original's tolerance of 1e-4 and in its f32: bracketed Newton steps.
pub(crate) fn inverse_ln_q(y: f32, a: f32) -> f32 {
    let value = |x: f32| ln_q(f64::from(a), f64::from(x));
    let slope_at = |x: f32| (value(x + 0.1) - value(x - 0.1)) / 0.2;
    let mut high = a + 1.5;
    let mut low = a - 2.0 * y * a.sqrt();
    let mut x = (high + low) / 2.0;
    let (mut f, mut slope) = (value(x) - y, slope_at(x));
    let mut last = (high - low).abs();
    let mut current = last;
    for _ in 0..ROUNDS_MAX {
        let before = x;
        if 0.0 <= ((x - high) * slope - f) * ((x - low) * slope - f)
            || (last * slope).abs() < (2.0 * f).abs()
        {
            last = current;
            current = (high - low) / 2.0;
            x = low + current;
            if x == low || x == high {
                break;
            }
        } else {
            last = current;
            current = f / slope;
            x -= current;
            if x == before {
                break;
            }
        }
        (f, slope) = (value(x) - y, slope_at(x));
        if f.abs() < 1e-4 * y.abs() {
            break;
        }
        if f < 0.0 { low = x } else { high = x }
    }
    x
}

/// The sum of `bins` bins of noise of mean 1 that is exceeded with probability `exp(-threshold) / profile`.
pub(crate) fn pulse_limit(threshold: f64, profile: usize, bins: usize) -> f32 {
    let y = -threshold - libm::log(profile as f64);
    inverse_ln_q(crate::number::single(y), crate::number::count(bins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_the_tables() {
        for (a, x, expected) in
            [(3.0, 10.0, -5.889_126_3), (31.0, 32.0, -0.901_037_63), (31.5, 70.0, -16.237_778)]
        {
            assert!((ln_q(a, x) / expected - 1.0).abs() < 2e-7, "{}", ln_q(a, x));
        }
    }

    #[test]
    fn the_inverse_stops_where_the_original_stops() {
        let cases = [
            (5641, 3, 35.119_095),
            (88, 3, 30.697_695),
            (64, 3, 30.357_693),
            (11, 3, 28.472_864),
            (8, 5, 33.014_23),
            (45, 5, 34.963_795),
            (22, 10, 44.708_96),
        ];
        for (profile, bins, expected) in cases {
            let limit = pulse_limit(20.0, profile, bins);
            assert!(
                (limit / expected - 1.0).abs() < 1e-6,
                "{profile} {bins}: {limit} against {expected}"
            );
        }
    }
}
