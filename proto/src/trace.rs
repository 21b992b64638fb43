//! Traces: the states of a kernel at fixed amounts of fuel, by digest. A report commits to the trace of its unit, so that
//! one segment of it can be run again alone, and two that differ can be led back to the first segment on which they part.
//!
//! A state is taken between two steps: the first one after each multiple of the spacing. Both are the same on every
//! machine. A long unit keeps every other point and doubles the spacing whenever it would have too many.

use crate::key::WrongSignature;
use crate::report::Failure;
use crate::{Digest, ProjectKey, UnitIndex, WorkerKey, key, merkle, pb};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

/// Fuel between two points unless the job says otherwise: some seconds of computing, in which hashing a state of 256 MB is
/// less than one part in a hundred.
pub const SPACING: u64 = 1 << 36;
/// Least fuel between two points: below it a unit has states and little else.
pub const SPACING_MIN: u64 = 1 << 16;
/// Most points of a trace: all of them travel in one message.
pub const POINTS_MAX: usize = 4096;

const VERSION: u8 = 1;
const POINT_DOMAIN: &[u8] = b"starling.v1 trace point";
const TRACE_DOMAIN: &[u8] = b"starling.v1 trace";
const SEGMENT_DOMAIN: &[u8] = b"starling.v1 segment";

/// A state on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Point {
    /// Fuel burnt until then.
    pub fuel: u64,
    /// Digest of the state.
    pub state: Digest,
}

/// The states of one unit, from the first behind its start to the last before its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    version: u8,
    /// Fuel between two points.
    spacing: u64,
    points: Vec<Point>,
}

/// Why bytes are no trace, or no statement about a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no {0} of this version")]
pub struct Malformed(&'static str);

impl Trace {
    /// A trace without points, `spacing` fuel apart (at least 1).
    #[must_use]
    pub fn new(spacing: u64) -> Self {
        Self { version: VERSION, spacing: spacing.max(1), points: Vec::new() }
    }

    /// Fuel between two points.
    #[must_use]
    pub fn spacing(&self) -> u64 {
        self.spacing
    }

    /// The points in order.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Whether the state after a step belongs to the trace, `fuel` being what was burnt until then.
    #[must_use]
    pub fn is_due(&self, fuel: u64) -> bool {
        let last = self.points.last().map_or(0, |point| point.fuel);
        last / self.spacing < fuel / self.spacing
    }

    /// Adds a point that is due.
    pub fn push(&mut self, point: Point) {
        debug_assert!(self.is_due(point.fuel));
        self.points.push(point);
        while POINTS_MAX < self.points.len() {
            *self = self.thinned(self.spacing * 2);
        }
    }

    /// The points that there would be with a wider spacing, a multiple of its own.
    #[must_use]
    pub fn thinned(&self, spacing: u64) -> Self {
        let mut thinned = Self::new(spacing);
        for point in &self.points {
            if thinned.is_due(point.fuel) {
                thinned.points.push(*point);
            }
        }
        thinned
    }

    /// What a report commits to; nothing for a unit that ended before its first point.
    #[must_use]
    pub fn root(&self) -> Option<Digest> {
        if self.points.is_empty() {
            return None;
        }
        let leaves: Vec<Digest> = self.points.iter().map(leaf).collect();
        let count = (self.points.len() as u64).to_le_bytes();
        let root = merkle::root(&leaves);
        Some(Digest::of(&[TRACE_DOMAIN, &self.spacing.to_le_bytes(), &count, &root.0].concat()))
    }

    /// How many points lie at or below `fuel`.
    #[must_use]
    pub fn points_until(&self, fuel: u64) -> usize {
        self.points.partition_point(|point| point.fuel <= fuel)
    }

    /// Where the segment behind the first `points` points begins; `None` at the start of the unit.
    #[must_use]
    pub fn from(&self, points: usize) -> Option<Point> {
        points.checked_sub(1).and_then(|last| self.points.get(last)).copied()
    }

    /// What the trace says of where that segment ends; `end` is how the unit does.
    #[must_use]
    pub fn until(&self, points: usize, end: Claim) -> Claim {
        self.points.get(points).map_or(end, |point| Claim::Point(*point))
    }

    /// Points that two traces share before they part, and both of them at the wider of their spacings.
    #[must_use]
    pub fn parting(&self, other: &Self) -> (usize, Self, Self) {
        let spacing = self.spacing.max(other.spacing);
        let (one, other) = (self.thinned(spacing), other.thinned(spacing));
        let shared = one.points.iter().zip(&other.points).take_while(|(one, other)| one == other);
        (shared.count(), one, other)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain data always encodes")
    }

    /// Reads canonical bytes of a trace of a job with this spacing.
    ///
    /// # Errors
    /// [`Malformed`] when they are none, or the points are not as such a trace has them.
    pub fn decode(bytes: &[u8], spacing: u64) -> Result<Self, Malformed> {
        let malformed = Malformed("trace");
        let (trace, rest) = postcard::take_from_bytes::<Self>(bytes).map_err(|_| malformed)?;
        let doubled = trace.spacing.checked_div(spacing).filter(|times| times.is_power_of_two());
        let whole = doubled.is_some_and(|times| times.checked_mul(spacing) == Some(trace.spacing));
        if !rest.is_empty() || trace.version != VERSION || POINTS_MAX < trace.points.len() || !whole
        {
            return Err(malformed);
        }
        if trace.thinned(trace.spacing) != trace {
            return Err(malformed);
        }
        Ok(trace)
    }
}

fn leaf(point: &Point) -> Digest {
    let bytes = postcard::to_extend(point, POINT_DOMAIN.to_vec());
    merkle::leaf(&bytes.expect("plain data always encodes"))
}

/// How a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Claim {
    /// At a state.
    Point(Point),
    /// With the unit.
    End {
        /// Digest of the output, or how the unit fails everywhere.
        result: Result<Digest, Failure>,
        /// Fuel burnt by the whole unit.
        fuel: u64,
    },
}

