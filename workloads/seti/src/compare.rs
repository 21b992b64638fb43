//! Comparing two results by the rules of the project's validator, with peak power and drift compared for real.

use crate::result::Record;

/// How two results agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Similarity {
    /// Every signal of each has its like in the other.
    Strong,
    /// At least half of the signals of each do, and at least one.
    Weak,
    /// Neither.
    Different,
}

/// How two fields are compared; a difference exactly at the limit passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// At most so much apart.
    Apart(f64),
    /// At most this part of the larger.
    Part(f64),
}

/// A field in which two signals differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The field's name.
    pub field: &'static str,
    /// In the first result.
    pub first: f64,
    /// In the second.
    pub second: f64,
    /// In the measure of `allowed`.
    pub difference: f64,
    /// What would pass.
    pub allowed: Allowed,
}

impl Difference {
    /// Whether the difference is small enough.
    pub fn passes(&self) -> bool {
        self.part() <= 1.0
    }

    /// The difference as a part of what is allowed; more than 1 does not pass.
    pub fn part(&self) -> f64 {
        let (Allowed::Apart(limit) | Allowed::Part(limit)) = self.allowed;
        if self.difference <= limit {
            (self.difference / limit).min(1.0)
        } else {
            self.difference / limit.max(f64::MIN_POSITIVE)
        }
    }
}

/// A signal of one result beside the signal of the other that is nearest to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// The signal's position in its result.
    pub index: usize,
    /// The position of the nearest of its kind in the other result, if there is one.
    pub nearest: Option<usize>,
    /// The fields in which they differ at all.
    pub differences: Vec<Difference>,
}

impl Match {
    /// Whether the signals are roughly equal.
    pub fn passes(&self) -> bool {
        self.nearest.is_some() && self.differences.iter().all(Difference::passes)
    }
}

/// How two results compare, signal by signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The verdict.
    pub similarity: Similarity,
    /// The first result's signals.
    pub first: Vec<Match>,
    /// The second's.
    pub second: Vec<Match>,
}

/// Compares two results, signal by signal.
pub fn compare(first: &[Record], second: &[Record]) -> Comparison {
    let (ours, theirs) = (matches(first, second), matches(second, first));
    let count = |matches: &[Match]| matches.iter().filter(|found| found.passes()).count();
    let enough =
        |matches: &[Match]| 1 <= count(matches) && matches.len().div_ceil(2) <= count(matches);
    let similarity = if count(&ours) == ours.len() && count(&theirs) == theirs.len() {
        Similarity::Strong
    } else if enough(&ours) && enough(&theirs) {
        Similarity::Weak
    } else {
        Similarity::Different
    };
    Comparison { similarity, first: ours, second: theirs }
}

fn matches(ours: &[Record], theirs: &[Record]) -> Vec<Match> {
    let nearest = |(index, record): (usize, &Record)| {
        let same = theirs.iter().enumerate().filter(|(_, other)| other.kind == record.kind);
        let worst = |differences: &[Difference]| {
            differences.iter().map(Difference::part).fold(0.0, f64::max)
        };
        let found = same.map(|(other_index, other)| (other_index, differences(record, other)));
        match found.min_by(|(_, a), (_, b)| worst(a).total_cmp(&worst(b))) {
            Some((nearest, differences)) => Match { index, nearest: Some(nearest), differences },
            None => Match { index, nearest: None, differences: Vec::new() },
        }
    };
    ours.iter().enumerate().map(nearest).collect()
}

/// What the validator compares for a kind of signal.
fn fields(kind: &str) -> impl Iterator<Item = (&'static str, Allowed)> {
    let own: &[&str] = match kind.trim_start_matches("best_") {
        "autocorr" => &["peak_power", "delay"],
        "gaussian" => &["peak_power", "mean_power", "sigma", "chisqr"],
        "pulse" => &["peak_power", "mean_power", "snr", "thresh"],
        "triplet" => &["peak_power", "mean_power", "period"],
        _ => &["peak_power"],
    };
    let period =
        (kind.trim_start_matches("best_") == "pulse").then_some(("period", Allowed::Apart(0.01)));
    let common = [
        ("ra", Allowed::Apart(0.000_66)),
        ("decl", Allowed::Apart(0.01)),
        ("time", Allowed::Apart(1.0 / 86400.0)),
        ("freq", Allowed::Apart(0.01)),
        ("chirp_rate", Allowed::Apart(0.01)),
        ("fft_len", Allowed::Apart(0.0)),
    ];
    common.into_iter().chain(own.iter().map(|&field| (field, Allowed::Part(0.01)))).chain(period)
}

/// The fields in which two signals of one kind differ.
fn differences(first: &Record, second: &Record) -> Vec<Difference> {
    let compared = fields(&first.kind).map(|(field, allowed)| {
        let (first, second) = (first.number(field), second.number(field));
        let apart = (first - second).abs();
        let difference = match allowed {
            Allowed::Apart(_) => apart,
            Allowed::Part(_) if apart == 0.0 => 0.0,
            Allowed::Part(_) => apart / first.abs().max(second.abs()),
        };
        Difference { field, first, second, difference, allowed }
    });
    compared.filter(|difference| difference.difference != 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::read;
    use crate::tests::reference_result;

    #[test]
    fn results_are_strongly_or_weakly_similar_or_different() {
        let Some(result_file) = reference_result() else { return };
        let reference = read(result_file.as_bytes()).unwrap();
        let check = |change: &dyn Fn(&mut Vec<Record>), expected| {
            let mut other = reference.clone();
            change(&mut other);
            assert_eq!(compare(&reference, &other).similarity, expected);
            assert_eq!(compare(&other, &reference).similarity, expected);
        };
        let scale = |record: &mut Record, field: &str, factor: f64| {
            *record.numbers.get_mut(field).unwrap() *= factor
        };
        check(&|_| (), Similarity::Strong);
        check(
            &|other| other.iter_mut().for_each(|record| scale(record, "peak_power", 1.009)),
            Similarity::Strong,
        );
        check(&|other| scale(&mut other[3], "peak_power", 1.02), Similarity::Weak);
        check(&|other| scale(&mut other[3], "chirp_rate", 1.01), Similarity::Weak);
        check(&|other| other.truncate(14), Similarity::Weak);
        check(&|other| other.truncate(11), Similarity::Different);
        check(&|other| other.clear(), Similarity::Different);
        assert_eq!(compare(&[], &[]).similarity, Similarity::Strong);
    }

    #[test]
    fn what_differs_is_named() {
        let Some(result_file) = reference_result() else { return };
        let reference = read(result_file.as_bytes()).unwrap();
        let mut other = reference.clone();
        other[25].numbers.insert("period".to_owned(), 2.4);
        let comparison = compare(&reference, &other);
        let found = &comparison.first[25];
        assert_eq!((found.nearest, found.passes(), found.differences.len()), (Some(25), false, 1));
        assert_eq!((found.differences[0].field, found.differences[0].second), ("period", 2.4));
    }
}
