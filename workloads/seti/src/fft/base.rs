//! The transforms at the end of the passes: 16 samples, or twice 8, in four vectors.

use std::f32::consts::FRAC_1_SQRT_2;
use wide::f32x4;

/// Four vectors of complex numbers.
type Quad = ([f32x4; 4], [f32x4; 4]);

const C1: f32 = 0.923_879_5; // cos(pi/8)
const S1: f32 = 0.382_683_43; // sin(pi/8)
const H: f32 = FRAC_1_SQRT_2;

/// Radix 4 across the vectors.
#[inline(always)]
fn butterfly((r, i): Quad) -> Quad {
    let (ar, ai) = (r[0] + r[2], i[0] + i[2]);
    let (br, bi) = (r[0] - r[2], i[0] - i[2]);
    let (cr, ci) = (r[1] + r[3], i[1] + i[3]);
    let (dr, di) = (i[3] - i[1], r[1] - r[3]);
    ([ar + cr, br + dr, ar - cr, br - dr], [ai + ci, bi + di, ai - ci, bi - di])
}

#[inline(always)]
fn times(re: f32x4, im: f32x4, wr: [f32; 4], wi: [f32; 4]) -> (f32x4, f32x4) {
    let (wr, wi) = (f32x4::new(wr), f32x4::new(wi));
    (re * wr - im * wi, re * wi + im * wr)
}

#[inline(always)]
fn transpose((r, i): Quad) -> Quad {
    (f32x4::transpose(r), f32x4::transpose(i))
}

/// 16 samples, in order, to 16 bins, in order.
#[inline(always)]
fn sixteen(quad: Quad) -> Quad {
    let (mut r, mut i) = butterfly(quad);
    (r[1], i[1]) = times(r[1], i[1], [1.0, C1, H, S1], [0.0, S1, H, C1]);
    (r[2], i[2]) = times(r[2], i[2], [1.0, H, 0.0, -H], [0.0, H, 1.0, H]);
    (r[3], i[3]) = times(r[3], i[3], [1.0, S1, -H, -C1], [0.0, C1, H, -S1]);
    butterfly(transpose((r, i)))
}

/// Twice 8 samples, in order, to twice 8 bins: vector d holds the bins 2d, 2d + 1 of the first, then of the second.
#[inline(always)]
fn twice_eight((r, i): Quad) -> Quad {
    let (wr, wi) = ([1.0, H, 0.0, -H], [0.0, H, 1.0, H]);
    let (ar, ai) = times(r[0] - r[1], i[0] - i[1], wr, wi);
    let (br, bi) = times(r[2] - r[3], i[2] - i[3], wr, wi);
    butterfly(transpose(([r[0] + r[1], ar, r[2] + r[3], br], [i[0] + i[1], ai, i[2] + i[3], bi])))
}

/// Undoes the interleaving of [`twice_eight`].
#[inline(always)]
fn untangle(v: [f32x4; 4]) -> [f32x4; 4] {
    let low = |a: f32x4, b: f32x4| {
        let ([a0, a1, _, _], [b0, b1, _, _]) = (a.to_array(), b.to_array());
        f32x4::new([a0, a1, b0, b1])
    };
    let high = |a: f32x4, b: f32x4| {
        let ([_, _, a2, a3], [_, _, b2, b3]) = (a.to_array(), b.to_array());
        f32x4::new([a2, a3, b2, b3])
    };
    [low(v[0], v[1]), low(v[2], v[3]), high(v[0], v[1]), high(v[2], v[3])]
}

#[inline(always)]
fn squares((r, i): Quad) -> [f32x4; 4] {
    [
        r[0] * r[0] + i[0] * i[0],
        r[1] * r[1] + i[1] * i[1],
        r[2] * r[2] + i[2] * i[2],
        r[3] * r[3] + i[3] * i[3],
    ]
}

pub(crate) fn powers_16(re: &[f32x4], im: &[f32x4], powers: &mut [f32x4]) {
    for ((r, i), p) in re.as_chunks().0.iter().zip(im.as_chunks().0).zip(powers.as_chunks_mut().0) {
        *p = squares(sixteen((*r, *i)));
    }
}

pub(crate) fn powers_8(re: &[f32x4], im: &[f32x4], powers: &mut [f32x4]) {
    for ((r, i), p) in re.as_chunks().0.iter().zip(im.as_chunks().0).zip(powers.as_chunks_mut().0) {
        *p = untangle(squares(twice_eight((*r, *i))));
    }
}

pub(crate) fn transform_16(re: &mut [f32x4], im: &mut [f32x4]) {
    for (r, i) in re.as_chunks_mut().0.iter_mut().zip(im.as_chunks_mut().0) {
        (*r, *i) = sixteen((*r, *i));
    }
}

pub(crate) fn transform_8(re: &mut [f32x4], im: &mut [f32x4]) {
    for (r, i) in re.as_chunks_mut().0.iter_mut().zip(im.as_chunks_mut().0) {
        let (br, bi) = twice_eight((*r, *i));
        (*r, *i) = (untangle(br), untangle(bi));
    }
}
