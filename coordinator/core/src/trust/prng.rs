//! Chance, from a seed that is passed in: the core draws none of its own. Who does not know the seed cannot tell which
//! units will be checked.

/// A stream of numbers that only the seed tells.
#[derive(Clone)]
pub struct Prng {
    seed: [u8; 32],
    drawn: u64,
}

impl std::fmt::Debug for Prng {
    /// Without the seed, which is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prng").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

impl Prng {
    /// Prng that fall as the seed says.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, drawn: 0 }
    }

    /// Whether something of this chance happens.
    pub fn happens(&mut self, chance: f64) -> bool {
        // The upper 53 bits, which a float holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let drawn = (self.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < chance
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(end.max(1));
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    fn draw(&mut self) -> u64 {
        let hash = blake3::keyed_hash(&self.seed, &self.drawn.to_le_bytes());
        self.drawn += 1;
        u64::from_le_bytes(std::array::from_fn(|index| hash.as_bytes()[index]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_tells_how_they_fall_and_nothing_else_does() {
        let throws = |seed| {
            let mut prng = Prng::new([seed; 32]);
            (0..10_000).map(|_| prng.happens(0.3)).collect::<Vec<_>>()
        };
        assert_eq!(throws(1), throws(1));
        assert_ne!(throws(1), throws(2));
        let hits = throws(3).into_iter().filter(|hit| *hit).count();
        assert!((2_800..3_200).contains(&hits), "{hits}");
        assert!(!Prng::new([4; 32]).happens(0.0));
        assert!(Prng::new([4; 32]).happens(1.0));
    }
}
