//! The axes along which a job is cut. A job has one unit for each combination of its axes' positions.

use crate::bounds::{LINE_BYTES_MAX, LISTED_MAX, NAME_PATH_BYTES_MAX};
use crate::job::{Extra, Input, Invalid, JobSpec, Lines, Segment, UnitInput, field};
use crate::json::{Object, Text};
use crate::{Digest, UnitIndex, lines};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashSet;

mod values;

pub use values::{FilePart, Merges, Span, Values};

/// One direction of a cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Axis {
    /// Integers `first..end`, `per_unit` at a time; the unit gets `name: {"first", "end"}`.
    Range {
        /// Of the parameter.
        name: String,
        /// The first integer.
        first: u64,
        /// One past the last integer.
        end: u64,
        /// Integers per unit.
        per_unit: u64,
    },
    /// Values `start + i * step` for `i` in `0..count`, `per_unit` at a time; the unit gets
    /// `name: {"start", "step", "count"}`.
    Steps {
        /// Of the parameter.
        name: String,
        /// The first value.
        start: f64,
        /// From one value to the next.
        step: f64,
        /// Values in all.
        count: u64,
        /// Values per unit.
        per_unit: u64,
    },
    /// These values, one per unit; the unit gets `name: value`.
    Values {
        /// Of the parameter.
        name: String,
        /// What it takes on.
        values: Vec<Text>,
    },
    /// Records of an input, `per_unit` at a time: the unit sees, in the input's place, its header and its records, and
    /// `overlap` records more at the end where there are.
    Records {
        /// Position of the input in [`JobSpec::inputs`].
        input: u32,
        /// Bytes before the first record; each unit gets them.
        header_bytes: u64,
        /// Bytes of one record; 1 cuts by bytes.
        record_bytes: u64,
        /// Records per unit.
        per_unit: u64,
        /// Records of the next unit that this one gets too.
        overlap: u64,
    },
    /// Files, one per unit: of the inputs `first..first + count` the unit sees one, after all that are on no axis.
    Files {
        /// Position of the first in [`JobSpec::inputs`].
        first: u32,
        /// How many there are.
        count: u32,
    },
    /// Files, one per unit, too many to name here: line *i* of a blob is the [`Input`] of position *i*. The unit sees its
    /// file after all inputs that are on no axis.
    Listed {
        /// Of the blob.
        digest: Digest,
        /// Bytes of the blob.
        len: u64,
        /// Lines in the blob.
        count: u64,
    },
    /// Lines of a blob, one JSON object each, one per unit; the unit's parameters get its members.
    Lines {
        /// Of the blob.
        digest: Digest,
        /// Bytes of the blob.
        len: u64,
        /// Lines in the blob.
        count: u64,
    },
}

impl Axis {
    /// Positions on the axis.
    #[must_use]
    pub fn len(&self, inputs: &[Input]) -> u64 {
        match self {
            Self::Range { first, end, per_unit, .. } => {
                end.saturating_sub(*first).div_ceil((*per_unit).max(1))
            }
            Self::Steps { count, per_unit, .. } => count.div_ceil((*per_unit).max(1)),
            Self::Values { values, .. } => values.len() as u64,
            Self::Records { input, header_bytes, record_bytes, per_unit, .. } => {
                let len = inputs.get(*input as usize).map_or(0, |input| input.len);
                records(len, *header_bytes, *record_bytes).div_ceil((*per_unit).max(1))
            }
            Self::Files { count, .. } => u64::from(*count),
            Self::Lines { count, .. } | Self::Listed { count, .. } => *count,
        }
    }

    /// The blob of which each position takes a line: its digest, its bytes, its lines.
    #[must_use]
    pub fn line_file(&self) -> Option<(Digest, u64, u64)> {
        match self {
            Self::Lines { digest, len, count } | Self::Listed { digest, len, count } => {
                Some((*digest, *len, *count))
            }
            _ => None,
        }
    }

