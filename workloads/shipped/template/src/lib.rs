//! Counts the numbers of a range that are the sum of two squares: replace it by your own computation.

use starling_sdk::{Error, Kernel, Progress, Range, Unit};

/// Numbers looked at in one step: a step should take from 10 ms to a few seconds.
const STEP: u64 = 1_000_000;

/// What `job.toml` sets: its `[params]`, and a member for each axis of its cut.
#[derive(serde::Deserialize)]
struct Params {
    n: Range,
}

/// Everything that is known between two steps. It survives stops and moves to other machines as it is.
struct Squares {
    next: u64,
    range: Range,
    found: u64,
}

starling_sdk::export!(Squares);

impl Kernel for Squares {
    type Params = Params;

    fn start(params: Params, _unit: &mut Unit) -> Result<Self, Error> {
        if params.n.end < params.n.first {
            return Err(Error::new("the range n ends before it starts"));
        }
        Ok(Self { next: params.n.first, range: params.n, found: 0 })
    }

    fn step(&mut self, unit: &mut Unit) -> Result<Progress, Error> {
        let stop = self.range.end.min(self.next.saturating_add(STEP));
        self.found += (self.next..stop).filter(|&n| is_sum_of_two_squares(n)).count() as u64;
        self.next = stop;
        unit.progress(self.next - self.range.first, self.range.count());
        Ok(if self.next < self.range.end { Progress::More } else { Progress::Done })
    }

    fn finish(self, unit: &mut Unit) -> Result<(), Error> {
        unit.write(format!("{} {} {}\n", self.range.first, self.range.end, self.found).as_bytes());
        Ok(())
    }
}

fn is_sum_of_two_squares(n: u64) -> bool {
    (0..=n.isqrt()).take_while(|a| 2 * a * a <= n).any(|a| {
        let rest = n - a * a;
        rest.isqrt().pow(2) == rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_sums_of_two_squares_below_a_hundred() {
        let run = starling_sdk::native::run::<Squares>(r#"{"n":{"end":100,"first":0}}"#, &[]).unwrap();
        assert_eq!(run.output, b"0 100 43\n");
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_refused() {
        let error = starling_sdk::native::run::<Squares>(r#"{"n":{"end":1,"first":2}}"#, &[]).unwrap_err();
        assert!(error.to_string().contains("ends before it starts"));
    }
}
