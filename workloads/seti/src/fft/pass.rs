//! One radix-4 pass over a block, in either direction.

use super::root;
use wide::f32x4;

/// For each four consecutive j: `w^j`, `w^2j` and `w^3j`, real and imaginary parts, with w the root of the length.
pub(crate) type Table = Vec<[f32x4; 6]>;

pub(crate) fn table(length: usize) -> Table {
    let factors = |j: usize, power: usize| {
        let roots = [0, 1, 2, 3].map(|lane| root((j + lane) * power, length));
        [f32x4::new(roots.map(|root| root.0)), f32x4::new(roots.map(|root| root.1))]
    };
    let entry = |j| {
        let ([a, b], [c, d], [e, f]) = (factors(j, 1), factors(j, 2), factors(j, 3));
        [a, b, c, d, e, f]
    };
    (0..length / 4).step_by(4).map(entry).collect()
}

/// The four quarters of a block.
fn quarters(block: &mut [f32x4], quarter: usize) -> [&mut [f32x4]; 4] {
    let (a, rest) = block.split_at_mut(quarter);
    let (b, rest) = rest.split_at_mut(quarter);
    let (c, rest) = rest.split_at_mut(quarter);
    [a, b, c, &mut rest[..quarter]]
}

/// Decimation in frequency: bins that are c modulo 4 go to quarter c.
#[inline(never)]
pub(crate) fn spread(re: &mut [f32x4], im: &mut [f32x4], table: &[[f32x4; 6]]) {
    let n = table.len();
    let ([r0, r1, r2, r3], [i0, i1, i2, i3]) = (quarters(re, n), quarters(im, n));
    for j in 0..n {
        let w = &table[j];
        let (ar, ai) = (r0[j] + r2[j], i0[j] + i2[j]);
        let (br, bi) = (r0[j] - r2[j], i0[j] - i2[j]);
        let (cr, ci) = (r1[j] + r3[j], i1[j] + i3[j]);
        let (dr, di) = (i3[j] - i1[j], r1[j] - r3[j]);
        r0[j] = ar + cr;
        i0[j] = ai + ci;
        let (xr, xi) = (br + dr, bi + di);
        r1[j] = xr * w[0] - xi * w[1];
        i1[j] = xr * w[1] + xi * w[0];
        let (xr, xi) = (ar - cr, ai - ci);
        r2[j] = xr * w[2] - xi * w[3];
        i2[j] = xr * w[3] + xi * w[2];
        let (xr, xi) = (br - dr, bi - di);
        r3[j] = xr * w[4] - xi * w[5];
        i3[j] = xr * w[5] + xi * w[4];
    }
}

/// Decimation in time: quarter c holds the spectrum of the samples that are c modulo 4.
#[inline(never)]
pub(crate) fn gather(re: &mut [f32x4], im: &mut [f32x4], table: &[[f32x4; 6]]) {
    let n = table.len();
    let ([r0, r1, r2, r3], [i0, i1, i2, i3]) = (quarters(re, n), quarters(im, n));
    for j in 0..n {
        let w = &table[j];
        let (xr, xi) = (r1[j] * w[0] - i1[j] * w[1], r1[j] * w[1] + i1[j] * w[0]);
        let (yr, yi) = (r2[j] * w[2] - i2[j] * w[3], r2[j] * w[3] + i2[j] * w[2]);
        let (zr, zi) = (r3[j] * w[4] - i3[j] * w[5], r3[j] * w[5] + i3[j] * w[4]);
        let (ar, ai) = (r0[j] + yr, i0[j] + yi);
        let (br, bi) = (r0[j] - yr, i0[j] - yi);
        let (cr, ci) = (xr + zr, xi + zi);
        let (dr, di) = (zi - xi, xr - zr);
        r0[j] = ar + cr;
        i0[j] = ai + ci;
        r1[j] = br + dr;
        i1[j] = bi + di;
        r2[j] = ar - cr;
        i2[j] = ai - ci;
        r3[j] = br - dr;
        i3[j] = bi - di;
    }
}
