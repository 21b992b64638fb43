//! What a unit is about, for whoever reads its result: the values of its axes by name, and the files that it is of.

use crate::UnitIndex;
use crate::cut::{Axis, positions, records, value};
use crate::job::{Input, JobSpec, Stage};
use crate::json::Object;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What one unit is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// Of ranges, steps and values: what the kernel gets, by the axis's name.
    #[serde(default, deserialize_with = "read", skip_serializing_if = "Object::is_empty")]
    pub axes: Object,
    /// The unit's line, counted from 1, of a job that is cut by lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Files, or parts of files, of which this unit got one of many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FilePart>,
    /// Of a merge unit: the units whose outputs it merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merges: Option<Merges>,
}

/// A file that a unit is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePart {
    /// The file's name as it was submitted.
    pub name: String,
    /// Which records of it, of a file that is cut by records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<Span>,
    /// Which bytes of it, of a file that is cut by bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Span>,
}

/// From the first to one before the end, without what the next unit gets too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Counted from 0.
    pub first: u64,
    /// One past the last.
    pub end: u64,
}

/// Units that a merge unit merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merges {
    /// From 1.
    pub level: u32,
    /// The first unit.
    pub first: u64,
    /// One past the last unit.
    pub end: u64,
}

/// Reads members that stand among others, where their text is not to be had any more.
fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Object, D::Error> {
    let members = BTreeMap::<String, Value>::deserialize(from)?;
    Ok(members.into_iter().map(|(name, value)| (name, value.into())).collect())
}

impl Values {
    /// What `unit` is about; nothing when the job has no such unit.
    #[must_use]
    pub fn of(spec: &JobSpec, unit: UnitIndex) -> Self {
        match spec.stage(unit) {
            None => Self::default(),
            Some(Stage::Merge { level, first, count }) => {
                let end = first.0 + u64::from(count);
                Self { merges: Some(Merges { level, first: first.0, end }), ..Self::default() }
            }
            Some(Stage::Cut) => {
                let mut values = Self::default();
                for (at, axis) in positions(spec, unit).into_iter().zip(&spec.cut) {
                    values.add(axis, at, &spec.inputs);
                }
                values
            }
        }
    }

    fn add(&mut self, axis: &Axis, at: u64, inputs: &[Input]) {
        match axis {
            Axis::Range { name, .. } | Axis::Steps { name, .. } | Axis::Values { name, .. } => {
                self.axes.insert(name.clone(), value(axis, at));
            }
            Axis::Records { input, header_bytes, record_bytes, per_unit, .. } => {
                let Some(input) = inputs.get(*input as usize) else { return };
                let first = at * per_unit;
                let all = records(input.len, *header_bytes, *record_bytes);
                let end = first.saturating_add(*per_unit).min(all);
                let mut part = FilePart { name: input.name.clone(), records: None, bytes: None };
                if *record_bytes == 1 {
                    let (first, end) = (header_bytes + first, header_bytes + end);
                    part.bytes = Some(Span { first, end });
                } else {
                    part.records = Some(Span { first, end });
                }
                self.files.push(part);
            }
            Axis::Files { first, .. } => {
                let file = usize::try_from(u64::from(*first) + at).ok();
                let Some(input) = file.and_then(|file| inputs.get(file)) else { return };
                let name = input.name.clone();
                self.files.push(FilePart { name, records: None, bytes: None });
            }
            Axis::Listed { .. } | Axis::Lines { .. } => self.line = Some(at + 1),
        }
    }
}
