//! Small residues: numbers of 64-bit limbs, squared limb by limb.
#![expect(
    clippy::cast_possible_truncation,
    reason = "limbs are cut from wider products on purpose"
)]

/// A number modulo 2^p - 1, less than it, lowest limb first.
#[derive(Debug)]
pub(super) struct Limbs {
    exponent: usize,
    limbs: Vec<u64>,
    square: Vec<u64>,
}

/// Work of one squaring, in multiplications of words.
pub(super) fn square_cost(exponent: u32) -> u64 {
    let limbs = u64::from(exponent.div_ceil(64));
    limbs * limbs + 8 * limbs
}

impl Limbs {
    /// `value` modulo 2^exponent - 1, which it must be below.
    pub(super) fn new(exponent: u32, value: u64) -> Self {
        let exponent = exponent as usize;
        let mut limbs = vec![0; exponent.div_ceil(64)];
        limbs[0] = value;
        let square = vec![0; 2 * limbs.len() + 1];
        Self { exponent, limbs, square }
    }

    pub(super) fn square_less_2(&mut self) {
        self.square();
        self.fold();
        self.subtract_2();
    }

    pub(super) fn is_zero(&self) -> bool {
        self.limbs.iter().all(|&limb| limb == 0)
    }

    pub(super) fn low_64(&self) -> u64 {
        self.limbs[0]
    }

    fn square(&mut self) {
        self.square.fill(0);
        for (at, &a) in self.limbs.iter().enumerate() {
            let row = &mut self.square[at..=at + self.limbs.len()];
            let mut carry = 0;
            for (sum, &b) in row.iter_mut().zip(&self.limbs) {
                let wide = u128::from(a) * u128::from(b) + u128::from(*sum) + u128::from(carry);
                (*sum, carry) = (wide as u64, (wide >> 64) as u64);
            }
            row[self.limbs.len()] = carry;
        }
    }

    /// The square's low p bits and the p bits above, added: 2^p is 1.
    fn fold(&mut self) {
        let (skip, shift) = (self.exponent / 64, self.exponent % 64);
        let mut carry = 0;
        for (at, limb) in self.limbs.iter_mut().enumerate() {
            let mut pair = u128::from(self.square[at + skip]);
            pair |= u128::from(self.square.get(at + skip + 1).copied().unwrap_or(0)) << 64;
            let low =
                if at == skip { self.square[at] & ((1 << shift) - 1) } else { self.square[at] };
            let sum = u128::from(low) + u128::from((pair >> shift) as u64) + carry;
            (*limb, carry) = (sum as u64, sum >> 64);
        }
        self.fold_top(carry as u64);
    }

    /// Brings a sum below 2^p + 2^p back below 2^p - 1. `carry` is what left the top limb.
    fn fold_top(&mut self, carry: u64) {
        let shift = self.exponent % 64;
        let top = self.limbs.len() - 1;
        let mask = u64::MAX >> (64 * self.limbs.len() - self.exponent);
        let mut over = if shift == 0 { carry } else { self.limbs[top] >> shift };
        self.limbs[top] &= mask;
        for limb in &mut self.limbs {
            let carried;
            (*limb, carried) = limb.overflowing_add(over);
            over = u64::from(carried);
        }
        if self.limbs[top] == mask && self.limbs[..top].iter().all(|&limb| limb == u64::MAX) {
            self.limbs.fill(0);
        }
    }

    fn subtract_2(&mut self) {
        let mut borrow = 2;
        for limb in &mut self.limbs {
            let borrowed;
            (*limb, borrowed) = limb.overflowing_sub(borrow);
            borrow = u64::from(borrowed);
        }
        if borrow > 0 {
            // 2^64n - x was left; M(p) - x is wanted, which has the same low p bits less 1.
            let top = self.limbs.len() - 1;
            self.limbs[top] &= u64::MAX >> (64 * self.limbs.len() - self.exponent);
            self.limbs[0] -= 1; // no borrow: x is 1 or 2, so the low limb is at least 2^p - 2 or, for limbs, 2^64 - 2
        }
    }
}