/// What a worker says of a segment that it has run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentStatement {
    version: u8,
    /// The project.
    pub project: ProjectKey,
    /// Of the job's specification.
    pub spec: Digest,
    /// The unit.
    pub unit: UnitIndex,
    /// Fuel between two points; 0 for a segment that goes to the end of the unit.
    pub spacing: u64,
    /// Where it begins; `None` at the start of the unit.
    pub from: Option<Point>,
    /// How it ends.
    pub found: Claim,
}

impl SegmentStatement {
    /// What was found.
    #[must_use]
    pub fn new(
        project: ProjectKey,
        spec: Digest,
        unit: UnitIndex,
        spacing: u64,
        from: Option<Point>,
        found: Claim,
    ) -> Self {
        Self { version: VERSION, project, spec, unit, spacing, from, found }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain data always encodes")
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`Malformed`] when they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let malformed = Malformed("statement about a segment");
        let (statement, rest) = postcard::take_from_bytes::<Self>(bytes).map_err(|_| malformed)?;
        if rest.is_empty() && statement.version == VERSION { Ok(statement) } else { Err(malformed) }
    }

    /// What the worker signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        [SEGMENT_DOMAIN, &self.encode()].concat()
    }

    /// Signs it.
    #[must_use]
    pub fn sign(&self, worker: &SigningKey, segment_id: u64) -> pb::SegmentReport {
        pb::SegmentReport {
            segment_id,
            statement: self.encode().into(),
            signature: key::sign(worker, &self.signed_bytes()).to_vec().into(),
            failure: String::new(),
        }
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`WrongSignature`] when it is not the worker's.
    pub fn verify(&self, worker: &WorkerKey, signature: &[u8]) -> Result<(), WrongSignature> {
        worker.verify(&self.signed_bytes(), signature)
    }
}

