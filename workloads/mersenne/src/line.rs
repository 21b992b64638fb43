//! A line of the output: what the test of one exponent found.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// `127 prime 0000000000000000` or `11 composite 00000000000006C8`: exponent, verdict, and the lowest 64 bits of the
/// last Lucas-Lehmer residue (started from 4), as Prime95 and GIMPS write them: zero for a prime and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The exponent p of M(p) = 2^p - 1.
    pub exponent: u32,
    /// Whether M(p) is prime.
    pub prime: bool,
    /// The residue's lowest 64 bits.
    pub residue: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.prime { "prime" } else { "composite" };
        write!(f, "{} {verdict} {:016X}", self.exponent, self.residue)
    }
}

/// Text that is no line of the output.
#[derive(Debug)]
pub struct BadLine(String, Option<ParseIntError>);

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is not a line like \"127 prime 0000000000000000\"", self.0.escape_debug())
    }
}

impl std::error::Error for BadLine {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_ref().map(|cause| cause as _)
    }
}

impl FromStr for Line {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        let bad = |cause| BadLine(text.chars().take(80).collect(), cause);
        let words: Vec<&str> = text.split(' ').collect();
        let [exponent, verdict @ ("prime" | "composite"), residue] = words[..] else {
            return Err(bad(None));
        };
        Ok(Self {
            exponent: exponent.parse().map_err(|cause| bad(Some(cause)))?,
            prime: verdict == "prime",
            residue: u64::from_str_radix(residue, 16).map_err(|cause| bad(Some(cause)))?,
        })
    }
}
