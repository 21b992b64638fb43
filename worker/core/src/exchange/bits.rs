//! A set of pieces, one bit each.

use serde::{Deserialize, Serialize};

/// A fixed number of bits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bits {
    n_bits: u32,
    words: Vec<u64>,
}

impl Bits {
    /// `n_bits` bits, none of them set.
    #[must_use]
    pub fn none(n_bits: u32) -> Self {
        Self { n_bits, words: vec![0; n_bits.div_ceil(64) as usize] }
    }

    /// `n_bits` bits, all set.
    #[must_use]
    pub fn all(n_bits: u32) -> Self {
        let mut bits = Self::none(n_bits);
        for index in 0..n_bits {
            bits.set(index);
        }
        bits
    }

    /// How many bits there are.
    #[must_use]
    pub const fn n_bits(&self) -> u32 {
        self.n_bits
    }

    /// How many are set.
    #[must_use]
    pub fn n_set(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether all are set.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.n_set() == self.n_bits
    }

    /// Whether bit `index` is set; not, when there is no such bit.
    #[must_use]
    pub fn has(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Sets bit `index`, if there is one; whether it was not set before.
    pub fn set(&mut self, index: u32) -> bool {
        if self.n_bits <= index || self.has(index) {
            return false;
        }
        self.words[index as usize / 64] |= 1 << (index % 64);
        true
    }

    /// Clears bit `index`; whether it was set.
    pub fn clear(&mut self, index: u32) -> bool {
        let had = self.has(index);
        if had {
            self.words[index as usize / 64] &= !(1 << (index % 64));
        }
        had
    }

    /// Adds the bits that `other` has.
    pub fn add(&mut self, other: &Self) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// Whether it has a bit that `other` has not.
    #[must_use]
    pub fn exceeds(&self, other: &Self) -> bool {
        let others = other.words.iter().chain(std::iter::repeat(&0));
        self.words.iter().zip(others).any(|(word, other)| word & !other != 0)
    }

    /// The bits that are set, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.without(&[])
    }

    /// The bits that are set here and in none of `others`, in order.
    pub fn without<'a>(&'a self, others: &'a [&'a Self]) -> impl Iterator<Item = u32> + 'a {
        (0_u32..).zip(&self.words).flat_map(move |(index, word)| {
            let theirs = others.iter().filter_map(|other| other.words.get(index as usize));
            let mut left = word & !theirs.fold(0, |all, word| all | word);
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(index * 64 + bit)
            })
        })
    }

    /// Whether this could have been made by the functions above: what came from a stranger may not.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let spare = self.n_bits % 64;
        self.words.len() == self.n_bits.div_ceil(64) as usize
            && (spare == 0 || self.words.last().is_none_or(|word| word >> spare == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn bits_are_set_counted_and_listed() {
        let mut bits = Bits::none(130);
        assert!(bits.set(0) && bits.set(64) && bits.set(129));
        assert!(!bits.set(129) && !bits.set(130) && !bits.has(500));
        assert_eq!((bits.n_set(), bits.is_full()), (3, false));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 64, 129]);
        let mut other = Bits::none(130);
        other.set(64);
        assert!(bits.exceeds(&other) && !other.exceeds(&bits));
        assert_eq!(bits.without(&[&other]).collect::<Vec<_>>(), [0, 129]);
        assert!(bits.clear(64) && !bits.clear(64));
        bits.add(&other);
        assert!(bits.has(64) && Bits::all(130).is_full() && Bits::none(0).is_full());
    }

    #[test]
    fn bits_beyond_the_end_are_not_sound() {
        assert!(Bits::all(130).is_sound() && Bits::all(128).is_sound() && Bits::none(0).is_sound());
        assert!(!Bits { n_bits: 3, words: vec![8] }.is_sound());
        assert!(!Bits { n_bits: 3, words: vec![] }.is_sound());
        assert!(!Bits { n_bits: u32::MAX, words: vec![0] }.is_sound());
    }
}