    /// The name of the parameter that it sets.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Range { name, .. } | Self::Steps { name, .. } | Self::Values { name, .. } => {
                Some(name)
            }
            Self::Records { .. }
            | Self::Files { .. }
            | Self::Listed { .. }
            | Self::Lines { .. } => None,
        }
    }

    fn check(&self, at: &str, inputs: &[Input]) -> Result<(), Invalid> {
        let positive = |name: &str, value: u64| {
            if value > 0 {
                Ok(())
            } else {
                Err(field(format!("{at}.{name}"), "0 is not allowed: give at least 1"))
            }
        };
        match self {
            Self::Range { per_unit, .. } => positive("per_unit", *per_unit)?,
            Self::Steps { start, step, count, per_unit, .. } => {
                positive("per_unit", *per_unit)?;
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "only whether the last value is finite is asked"
                )]
                let last = start + step * *count as f64;
                if !start.is_finite() || !step.is_finite() || !last.is_finite() {
                    return Err(field(at, "start, step and the last value must be finite numbers"));
                }
            }
            Self::Values { .. } => {}
            Self::Records { input, record_bytes, per_unit, .. } => {
                positive("record_bytes", *record_bytes)?;
                positive("per_unit", *per_unit)?;
                if inputs.len() <= *input as usize {
                    return Err(field(
                        format!("{at}.input"),
                        format!("there are {} inputs, counted from 0", inputs.len()),
                    ));
                }
            }
            Self::Files { first, count } => {
                if (inputs.len() as u64) < u64::from(*first) + u64::from(*count) {
                    return Err(field(
                        at,
                        format!("there are {} inputs, counted from 0", inputs.len()),
                    ));
                }
            }
            Self::Listed { count, .. } if LISTED_MAX < *count => {
                return Err(field(
                    at,
                    format!("{count} files are not allowed: at most {LISTED_MAX} are"),
                ));
            }
            Self::Listed { .. } | Self::Lines { .. } => {}
        }
        if self.len(inputs) == 0 {
            Err(field(at, "it has nothing in it: at least one unit is needed"))
        } else {
            Ok(())
        }
    }
}

fn records(len: u64, header_bytes: u64, record_bytes: u64) -> u64 {
    len.saturating_sub(header_bytes).div_ceil(record_bytes.max(1))
}

/// Checks all axes of a job.
pub(crate) fn check(spec: &JobSpec) -> Result<(), Invalid> {
    let mut names: HashSet<&str> = spec.params.keys().map(String::as_str).collect();
    let mut used = vec![false; spec.inputs.len()];
    for (index, axis) in spec.cut.iter().enumerate() {
        let at = format!("cut[{index}]");
        axis.check(&at, &spec.inputs)?;
        if let Some(name) = axis.name()
            && (name.is_empty() || name == "merge" || !names.insert(name))
        {
            return Err(field(
                format!("{at}.name"),
                format!("\"{name}\" is empty or taken: each name sets one parameter"),
            ));
        }
        for input in axis_inputs(axis) {
            if std::mem::replace(&mut used[input], true) {
                return Err(field(at, format!("input {input} is on another axis already")));
            }
        }
    }
    if spec.cut.iter().filter(|axis| axis.line_file().is_some()).count() > 1 {
        let allowed = format!(
            "at most one axis of lines, or of more files than the {} that a specification names",
            crate::bounds::INPUTS_MAX
        );
        return Err(field("cut", allowed));
    }
    Ok(())
}

fn axis_inputs(axis: &Axis) -> std::ops::Range<usize> {
    match axis {
        Axis::Records { input, .. } => *input as usize..*input as usize + 1,
        Axis::Files { first, count } => *first as usize..(*first + *count) as usize,
        _ => 0..0,
    }
}

/// Position of a unit of the cut on the axis that takes lines of a blob, where there is one.
#[must_use]
pub fn line(spec: &JobSpec, unit: UnitIndex) -> Option<u64> {
    spec.outline().line(unit)
}

/// The axis that takes lines of a blob, where there is one.
pub(crate) fn lines_of(spec: &JobSpec) -> Option<Lines> {
    let at = spec.cut.iter().position(|axis| axis.line_file().is_some())?;
    let (digest, _, count) = spec.cut[at].line_file()?;
    let faster = spec.cut[at + 1..].iter().map(|axis| axis.len(&spec.inputs).max(1));
    Some(Lines { digest, count, stride: faster.fold(1, u64::saturating_mul) })
}

