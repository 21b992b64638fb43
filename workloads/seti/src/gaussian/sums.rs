//! Power over time: as many points as the fits want, each the sum of as many spectra as it takes.

use crate::spectrogram::Spectrogram;
use wide::f32x4;

/// Spectra that are summed before their sum joins the others, so that f32 rounds little.
const BLOCK: usize = 32;

/// `points` rows of sums; the spectrogram itself if it has no more rows.
#[inline(never)]
pub(super) fn profiles<'a>(
    spectrogram: Spectrogram<'a>,
    points: usize,
    sums: &'a mut Vec<f32x4>,
) -> &'a [f32x4] {
    let (width, rows) = (spectrogram.width(), spectrogram.rows() / points);
    if rows == 1 {
        return spectrogram.powers;
    }
    sums.clear();
    sums.resize((points + 1) * width, f32x4::ZERO);
    let (sums, block_sum) = sums.split_at_mut(points * width);
    for (sum, rows) in
        sums.chunks_exact_mut(width).zip(spectrogram.powers.chunks_exact(rows * width))
    {
        for block in rows.chunks(BLOCK * width) {
            block_sum.copy_from_slice(&block[..width]);
            for row in block[width..].chunks_exact(width) {
                block_sum.iter_mut().zip(row).for_each(|(sum, &power)| *sum += power);
            }
            sum.iter_mut().zip(&*block_sum).for_each(|(sum, &part)| *sum += part);
        }
    }
    sums
}
