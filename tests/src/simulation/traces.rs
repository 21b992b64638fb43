//! The traces of simulated units: some segments each, states by digest, and lies that begin at one segment and are
//! consistent from there on, as those of a bit that fell over or of a liar who computes on from a made-up state.

use crate::simulation::kind::Answer;
use proto::Digest;
use proto::report::Output;
use proto::trace::{Point, SPACING_MIN, Trace};
use std::collections::HashMap;

/// Fuel between two points.
pub(super) const SPACING: u64 = SPACING_MIN;
/// Points of a unit's trace.
const POINTS: u64 = 16;
/// Fuel of a unit: its end is a segment like the others.
pub const FUEL: u64 = (POINTS + 1) * SPACING - 1;

/// What a unit puts out.
#[must_use]
pub(super) fn output(unit: u64, answer: Answer) -> Output {
    Output::Inline(match answer {
        Answer::Right => unit.to_le_bytes().to_vec(),
        Answer::Lie(lie) => [&[1], lie.to_le_bytes().as_slice()].concat(),
    })
}

/// Where a segment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// The next point.
    To(Point),
    /// The end of the unit, with what it puts out then.
    Out(Answer),
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
pub(super) struct States(HashMap<Digest, (Answer, Point)>);

impl States {
    /// The state that a worker shows at or below `fuel`.
    pub(super) fn show(&mut self, unit: u64, answer: Answer, fuel: u64) -> Option<Point> {
        let at = fuel / SPACING;
        let shown = (0 < at).then(|| point(unit, at.min(POINTS), answer))?;
        self.0.insert(shown.state, (answer, shown));
        Some(shown)
    }

    /// The point of a state that was shown.
    #[must_use]
    pub(super) fn point(&self, state: &Digest) -> Option<Point> {
        self.0.get(state).map(|(_, point)| *point)
    }

    /// Where a segment ends, for one who runs it and finds what `answer` says.
    #[must_use]
    pub(super) fn run(&self, unit: u64, spacing: u64, from: Option<Point>, answer: Answer) -> Ran {
        if spacing == 0 {
            return Ran::Out(answer);
        }
        let at = from.map_or(0, |from| from.fuel / SPACING);
        let begun = from.and_then(|from| {
            let (whose, _) = self.0.get(&from.state).copied()?;
            // Before its lie begins, a liar's states are everybody's.
            (point(unit, at, whose) != point(unit, at, Answer::Right)).then_some(whose)
        });
        let answer = match answer {
            Answer::Right => begun.unwrap_or(Answer::Right),
            lie @ Answer::Lie(_) => lie,
        };
        if at < POINTS { Ran::To(point(unit, at + 1, answer)) } else { Ran::Out(answer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::trace::Claim;

    fn end(unit: u64, answer: Answer) -> Claim {
        Claim::End { result: Ok(output(unit, answer).digest()), fuel: FUEL }
    }

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
                    let found = match states.run(unit, SPACING, from, Answer::Right) {
                        Ran::To(point) => Claim::Point(point),
                        Ran::Out(answer) => end(unit, answer),
                    };
                    found != trace.until(points, end(unit, lied))
                })
                .collect();
            assert_eq!(wrong, [begins(unit, lie) - 1]);
        }
    }
}
