//! Folding: the mean pulse of a period.
#![expect(clippy::cast_precision_loss, reason = "positions are below 2^26")]

/// The mean of the samples in each of `bin_count` equal parts of the period; the first begins at the first sample. A
/// part that no sample falls into is 0. `sample_s` and `period_s` are in seconds and above 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a phase is from 0 to below 1"
)]
pub fn fold(samples: &[f32], sample_s: f64, period_s: f64, bin_count: usize) -> Vec<f64> {
    let mut bins = vec![(0.0, 0_u32); bin_count];
    for (at, &sample) in samples.iter().enumerate() {
        let turns = (at as f64 + 0.5) * sample_s / period_s;
        let bin = ((turns - turns.floor()) * bin_count as f64) as usize;
        if let Some((sum, count)) = bins.get_mut(bin) {
            *sum += f64::from(sample);
            *count += 1;
        }
    }
    bins.into_iter().map(|(sum, count)| sum / f64::from(count.max(1))).collect()
}
