//! What a whole job takes, judged by some of its units.

use serde::Serialize;
use std::time::Duration;

/// What one unit took here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Fuel burnt.
    pub fuel: u64,
    /// CPU time.
    pub cpu: Duration,
}

/// How far a unit has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// What is done, in the kernel's own measure.
    pub done: u64,
    /// The whole in that measure; 0 when the kernel does not tell.
    pub total: u64,
    /// Fuel burnt so far.
    pub fuel: u64,
    /// CPU time so far.
    pub cpu: Duration,
}

impl Part {
    /// What the whole unit takes if it goes on as it began; `None` while nothing is known of that.
    #[must_use]
    pub fn whole(&self) -> Option<Sample> {
        let (done, total) = (u128::from(self.done.min(self.total)), u128::from(self.total));
        if done == 0 || self.cpu.is_zero() {
            return None;
        }
        let nanos = saturated(self.cpu.as_nanos().saturating_mul(total) / done);
        Some(Sample {
            fuel: saturated(u128::from(self.fuel) * total / done),
            cpu: Duration::from_nanos(nanos),
        })
    }

    /// Percent done; `None` when the kernel does not tell.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        let done = u128::from(self.done.min(self.total));
        (done * 100).checked_div(self.total.into()).map(saturated)
    }
}

/// Fuel that was burnt in a second.
#[must_use]
pub fn speed(fuel: u64, cpu: Duration) -> u64 {
    saturated((u128::from(fuel) * 1_000_000_000).checked_div(cpu.as_nanos()).unwrap_or(0))
}

/// What a job would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Units of the cut.
    pub units: u64,
    /// Times that each is computed.
    pub copies: u32,
    /// Cores that are assumed, each as fast as this machine's.
    pub cores: u32,
    /// Fuel of all units, once each.
    pub fuel: u64,
    /// CPU time of all copies of all units, seconds.
    pub cpu_s: u64,
    /// Time until the end, seconds: all cores busy, and the longest unit last.
    pub time_s: u64,
    /// Fuel that one core burns in a second.
    pub fuel_per_second: u64,
}

/// Judges a job of `units`, computed `copies` times on `cores`, by `samples`; `None` when there are none.
#[must_use]
pub fn forecast(samples: &[Sample], units: u64, copies: u32, cores: u32) -> Option<Forecast> {
    let count = u128::try_from(samples.len()).ok().filter(|count| 0 < *count)?;
    let fuel: u128 = samples.iter().map(|sample| u128::from(sample.fuel)).sum();
    let nanos: u128 = samples.iter().map(|sample| sample.cpu.as_nanos()).sum();
    let longest = samples.iter().map(|sample| sample.cpu.as_nanos()).max().unwrap_or(0);
    let cpu = nanos.saturating_mul(units.into()).saturating_mul(copies.into()) / count;
    let time = (cpu / u128::from(cores.max(1))).max(longest);
    let seconds = |nanos: u128| saturated(nanos.div_ceil(1_000_000_000));
    Some(Forecast {
        units,
        copies,
        cores,
        fuel: saturated(fuel.saturating_mul(units.into()) / count),
        cpu_s: seconds(cpu),
        time_s: seconds(time),
        fuel_per_second: saturated((fuel * 1_000_000_000).checked_div(nanos).unwrap_or(0)),
    })
}

fn saturated(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// `count` indices spread evenly over `0..units`, all of them where there are no more.
#[must_use]
pub fn spread(units: u64, count: u64) -> Vec<u64> {
    let count = count.min(units);
    let at = |i: u64| saturated(u128::from(i) * u128::from(units) / u128::from(count.max(1)));
    (0..count).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_takes_its_units_times_copies_over_cores() {
        let sample = |fuel, ms| Sample { fuel, cpu: Duration::from_millis(ms) };
        let all = forecast(&[sample(1_000, 500), sample(3_000, 1_500)], 100, 2, 4).unwrap();
        assert_eq!(
            (all.fuel, all.cpu_s, all.time_s, all.fuel_per_second),
            (200_000, 200, 50, 2_000)
        );
        let few = forecast(&[sample(1, 9_000)], 1, 1, 8).unwrap();
        assert_eq!(few.time_s, 9);
        let huge = forecast(&[sample(u64::MAX, u64::MAX)], u64::MAX, 16, 1).unwrap();
        assert_eq!(huge.fuel, u64::MAX);
        assert_eq!(forecast(&[], 1, 1, 1), None);
    }

    #[test]
    fn a_unit_is_judged_from_its_first_step() {
        let cpu = Duration::from_secs(2);
        let part = Part { done: 1, total: 20, fuel: 3_000, cpu };
        let whole = Sample { fuel: 60_000, cpu: Duration::from_secs(40) };
        assert_eq!((part.whole(), part.percent()), (Some(whole), Some(5)));
        // The more is done, the less is guessed.
        let part = Part { done: 20, total: 20, fuel: 50_000, cpu };
        assert_eq!(part.whole(), Some(Sample { fuel: 50_000, cpu }));
        // What a kernel says wrongly, or not at all, is no ground.
        assert_eq!(Part { done: 9, total: 5, fuel: 7, cpu }.whole(), Some(Sample { fuel: 7, cpu }));
        for (done, total, percent) in [(0, 5, Some(0)), (0, 0, None), (3, 0, None)] {
            let part = Part { done, total, fuel: 7, cpu };
            assert_eq!((part.whole(), part.percent()), (None, percent));
        }
        let huge = Part { done: 1, total: u64::MAX, fuel: u64::MAX, cpu: Duration::MAX };
        assert_eq!(huge.whole().unwrap().fuel, u64::MAX);
        assert_eq!(speed(3_000, cpu), 1_500);
        assert_eq!(speed(3_000, Duration::ZERO), 0);
    }

    #[test]
    fn samples_are_spread_over_the_job() {
        assert_eq!(spread(10, 3), [0, 3, 6]);
        assert_eq!(spread(2, 5), [0, 1]);
        assert_eq!(spread(u64::MAX, 2), [0, u64::MAX / 2]);
    }
}
