//! What a simulated worker does with a unit.

use crate::simulation::Random;

/// What a worker is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Computes, and reports what came out.
    Honest,
    /// The same, so slowly that leases run out.
    Slow,
    /// Honest, and gone for days at a time, with all that it holds.
    Vanishing,
    /// Honest, appointed by the operator as referee, and without work of its own.
    Referee,
    /// Honest, with a machine that gets this share of units wrong, each in a way of its own.
    Broken(f64),
    /// Lies about every unit, in a way of its own.
    Liar,
    /// Lies about this share of units, on purpose.
    Rarely(f64),
    /// Honest for so many units, then a liar.
    Sleeper(u64),
    /// Reports what it has heard that others said of the unit, else something made up.
    Copying,
    /// One of a league that tells one common lie about every unit, from its so many-th unit on.
    League(u64),
    /// One of the identities of a person who has made many, and whose networks the world counts: all tell one common lie about
    /// this share of units, the same units, each from its so many-th unit on.
    Sybil {
        /// Units told right first.
        after: u64,
        /// Share of units lied about.
        share: f64,
    },
    /// One of many identities of a person that take all they get, renew it and compute nothing.
    Hoarding,
    /// One of many that say of each unit that their machine cannot run it.
    Refusing,
    /// One person who comes back with a new account after every so many units, all of them lies in league.
    Identities(u64),
}

/// What is reported of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What everybody finds who computes it.
    Right,
    /// Something else; equal for equal numbers.
    Lie(u64),
}

/// The lie that a league tells.
const COMMON: u64 = u64::MAX;

/// Whether a unit is among the share of all that sybils have chosen.
fn chosen(unit: u64, share: f64) -> bool {
    Random::new(unit ^ 0x5B11).happens(share)
}

impl Kind {
    /// What a worker of this kind, its `number` being this, says of `unit` after `before` others. `heard`: what was said
    /// of the unit so far, as far as copiers could know.
    #[must_use]
    pub fn answer(
        self,
        number: u64,
        unit: u64,
        before: u64,
        random: &mut Random,
        heard: Option<Answer>,
    ) -> Answer {
        let own = Answer::Lie(number);
        let chance = |rate: f64, random: &mut Random| {
            if random.happens(rate) {
                Answer::Lie(number << 32 | random.below(1 << 32))
            } else {
                Answer::Right
            }
        };
        match self {
            Self::Honest
            | Self::Referee
            | Self::Slow
            | Self::Vanishing
            | Self::Hoarding
            | Self::Refusing => Answer::Right,
            Self::Broken(rate) | Self::Rarely(rate) => chance(rate, random),
            Self::Liar => own,
            Self::Sleeper(after) if before < after => Answer::Right,
            Self::Sleeper(_) => own,
            Self::Copying => heard.unwrap_or(own),
            Self::League(after) if before < after => Answer::Right,
            Self::Sybil { after, share } if before < after || !chosen(unit, share) => Answer::Right,
            Self::League(_) | Self::Identities(_) | Self::Sybil { .. } => Answer::Lie(COMMON),
        }
    }

    /// Whether it is one of the identities of a person who has made many.
    #[must_use]
    pub fn is_made(self) -> bool {
        matches!(self, Self::Sybil { .. } | Self::Hoarding | Self::Refusing)
    }

    /// Whether it is on the honest side.
    #[must_use]
    pub fn is_honest(self) -> bool {
        matches!(self, Self::Honest | Self::Referee | Self::Slow | Self::Vanishing)
    }
}