/// Positions of a unit on the axes: the digits of its index, the last axis varying fastest.
fn positions(spec: &JobSpec, unit: UnitIndex) -> Vec<u64> {
    let mut rest = unit.0;
    let mut positions: Vec<u64> = spec
        .cut
        .iter()
        .rev()
        .map(|axis| {
            let len = axis.len(&spec.inputs).max(1);
            let position = rest % len;
            rest /= len;
            position
        })
        .collect();
    positions.reverse();
    positions
}

/// What the parameter of a named axis is at a position; null for others.
fn value(axis: &Axis, at: u64) -> Text {
    let none = || Text::from(Value::Null);
    match axis {
        Axis::Range { first, end, per_unit, .. } => {
            let first = first + at * per_unit;
            let end = first.saturating_add(*per_unit).min(*end);
            json!({ "first": first, "end": end }).into()
        }
        Axis::Steps { start, step, count, per_unit, .. } => {
            let skipped = at * per_unit;
            #[expect(
                clippy::cast_precision_loss,
                reason = "exact below 2^53, deterministic beyond"
            )]
            let start = start + step * skipped as f64;
            let count = (count - skipped).min(*per_unit);
            json!({ "start": start, "step": step, "count": count }).into()
        }
        Axis::Values { values, .. } => {
            let value = usize::try_from(at).ok().and_then(|at| values.get(at));
            value.cloned().unwrap_or_else(none)
        }
        Axis::Records { .. } | Axis::Files { .. } | Axis::Listed { .. } | Axis::Lines { .. } => {
            none()
        }
    }
}

/// The inputs of a unit of the cut; what its axes say goes into `params`.
pub(crate) fn inputs(
    spec: &JobSpec,
    unit: UnitIndex,
    extra: &Extra,
    params: &mut Object,
) -> Result<Vec<UnitInput>, Invalid> {
    let whole = |input: &Input| vec![Segment { digest: input.digest, offset: 0, len: input.len }];
    let mut seen: Vec<Option<Vec<Segment>>> =
        spec.inputs.iter().map(|input| Some(whole(input))).collect();
    let mut chosen = Vec::new();
    for (at, axis) in positions(spec, unit).into_iter().zip(&spec.cut) {
        match axis {
            Axis::Range { name, .. } | Axis::Steps { name, .. } | Axis::Values { name, .. } => {
                params.insert(name.clone(), value(axis, at));
            }
            Axis::Records { input, header_bytes, record_bytes, per_unit, overlap } => {
                let (input, position) = (&spec.inputs[*input as usize], *input as usize);
                let offset = header_bytes + at * per_unit * record_bytes;
                let len = per_unit
                    .saturating_add(*overlap)
                    .saturating_mul(*record_bytes)
                    .min(input.len - offset);
                let header = Segment { digest: input.digest, offset: 0, len: *header_bytes };
                let body = Segment { digest: input.digest, offset, len };
                seen[position] =
                    Some(if *header_bytes == 0 { vec![body] } else { vec![header, body] });
            }
            Axis::Files { first, .. } => {
                for input in axis_inputs(axis) {
                    seen[input] = None;
                }
                let file = usize::try_from(u64::from(*first) + at).expect("checked to be an input");
                chosen.push(whole(&spec.inputs[file]));
            }
            Axis::Listed { .. } => chosen.push(whole(&listed(line_of(extra)?)?)),
            Axis::Lines { .. } => {
                params.extend(lines::members(line_of(extra)?, spec.numbers)?);
            }
        }
    }
    Ok(seen.into_iter().flatten().chain(chosen).map(UnitInput::Segments).collect())
}

/// The unit's line.
fn line_of(extra: &Extra) -> Result<&str, Invalid> {
    extra.line.as_deref().ok_or_else(|| field("lease", "the unit's line did not come with it"))
}

/// Reads one line of a list of files.
///
/// # Errors
/// [`Invalid`] when it is too long, or does not name one file with its digest and length.
pub fn listed(line: &str) -> Result<Input, Invalid> {
    if LINE_BYTES_MAX < line.len() {
        return Err(field(
            "line",
            format!("{} bytes: at most {LINE_BYTES_MAX} are allowed", line.len()),
        ));
    }
    let input: Input = serde_json::from_str(line)
        .map_err(|error| field("line", format!("not a file of a list: {error}")))?;
    if NAME_PATH_BYTES_MAX < input.name.len() {
        return Err(field("name (bytes)", format!("at most {NAME_PATH_BYTES_MAX} are allowed")));
    }
    Ok(input)
}
