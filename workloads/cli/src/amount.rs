//! Sizes, durations and counts, as people write and read them.

use bytesize::ByteSize;
use std::time::Duration;

/// Reads a size in bytes: `"256 MiB"`, `"1.5 GB"`, `"4096"`.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    text.trim().parse::<ByteSize>().ok().map(|size| size.0)
}

/// Reads a duration: `"10 min"`, `"1h 30m"`, `"2 days"`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text.trim()).ok()
}

/// Reads a whole number: `"5_000"`, `"5e9"`, `"2.5 G"` (k, M, G, T, P: powers of a thousand).
#[must_use]
pub fn parse_count(text: &str) -> Option<u64> {
    let text: String = text.chars().filter(|c| *c != '_' && !c.is_whitespace()).collect();
    let (digits, factor_digits) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 3),
        'M' => (&text[..text.len() - 1], 6),
        'G' => (&text[..text.len() - 1], 9),
        'T' => (&text[..text.len() - 1], 12),
        'P' => (&text[..text.len() - 1], 15),
        _ => (text.as_str(), 0),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<u32>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zeros =
        exponent.checked_add(factor_digits)?.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    let joined = format!("{whole}{fraction}");
    if whole.is_empty() || !joined.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    joined.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(zeros)?)
}

/// A size for people: `1.5 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// A duration for people, in whole seconds from ten on: `1h 2m 3s`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    if duration < Duration::from_millis(100) {
        return format!("{:.1} ms", duration.as_secs_f64() * 1e3);
    }
    if duration < Duration::from_secs(10) {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    let rounded = Duration::from_secs(duration.as_secs());
    humantime::format_duration(rounded).to_string()
}

/// A count for people, four digits and a power of a thousand: `12.35 G`.
#[must_use]
pub fn count(count: u64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (1_000_000_000_000_000_000, "E"),
        (1_000_000_000_000_000, "P"),
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (1_000, "k"),
    ];
    match UNITS.iter().find(|(unit, _)| *unit * 10 <= count) {
        None => count.to_string(),
        Some((unit, name)) => {
            let hundredths = u128::from(count) * 100 / u128::from(*unit);
            format!("{}.{:02} {name}", hundredths / 100, hundredths % 100)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_as_people_write_them() {
        let check = |text, expected| assert_eq!(parse_count(text), expected, "{text}");
        check("12", Some(12));
        check("5_000", Some(5_000));
        check("5e9", Some(5_000_000_000));
        check("5 G", Some(5_000_000_000));
        check("2.5 G", Some(2_500_000_000));
        check("1.25e2", Some(125));
        check("1.25", None);
        check("-5", None);
        check("G", None);
        check("", None);
        check("1e99", None);
        check("5 g", None);
        check("é", None);
    }

    #[test]
    fn sizes_and_durations_are_read_as_people_write_them() {
        assert_eq!(parse_size("256 MiB"), Some(256 << 20));
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("many"), None);
        assert_eq!(parse_duration("10 min"), Some(Duration::from_secs(600)));
        assert_eq!(parse_duration("1h 30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("10"), None);
    }

    #[test]
    fn amounts_are_shown_as_people_read_them() {
        assert_eq!(count(9_999), "9999");
        assert_eq!(count(12_345), "12.34 k");
        assert_eq!(count(u64::MAX), "18.44 E");
        assert_eq!(duration(Duration::from_millis(12)), "12.0 ms");
        assert_eq!(duration(Duration::from_millis(3_723_400)), "1h 2m 3s");
        assert_eq!(size(1_536), "1.5 KiB");
    }
}
