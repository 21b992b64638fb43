//! Cyclic squaring of 2^log words modulo Q: the remainder tree of x^n - 1, four branches a node, walked depth first.
//!
//! The node j of a level stands for x^m - r(j), where r(j) is the root of unity whose fraction of a turn is j's binary
//! digits mirrored at the point. With t = r(4j), its branches are x^(m/4) minus t, -t, it and -it. So one table of t,
//! t^2, t^3 by j serves all levels, the words stay in place and order, and any cache is used well.

use super::field::{add, inverse, mul, mul_by_i, power, root_of_unity, sub};

/// t, t^2, t^3 of a node.
type Roots = [u64; 3];

#[derive(Debug)]
pub(super) struct Transform {
    forward: Vec<Roots>,
    backward: Vec<Roots>,
}

impl Transform {
    /// For 2^log words, log at least 2.
    pub(super) fn new(log: u32) -> Self {
        let root = root_of_unity(log);
        Self { forward: roots(root, log - 2), backward: roots(inverse(root), log - 2) }
    }

    /// The words' cyclic convolution with themselves, times their count.
    pub(super) fn square(&self, words: &mut [u64]) {
        if words.len().ilog2().is_multiple_of(2) {
            return self.square_node(words, 0);
        }
        let (low, high) = words.split_at_mut(words.len() / 2);
        for (a, b) in low.iter_mut().zip(&mut *high) {
            (*a, *b) = (add(*a, *b), sub(*a, *b));
        }
        self.square_node(low, 0);
        self.square_node(high, 1);
        for (a, b) in low.iter_mut().zip(&mut *high) {
            (*a, *b) = (add(*a, *b), sub(*a, *b));
        }
    }

    /// Squares modulo x^m - r(node), times m, a power of 4.
    fn square_node(&self, words: &mut [u64], node: usize) {
        let (forward, backward) = (&self.forward[node], &self.backward[node]);
        if let [a, b, c, d] = words {
            let split = split([*a, *b, *c, *d], forward);
            [*a, *b, *c, *d] = join(split.map(|value| mul(value, value)), backward);
            return;
        }
        let quarter = words.len() / 4;
        each_four(words, |four| if node == 0 { branch(four) } else { split(four, forward) });
        for (index, words) in words.chunks_exact_mut(quarter).enumerate() {
            self.square_node(words, 4 * node + index);
        }
        each_four(words, |four| if node == 0 { unbranch(four) } else { join(four, backward) });
    }
}

/// Replaces each four words that stand a quarter apart.
#[inline(always)]
fn each_four(words: &mut [u64], replace: impl Fn([u64; 4]) -> [u64; 4]) {
    let (low, high) = words.split_at_mut(words.len() / 2);
    let (a, b) = low.split_at_mut(low.len() / 2);
    let (c, d) = high.split_at_mut(high.len() / 2);
    for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
        [*a, *b, *c, *d] = replace([*a, *b, *c, *d]);
    }
}

/// The remainders of a + bx + cx^2 + dx^3 modulo x - t, x + t, x - it, x + it.
#[inline(always)]
fn split([a, b, c, d]: [u64; 4], [t, t2, t3]: &Roots) -> [u64; 4] {
    branch([a, mul(b, *t), mul(c, *t2), mul(d, *t3)])
}

/// Undoes [`split`], times 4; the roots are the inverses.
#[inline(always)]
fn join(four: [u64; 4], [t, t2, t3]: &Roots) -> [u64; 4] {
    let [a, b, c, d] = unbranch(four);
    [a, mul(b, *t), mul(c, *t2), mul(d, *t3)]
}

#[inline(always)]
fn branch([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    let (even, even_turned) = (add(a, c), sub(a, c));
    let (odd, odd_turned) = (add(b, d), mul_by_i(sub(b, d)));
    [add(even, odd), sub(even, odd), add(even_turned, odd_turned), sub(even_turned, odd_turned)]
}

#[inline(always)]
fn unbranch([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    let (even, odd) = (add(a, b), sub(a, b));
    let (even_turned, odd_turned) = (add(c, d), mul_by_i(sub(d, c)));
    [add(even, even_turned), add(odd, odd_turned), sub(even, even_turned), sub(odd, odd_turned)]
}

/// The roots of 2^log nodes, from the root of unity of four times that order.
fn roots(root: u64, log: u32) -> Vec<Roots> {
    let mirrored =
        |node: usize| (node as u64).reverse_bits().checked_shr(u64::BITS - log).unwrap_or(0);
    let root_of = |node| {
        let t = power(root, mirrored(node));
        let t2 = mul(t, t);
        [t, t2, mul(t, t2)]
    };
    (0..1 << log).map(root_of).collect()
}
