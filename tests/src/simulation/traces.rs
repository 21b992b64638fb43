//! The traces of simulated units: some segments each, states by digest, and lies that begin at one segment and are
//! consistent from there on, as those of a bit that fell over or of a liar who computes on from a made-up state.

use crate::simulation::machine::Answer;
use proto::trace::{Claim, Point, SPACING_MIN, Trace};
use proto::{Digest, report};
use std::collections::HashMap;

/// Fuel between two points.
pub(super) const SPACING: u64 = SPACING_MIN;
/// Points of a unit's trace.
const POINTS: u64 = 16;
/// Fuel of a unit: its end is a segment like the others.
pub const FUEL: u64 = (POINTS + 1) * SPACING - 1;

/// What a unit puts out.
#[must_use]
pub(super) fn output(unit: u64, answer: Answer) -> Vec<u8> {
    match answer {
        Answer::Right => unit.to_le_bytes().to_vec(),
        Answer::Lie(lie) => [&[1], lie.to_le_bytes().as_slice()].concat(),
    }
}

/// How a unit ends.
#[must_use]
pub(super) fn end(unit: u64, answer: Answer) -> Claim {
    let result = Ok(report::Output::Inline(output(unit, answer)).digest());
    Claim::End { result, fuel: FUEL }
}

/// The first point of a lie that is not as it should be; behind the last when only the end is a lie.
fn begins(unit: u64, lie: u64) -> u64 {
    1 + (unit.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ lie.wrapping_mul(0xBF58_476D_1CE4_E5B9))
        % (POINTS + 1)
}

fn point(unit: u64, at: u64, answer: Answer) -> Point {
    let mut content = [0; 25];
    content[..8].copy_from_slice(&unit.to_le_bytes());
    content[8..16].copy_from_slice(&at.to_le_bytes());
    if let Answer::Lie(lie) = answer
        && begins(unit, lie) <= at
    {
        content[16] = 1;
        content[17..].copy_from_slice(&lie.to_le_bytes());
    }
    Point { fuel: at * SPACING, state: Digest::of(&content) }
}

/// The trace that a report commits to.
#[must_use]
pub(super) fn trace(unit: u64, answer: Answer) -> Trace {
    let mut trace = Trace::new(SPACING);
    for at in 1..=POINTS {
        trace.push(point(unit, at, answer));
    }
    trace
}

/// Roots of right traces, of which thousands of workers make the same.
#[derive(Debug, Default)]
pub(super) struct Roots(HashMap<u64, Option<Digest>>);

/// Roots that are remembered: replicas of a unit come soon after each other.
const ROOTS_MAX: usize = 1 << 16;

impl Roots {
    /// The root of a trace.
    pub(super) fn of(&mut self, unit: u64, answer: Answer) -> Option<Digest> {
        if answer != Answer::Right {
            return trace(unit, answer).root();
        }
        if ROOTS_MAX <= self.0.len() {
            self.0.clear();
        }
        *self.0.entry(unit).or_insert_with(|| trace(unit, answer).root())
    }
}

/// States that were shown, and whose they are: whoever computes on from a wrong one finds what the liar found.
#[derive(Debug, Default)]
pub(super) struct States(HashMap<Digest, Answer>);

impl States {
    /// The state that a worker shows at or below `fuel`.
    pub(super) fn show(&mut self, unit: u64, answer: Answer, fuel: u64) -> Option<Point> {
        let at = fuel / SPACING;
        let shown = (0 < at).then(|| point(unit, at.min(POINTS), answer))?;
        self.0.insert(shown.state, answer);
        Some(shown)
    }

    /// Where a segment ends, for one who runs it and finds what `answer` says.
    #[must_use]
    pub(super) fn run(
        &self,
        unit: u64,
        spacing: u64,
        from: Option<Point>,
        answer: Answer,
    ) -> Claim {
        if spacing == 0 {
            return end(unit, answer);
        }
        let at = from.map_or(0, |from| from.fuel / SPACING);
        let begun = from.and_then(|from| {
            let whose = self.0.get(&from.state).copied()?;
            // Before its lie begins, a liar's states are everybody's.
            (point(unit, at, whose) != point(unit, at, Answer::Right)).then_some(whose)
        });
        let answer = match answer {
            Answer::Right => begun.unwrap_or(Answer::Right),
            lie @ Answer::Lie(_) => lie,
        };
        if at < POINTS { Claim::Point(point(unit, at + 1, answer)) } else { end(unit, answer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_segment_but_the_one_of_the_lie_is_as_it_should_be() {
        for (unit, lie) in [(3, 7), (5, u64::MAX), (1_000, 12)] {
            let lied = Answer::Lie(lie);
            let trace = trace(unit, lied);
            let mut states = States::default();
            let wrong: Vec<u64> = (0..=POINTS)
                .filter(|at| {
                    let from = states.show(unit, lied, at * SPACING);
                    let points = usize::try_from(*at).unwrap();
                    assert_eq!(from, trace.from(points));
                    let found = states.run(unit, SPACING, from, Answer::Right);
                    found != trace.until(points, end(unit, lied))
                })
                .collect();
            assert_eq!(wrong, [begins(unit, lie) - 1]);
        }
    }
}