impl From<&Point> for pb::TracePoint {
    fn from(point: &Point) -> Self {
        Self { fuel: point.fuel, state: point.state.0.to_vec().into() }
    }
}

impl TryFrom<&pb::TracePoint> for Point {
    type Error = Malformed;
    fn try_from(point: &pb::TracePoint) -> Result<Self, Malformed> {
        let state = Digest::try_from(point.state.as_ref());
        Ok(Self { fuel: point.fuel, state: state.map_err(|_| Malformed("point of a trace"))? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trace of a unit whose steps burn so much each.
    fn trace(spacing: u64, steps: impl IntoIterator<Item = u64>) -> Trace {
        let (mut trace, mut fuel) = (Trace::new(spacing), 0);
        for step in steps {
            fuel += step;
            if trace.is_due(fuel) {
                trace.push(Point { fuel, state: Digest::of(&fuel.to_le_bytes()) });
            }
        }
        trace
    }

    #[test]
    fn points_are_the_first_states_behind_each_multiple() {
        let fuel: Vec<u64> =
            trace(10, [3, 3, 3, 3, 30, 1, 1, 9]).points.iter().map(|p| p.fuel).collect();
        assert_eq!(fuel, [12, 42, 53]);
        assert_eq!(trace(10, [3, 3, 3]).root(), None);
    }

    #[test]
    fn a_long_trace_is_thinned_as_if_it_had_been_wide_from_the_start() {
        let steps = (0..30_000).map(|step| 1 + step % 37);
        let long = trace(8, steps.clone());
        assert!(long.points.len() <= POINTS_MAX && POINTS_MAX / 4 < long.points.len());
        assert_eq!(long, trace(long.spacing, steps));
    }

    #[test]
    fn a_trace_is_read_back_and_a_forged_one_is_not() {
        let trace = trace(16, vec![5; 100]);
        let bytes = trace.encode();
        assert_eq!(Trace::decode(&bytes, 16), Ok(trace.clone()));
        assert_eq!(Trace::decode(&bytes, 8), Ok(trace.clone()));
        assert!(Trace::decode(&bytes, 32).is_err() && Trace::decode(&bytes, 5).is_err());
        assert!(Trace::decode(&bytes[1..], 16).is_err());
        let mut forged = trace;
        forged.points.swap(1, 2);
        assert!(Trace::decode(&forged.encode(), 16).is_err());
    }

    #[test]
    fn two_traces_part_where_their_states_do() {
        let right = trace(10, vec![4; 100]);
        let mut wrong = right.clone();
        for point in &mut wrong.points[7..] {
            point.state = Digest::of(b"wrong");
        }
        let (shared, one, other) = right.parting(&wrong);
        assert_eq!(shared, 7);
        assert_eq!(one.from(7), other.from(7));
        let end = Claim::End { result: Ok(Digest([1; 32])), fuel: 400 };
        assert_ne!(one.until(7, end), other.until(7, end));
        assert_eq!(one.until(one.points.len(), end), end);
        assert_eq!(one.from(0), None);
        assert_eq!(right.parting(&right.thinned(20)).0, right.thinned(20).points.len());
    }

    #[test]
    fn canonical_bytes_are_pinned() {
        let root = trace(10, vec![4; 10]).root().map(|root| root.to_string());
        assert_eq!(root.as_deref(), Some(include_str!("trace/golden_root.hex").trim()));
        let from = Some(Point { fuel: 7, state: Digest([2; 32]) });
        let found = Claim::End { result: Ok(Digest([3; 32])), fuel: 300 };
        let statement = SegmentStatement::new(
            ProjectKey([4; 32]),
            Digest([5; 32]),
            UnitIndex(6),
            1 << 36,
            from,
            found,
        );
        let bytes = statement.encode();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&bytes),
            include_str!("trace/golden_segment.hex").trim()
        );
        assert_eq!(SegmentStatement::decode(&bytes), Ok(statement));
    }
}
