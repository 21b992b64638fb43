//! The transforms against sums in f64.

use super::*;

/// A sequence without structure.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from(i16::try_from((state >> 48) & 0x7fff).unwrap()) / 16384.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn vectors(values: &[f32]) -> Vec<f32x4> {
    values.chunks_exact(4).map(|four| f32x4::new([four[0], four[1], four[2], four[3]])).collect()
}

fn sum(re: &[f32], im: &[f32], bin: usize) -> (f64, f64) {
    let length = re.len();
    let mut total = (0.0, 0.0);
    for j in 0..length {
        let (sin, cos) =
            (std::f64::consts::TAU * ((j * bin % length) as f64 / length as f64)).sin_cos();
        total.0 += f64::from(re[j]) * cos - f64::from(im[j]) * sin;
        total.1 += f64::from(re[j]) * sin + f64::from(im[j]) * cos;
    }
    total
}

#[test]
fn powers_are_those_of_the_sums() {
    for log in 3..=17 {
        let length = 1usize << log;
        let (re, im) =
            (noise(3 * length.max(8192))[length..].to_vec(), noise(2 * length.max(8192)));
        let (count, fft) = (length.max(8192), Fft::new(length));
        let mut powers = vec![f32x4::ZERO; count / 4];
        fft.powers(length, &mut vectors(&re[..count]), &mut vectors(&im[..count]), &mut powers);
        let powers: &[f32] = bytemuck::cast_slice(&powers);
        for row in [0, count / length - 1] {
            let range = row * length..(row + 1) * length;
            for bin in (0..length).step_by((length / 16).max(1)).chain([1, length - 1]) {
                let (x, y) = sum(&re[range.clone()], &im[range.clone()], bin);
                let got = f64::from(powers[row * length + position(length, bin)]);
                let scale = length as f64 * 0.7;
                assert!(
                    (got - x * x - y * y).abs() < 3e-6 * scale + 2e-6 * got,
                    "length {length} row {row} bin {bin}"
                );
            }
        }
    }
}

#[test]
fn gathering_starts_where_spreading_ends() {
    for log in 5..=15 {
        let length = 1usize << log;
        let (re, im) = (noise(length), noise(2 * length)[length..].to_vec());
        let place = |values: &[f32]| {
            vectors(&(0..length).map(|p| values[bin(length, p)]).collect::<Vec<_>>())
        };
        let (mut r, mut i) = (place(&re), place(&im));
        Fft::new(length).gather(&mut r, &mut i);
        let (r, i): (&[f32], &[f32]) = (bytemuck::cast_slice(&r), bytemuck::cast_slice(&i));
        for k in [0, 1, 2, 5, length / 2, length - 1] {
            let (x, y) = sum(&re, &im, k);
            let tolerance = 2e-6 * (length as f64).sqrt();
            assert!(
                (f64::from(r[k]) - x).abs() < tolerance && (f64::from(i[k]) - y).abs() < tolerance,
                "{length} {k}"
            );
        }
    }
}

#[test]
fn every_bin_has_its_position() {
    for log in 3..=17 {
        let length = 1 << log;
        assert_eq!(position(length, 0), 0);
        assert!((0..length).all(|k| bin(length, position(length, k)) == k));
    }
}
