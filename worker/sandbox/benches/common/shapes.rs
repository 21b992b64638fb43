//! Fourteen shapes of computing, each a step kernel of one step: compiled by the metering bench, with
//! `--cfg shape="NAME"`, and by nothing else.
#![allow(dead_code, reason = "each compilation is of one shape")]

use std::hint::black_box;

#[unsafe(no_mangle)]
pub extern "C" fn starling_abi_1() {}

#[unsafe(no_mangle)]
pub extern "C" fn starling_start() {}

#[unsafe(no_mangle)]
pub extern "C" fn starling_step() -> i32 {
    #[cfg(shape = "fft")]
    let result = fft(12, 60);
    #[cfg(shape = "fft4")]
    let result = fft4(10, 400);
    #[cfg(shape = "ntt")]
    let result = ntt(12, 60);
    #[cfg(shape = "limbs")]
    let result = limbs(96, 2_000);
    #[cfg(shape = "squaring")]
    let result = squaring(11, 60);
    #[cfg(shape = "sha256")]
    let result = sha256(60_000);
    #[cfg(shape = "rc5")]
    let result = rc5(60_000);
    #[cfg(shape = "molecules")]
    let result = molecules(200, 12);
    #[cfg(shape = "nbody")]
    let result = nbody(120_000);
    #[cfg(shape = "montecarlo")]
    let result = montecarlo(3_000_000);
    #[cfg(shape = "alignment")]
    let result = alignment(1_500);
    #[cfg(shape = "sparse")]
    let result = sparse(20_000, 25);
    #[cfg(shape = "collatz")]
    let result = collatz(120_000);
    #[cfg(shape = "sorting")]
    let result = sorting(250_000);
    #[cfg(shape = "interpreter")]
    let result = interpreter(1_500_000);
    black_box(result);
    0
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn reversed(index: usize, bits: u32) -> usize {
    (index as u32).reverse_bits() as usize >> (32 - bits)
}

/// Complex transforms, radix 2, of doubles.
fn transform(re: &mut [f64], im: &mut [f64], cos: &[f64], sin: &[f64], bits: u32) {
    let n = re.len();
    for i in 0..n {
        let j = reversed(i, bits);
        if i < j {
            re.swap(i, j);
            im.swap(i, j);
        }
    }
    let mut half = 1;
    while half < n {
        let stride = n / (2 * half);
        for start in (0..n).step_by(2 * half) {
            for k in 0..half {
                let (c, s) = (cos[k * stride], sin[k * stride]);
                let (a, b) = (start + k, start + k + half);
                let (x, y) = (re[b] * c - im[b] * s, re[b] * s + im[b] * c);
                (re[b], im[b]) = (re[a] - x, im[a] - y);
                (re[a], im[a]) = (re[a] + x, im[a] + y);
            }
        }
        half *= 2;
    }
}

fn tables(n: usize) -> (Vec<f64>, Vec<f64>) {
    let angle = |k: usize| -2.0 * std::f64::consts::PI * k as f64 / n as f64;
    ((0..n).map(|k| angle(k).cos()).collect(), (0..n).map(|k| angle(k).sin()).collect())
}

fn fft(bits: u32, rounds: u32) -> f64 {
    let n = 1 << bits;
    let mut random = Random(88_172_645_463_325_252);
    let mut re: Vec<f64> = (0..n).map(|_| random.unit()).collect();
    let mut im = vec![0.0; n];
    let (cos, sin) = tables(n);
    for _ in 0..rounds {
        transform(&mut re, &mut im, &cos, &sin, bits);
        re.iter_mut().chain(&mut im).for_each(|x| *x /= 64.0);
    }
    re[1] + im[2]
}

/// Four transforms of floats at a time, in vectors.
fn fft4(bits: u32, rounds: u32) -> f32 {
    type Four = [f32; 4];
    let n = 1usize << bits;
    let mut random = Random(88_172_645_463_325_252);
    let mut re: Vec<Four> = (0..n).map(|_| [random.unit() as f32; 4]).collect();
    let mut im = vec![[0.0f32; 4]; n];
    let (cos, sin) = tables(n);
    let with = |a: Four, b: Four, f: fn(f32, f32) -> f32| -> Four {
        [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
    };
    for _ in 0..rounds {
        let mut half = 1;
        while half < n {
            let stride = n / (2 * half);
            for start in (0..n).step_by(2 * half) {
                for k in 0..half {
                    let (c, s) = ([cos[k * stride] as f32; 4], [sin[k * stride] as f32; 4]);
                    let (a, b) = (start + k, start + k + half);
                    let x = with(with(re[b], c, |a, b| a * b), with(im[b], s, |a, b| a * b), |a, b| a - b);
                    let y = with(with(re[b], s, |a, b| a * b), with(im[b], c, |a, b| a * b), |a, b| a + b);
                    (re[b], im[b]) = (with(re[a], x, |a, b| a - b), with(im[a], y, |a, b| a - b));
                    (re[a], im[a]) = (with(re[a], x, |a, b| a + b), with(im[a], y, |a, b| a + b));
                }
            }
            half *= 2;
        }
        re.iter_mut().chain(&mut im).for_each(|x| *x = with(*x, [0.03; 4], |a, b| a * b));
    }
    re[1][0] + im[2][1]
}

/// A number-theoretic transform modulo 2^64 - 2^32 + 1.
fn ntt(bits: u32, rounds: u32) -> u64 {
    const P: u64 = 0xffff_ffff_0000_0001;
    fn times(a: u64, b: u64) -> u64 {
        let product = u128::from(a) * u128::from(b);
        let (low, high) = (product as u64, (product >> 64) as u64);
        let (top, middle) = (high >> 32, high & 0xffff_ffff);
        let (mut x, borrow) = low.overflowing_sub(top);
        if borrow {
            x = x.wrapping_sub(0xffff_ffff);
        }
        let (y, carry) = x.overflowing_add((middle << 32) - middle);
        if carry { y.wrapping_add(0xffff_ffff) } else { y }
    }
    let n = 1usize << bits;
    let mut random = Random(88_172_645_463_325_252);
    let mut values: Vec<u64> = (0..n).map(|_| random.next() % P).collect();
    let mut root = 7;
    for _ in 0..32 - bits {
        root = times(root, root);
    }
    let mut roots = vec![1];
    for k in 1..n {
        roots.push(times(roots[k - 1], root));
    }
    for _ in 0..rounds {
        let mut half = n / 2;
        while 0 < half {
            let stride = n / (2 * half);
            for start in (0..n).step_by(2 * half) {
                for k in 0..half {
                    let (a, b) = (values[start + k], values[start + k + half]);
                    let (sum, carry) = a.overflowing_add(b);
                    values[start + k] = if carry || P <= sum { sum.wrapping_sub(P) } else { sum };
                    let difference = if a < b { a.wrapping_sub(b).wrapping_add(P) } else { a - b };
                    values[start + k + half] = times(difference, roots[k * stride]);
                }
            }
            half /= 2;
        }
    }
    values[3]
}

/// Squares a number of so many limbs of 32 bits.
fn limbs(n: usize, rounds: u32) -> u32 {
    let mut random = Random(88_172_645_463_325_252);
    let mut x: Vec<u32> = (0..n).map(|_| random.next() as u32).collect();
    let mut square = vec![0u32; 2 * n];
    for _ in 0..rounds {
        square.fill(0);
        for i in 0..n {
            let mut carry = 0u64;
            let a = u64::from(x[i]);
            for (slot, b) in square[i..i + n].iter_mut().zip(&x) {
                carry += a * u64::from(*b) + u64::from(*slot);
                *slot = carry as u32;
                carry >>= 32;
            }
            square[i + n] = carry as u32;
        }
        for i in 0..n {
            x[i] = square[i] ^ square[i + n];
        }
    }
    x[0]
}

/// Squares by transforms of doubles, with carries.
fn squaring(bits: u32, rounds: u32) -> f64 {
    let n = 1usize << bits;
    let mut random = Random(88_172_645_463_325_252);
    let mut re: Vec<f64> = (0..n).map(|_| (random.next() % 256) as f64).collect();
    let (cos, sin) = tables(n);
    for _ in 0..rounds {
        let mut im = vec![0.0; n];
        transform(&mut re, &mut im, &cos, &sin, bits);
        for (a, b) in re.iter_mut().zip(&mut im) {
            (*a, *b) = (*a * *a - *b * *b, -2.0 * *a * *b);
        }
        transform(&mut re, &mut im, &cos, &sin, bits);
        let mut carry = 0.0;
        for x in &mut re {
            let whole = (*x / n as f64).round_ties_even() + carry;
            carry = (whole / 256.0).floor();
            *x = whole - carry * 256.0;
        }
    }
    re[1]
}

fn sha256(rounds: u32) -> u32 {
    let k: [u32; 64] = std::array::from_fn(|i| (i as u32).wrapping_mul(0x9e37_79b9) ^ 0x428a_2f98);
    let mut state = [0x6a09_e667u32, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
    for round in 0..rounds {
        let mut w: [u32; 64] = [0; 64];
        for i in 0..16 {
            w[i] = state[i % 8] ^ round;
        }
        for i in 16..64 {
            let (x, y) = (w[i - 15], w[i - 2]);
            let s0 = x.rotate_right(7) ^ x.rotate_right(18) ^ (x >> 3);
            let s1 = y.rotate_right(17) ^ y.rotate_right(19) ^ (y >> 10);
            w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        for i in 0..64 {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let t1 = h.wrapping_add(s1).wrapping_add((e & f) ^ (!e & g)).wrapping_add(k[i]).wrapping_add(w[i]);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
            (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
        }
        for (slot, x) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *slot = slot.wrapping_add(x);
        }
    }
    state[0]
}

fn rc5(keys: u32) -> u32 {
    let mut found = 0;
    for key in 0..keys {
        let mut s: [u32; 26] = std::array::from_fn(|i| 0xb7e1_5163u32.wrapping_add((i as u32).wrapping_mul(0x9e37_79b9)));
        let mut l = [key, 0x1234_5678, 0x9a];
        let (mut a, mut b) = (0u32, 0u32);
        for i in 0..78 {
            a = s[i % 26].wrapping_add(a).wrapping_add(b).rotate_left(3);
            s[i % 26] = a;
            b = l[i % 3].wrapping_add(a).wrapping_add(b).rotate_left(a.wrapping_add(b) & 31);
            l[i % 3] = b;
        }
        let (mut x, mut y) = (0x4d61_6b65u32.wrapping_add(s[0]), 0x2074_6865u32.wrapping_add(s[1]));
        for i in 1..13 {
            x = (x ^ y).rotate_left(y & 31).wrapping_add(s[2 * i]);
            y = (y ^ x).rotate_left(x & 31).wrapping_add(s[2 * i + 1]);
        }
        found ^= x ^ y;
    }
    found
}

/// Lennard-Jones with a cut-off.
fn molecules(n: usize, steps: u32) -> f64 {
    let mut random = Random(88_172_645_463_325_252);
    let mut at: Vec<[f64; 3]> = (0..n).map(|_| [random.unit() * 8.0, random.unit() * 8.0, random.unit() * 8.0]).collect();
    let mut v = vec![[0.0; 3]; n];
    for _ in 0..steps {
        let mut force = vec![[0.0; 3]; n];
        for i in 0..n {
            for j in i + 1..n {
                let d = [at[i][0] - at[j][0], at[i][1] - at[j][1], at[i][2] - at[j][2]];
                let r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
                if r2 < 6.25 && 0.5 < r2 {
                    let inverse = 1.0 / r2;
                    let r6 = inverse * inverse * inverse;
                    let f = 24.0 * inverse * r6 * (2.0 * r6 - 1.0);
                    for axis in 0..3 {
                        force[i][axis] += f * d[axis];
                        force[j][axis] -= f * d[axis];
                    }
                }
            }
        }
        for i in 0..n {
            for axis in 0..3 {
                v[i][axis] += force[i][axis] * 1e-5;
                at[i][axis] += v[i][axis] * 1e-3;
            }
        }
    }
    at[0][0]
}

fn nbody(steps: u32) -> f64 {
    let mut random = Random(88_172_645_463_325_252);
    let mut at: [[f64; 3]; 5] = std::array::from_fn(|_| [random.unit(), random.unit(), random.unit()]);
    let mut v = [[0.0f64; 3]; 5];
    for _ in 0..steps {
        for i in 0..5 {
            for j in i + 1..5 {
                let d: [f64; 3] = std::array::from_fn(|axis| at[i][axis] - at[j][axis]);
                let r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2] + 0.01;
                let scale = 1e-5 / (r2 * r2.sqrt());
                for axis in 0..3 {
                    v[i][axis] -= d[axis] * scale;
                    v[j][axis] += d[axis] * scale;
                }
            }
        }
        for i in 0..5 {
            for axis in 0..3 {
                at[i][axis] += 0.01 * v[i][axis];
            }
        }
    }
    at[0][0]
}

fn montecarlo(samples: u32) -> f64 {
    let mut random = Random(88_172_645_463_325_252);
    let (mut inside, mut sum) = (0u32, 0.0);
    for _ in 0..samples {
        let (x, y) = (random.unit(), random.unit());
        if x * x + y * y < 1.0 {
            inside += 1;
            sum += (x * y).sqrt();
        }
    }
    f64::from(inside) + sum
}

/// Smith-Waterman with affine gaps.
fn alignment(n: usize) -> i32 {
    let mut random = Random(88_172_645_463_325_252);
    let a: Vec<u8> = (0..n).map(|_| (random.next() % 4) as u8).collect();
    let b: Vec<u8> = (0..n).map(|_| (random.next() % 4) as u8).collect();
    let (mut h, mut e) = (vec![0i32; n + 1], vec![0i32; n + 1]);
    let mut best = 0;
    for x in &a {
        let (mut diagonal, mut f) = (0, 0);
        for (j, y) in b.iter().enumerate() {
            let score = diagonal + if x == y { 5 } else { -4 };
            diagonal = h[j + 1];
            e[j + 1] = (e[j + 1] - 1).max(diagonal - 8);
            f = (f - 1).max(h[j] - 8);
            let value = score.max(e[j + 1]).max(f).max(0);
            h[j + 1] = value;
            best = best.max(value);
        }
    }
    best
}

/// A sparse matrix times a vector.
fn sparse(n: usize, rounds: u32) -> f64 {
    let mut random = Random(88_172_645_463_325_252);
    let mut rows = vec![0];
    let (mut columns, mut values) = (Vec::new(), Vec::new());
    for _ in 0..n {
        for _ in 0..random.next() % 20 {
            columns.push((random.next() % n as u64) as u32);
            values.push(random.unit() / 10.0);
        }
        rows.push(columns.len());
    }
    let mut x = vec![1.0; n];
    let mut y = vec![0.0; n];
    for _ in 0..rounds {
        for row in 0..n {
            let range = rows[row]..rows[row + 1];
            y[row] = columns[range.clone()].iter().zip(&values[range]).map(|(c, v)| x[*c as usize] * v).sum();
        }
        std::mem::swap(&mut x, &mut y);
    }
    x[1]
}

fn collatz(n: u64) -> u64 {
    let mut best = 0;
    for start in 1..n {
        let (mut x, mut steps) = (start, 0);
        while x != 1 {
            x = if x % 2 == 0 { x / 2 } else { 3 * x + 1 };
            steps += 1;
        }
        best = best.max(steps);
    }
    best
}

fn sorting(n: usize) -> u64 {
    let mut random = Random(88_172_645_463_325_252);
    let mut values: Vec<u64> = (0..n).map(|_| random.next()).collect();
    values.sort_unstable();
    let mut map = std::collections::BTreeMap::new();
    for value in &values {
        *map.entry(value % 5_003).or_insert(0) += 1;
    }
    values[n / 2] + map.len() as u64
}

/// A machine of registers with a large dispatch, as interpreters of languages have.
fn interpreter(steps: u32) -> u64 {
    let mut random = Random(88_172_645_463_325_252);
    let mut code: Vec<[u8; 4]> = (0..4_000)
        .map(|_| {
            let word = random.next().to_le_bytes();
            [word[0] % 24, word[1] % 16, word[2] % 16, word[3] % 16]
        })
        .collect();
    code.push([24, 0, 0, 0]);
    let mut r = [3u64; 16];
    let mut memory = vec![1u64; 256];
    let mut stack: Vec<u64> = Vec::new();
    let mut at = 0;
    for _ in 0..steps {
        let [op, a, b, c] = code[at];
        let (a, b, c) = (usize::from(a), usize::from(b), usize::from(c));
        at += 1;
        match op {
            0 => r[a] = r[b].wrapping_add(r[c]),
            1 => r[a] = r[b].wrapping_sub(r[c]),
            2 => r[a] = r[b].wrapping_mul(r[c]),
            3 => r[a] = r[b].checked_div(r[c]).unwrap_or(1),
            4 => r[a] = r[b] ^ r[c],
            5 => r[a] = r[b] & (r[c] | 1),
            6 => r[a] = r[b] | r[c],
            7 => r[a] = r[b] << (r[c] % 64),
            8 => r[a] = r[b] >> (r[c] % 64),
            9 => r[a] = r[b].rotate_left(r[c] as u32),
            10 => r[a] = memory[(r[b] % 256) as usize],
            11 => memory[(r[a] % 256) as usize] = r[b],
            12 if r[a] < r[b] => at = (at + c).min(4_000),
            13 if r[a] == 0 => at = (at + c).min(4_000),
            14 => stack.push(r[a]),
            15 => r[a] = stack.pop().unwrap_or(7),
            16 => r[a] = u64::from(r[b].count_ones()),
            17 => r[a] = (f64::from_bits(r[b] >> 2) * 1.5).to_bits(),
            18 => r[a] = ((r[b] as f64).sqrt()) as u64,
            19 => r.swap(a, b),
            20 => {
                for k in 0..(r[a] % 8) as usize {
                    memory[k] = memory[k].wrapping_add(memory[(k + 1) % 256]);
                }
            }
            21 => stack.truncate(stack.len() / 2 + c),
            22 => r[a] = memory.iter().take(c).fold(0, |x, y| x ^ y),
            23 => r[a] = (c as u64) << b,
            24 => at = 0,
            _ => {}
        }
    }
    r[0]
}
