//! Counts the numbers of a range that are the sum of two squares: replace it by your own computation.

use starling_sdk::{Error, Kernel, Progress, Range, Unit};

/// Numbers looked at in one step: a step should take from 10 ms to a few seconds.
const STEP: u64 = 4_000_000;

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
        self.found += count(self.next, stop);
        self.next = stop;
        unit.progress(self.next - self.range.first, self.range.count());
        Ok(if self.next < self.range.end { Progress::More } else { Progress::Done })
    }

    fn finish(self, unit: &mut Unit) -> Result<(), Error> {
        unit.write(format!("{} {} {}\n", self.range.first, self.range.end, self.found).as_bytes());
        Ok(())
    }
}

/// How many numbers from `first` below `end` are a² + b²: each pair with a ≤ b marks one.
fn count(first: u64, end: u64) -> u64 {
    let mut is_sum = vec![false; (end - first) as usize];
    for a in (0..).take_while(|a| 2 * a * a < end) {
        let mut b = first.saturating_sub(a * a).isqrt().max(a);
        while a * a + b * b < end {
            if let Some(index) = (a * a + b * b).checked_sub(first) {
                is_sum[index as usize] = true;
            }
            b += 1;
        }
    }
    is_sum.into_iter().filter(|is_sum| *is_sum).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(first: u64, end: u64) -> u64 {
        let params = format!(r#"{{"n":{{"end":{end},"first":{first}}}}}"#);
        let run = starling_sdk::native::run::<Squares>(&params, &[]).unwrap();
        let text = String::from_utf8(run.output).unwrap();
        text.trim().rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn counts_the_sums_of_two_squares_below_a_hundred() {
        let run = starling_sdk::native::run::<Squares>(r#"{"n":{"end":100,"first":0}}"#, &[]).unwrap();
        assert_eq!(run.output, b"0 100 43\n");
    }

    #[test]
    fn a_range_has_what_its_parts_have() {
        let is_sum = |n: u64| (0..=n.isqrt()).any(|a| (n - a * a).isqrt().pow(2) == n - a * a);
        assert_eq!(found(990, 1_100), (990..1_100).filter(|&n| is_sum(n)).count() as u64);
        assert_eq!(found(0, 9_000_000), found(0, 5_000_001) + found(5_000_001, 9_000_000));
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_refused() {
        let error = starling_sdk::native::run::<Squares>(r#"{"n":{"end":1,"first":2}}"#, &[]).unwrap_err();
        assert!(error.to_string().contains("ends before it starts"));
    }
}
