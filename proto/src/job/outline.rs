//! What of a specification decides whom its units are lent to and how they are judged: small, whatever the rest holds.

use crate::cut::{self, Axis};
use crate::job::{Input, JobSpec, Limits, Merge, Stage};
use crate::{Digest, UnitIndex};

/// The outline of a job: its specification without parameters, inputs and axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outline {
    /// The kernel's module.
    pub kernel: Digest,
    /// The version of the kernel contract.
    pub contract: u32,
    /// The last stage, where there is one.
    pub merge: Option<Merge>,
    /// Units of the cut.
    pub cut_units: u64,
    /// The blob of which each unit of the cut takes a line.
    pub lines: Option<Lines>,
    /// Bytes of the inputs that all units of the cut have.
    pub shared_bytes: u64,
    /// Bytes of the largest input that a unit has for itself; as many as can be where they are not known.
    pub own_bytes: u64,
    /// What one unit may use.
    pub limits: Limits,
    /// Reports of different accounts that must agree.
    pub copies: u32,
    /// The chance of a wrong unit that is put up with.
    pub confidence: Option<f64>,
    /// How long a unit is lent, seconds.
    pub lease_s: u64,
    /// Attempts of a unit before it is given up.
    pub attempts_max: u32,
    /// Higher goes first within the account.
    pub priority: i32,
    /// Fuel between two points of a unit's trace.
    pub trace_fuel: u64,
}

/// The axis of which each position takes a line of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Of the blob.
    pub digest: Digest,
    /// Lines in the blob.
    pub count: u64,
    /// Units from one line to the next: as many as the axes that vary faster have positions.
    pub stride: u64,
}

/// Bytes of inputs: of all units, and of one unit at most.
fn input_bytes(spec: &JobSpec) -> (u64, u64) {
    let (mut shared, mut own) = (sum(&spec.inputs), 0_u64);
    for axis in &spec.cut {
        match *axis {
            Axis::Files { first, count } => {
                let files = spec.inputs.iter().skip(first as usize).take(count as usize);
                own = own.saturating_add(files.clone().map(|input| input.len).max().unwrap_or(0));
                shared = shared.saturating_sub(sum(files));
            }
            Axis::Listed { .. } => own = u64::MAX,
            Axis::Range { .. }
            | Axis::Steps { .. }
            | Axis::Values { .. }
            | Axis::Records { .. }
            | Axis::Lines { .. } => {}
        }
    }
    (shared, own)
}

fn sum<'a>(inputs: impl IntoIterator<Item = &'a Input>) -> u64 {
    inputs.into_iter().fold(0, |sum, input| sum.saturating_add(input.len))
}

impl Outline {
    /// The outline of a specification.
    #[must_use]
    pub fn of(spec: &JobSpec) -> Self {
        let (shared_bytes, own_bytes) = input_bytes(spec);
        Self {
            kernel: spec.kernel,
            contract: spec.contract,
            merge: spec.merge,
            cut_units: spec.cut_units(),
            lines: cut::lines_of(spec),
            shared_bytes,
            own_bytes,
            limits: spec.limits,
            copies: spec.copies,
            confidence: spec.confidence,
            lease_s: spec.lease_s,
            attempts_max: spec.attempts_max,
            priority: spec.priority,
            trace_fuel: spec.trace_fuel,
        }
    }

    /// The line that a unit of the cut takes, counted from 0, where there is one.
    #[must_use]
    pub fn line(&self, unit: UnitIndex) -> Option<u64> {
        let lines = self.lines?;
        Some(unit.0 / lines.stride.max(1) % lines.count.max(1))
    }

    /// Units in all, merges included.
    #[must_use]
    pub fn units(&self) -> u64 {
        let Some(merge) = self.merge else { return self.cut_units };
        let (mut level, mut units) = (self.cut_units, self.cut_units);
        while level > 1 {
            level = level.div_ceil(merge.fan_in.into());
            units += level;
        }
        units
    }

    /// The stage of a unit; `None` beyond the last.
    #[must_use]
    pub fn stage(&self, unit: UnitIndex) -> Option<Stage> {
        let mut width = self.cut_units;
        if unit.0 < width {
            return Some(Stage::Cut);
        }
        let fan_in = u64::from(self.merge?.fan_in);
        let (mut base, mut level) = (0, 0);
        while width > 1 {
            let above = base + width;
            let merges = width.div_ceil(fan_in);
            level += 1;
            if unit.0 < above + merges {
                let skipped = (unit.0 - above) * fan_in;
                let count =
                    u32::try_from((width - skipped).min(fan_in)).expect("at most FAN_IN_MAX");
                return Some(Stage::Merge { level, first: UnitIndex(base + skipped), count });
            }
            (base, width) = (above, merges);
        }
        None
    }

    /// The kernel that a unit runs; `None` beyond the last.
    #[must_use]
    pub fn kernel_of(&self, unit: UnitIndex) -> Option<Digest> {
        Some(match self.stage(unit)? {
            Stage::Cut => self.kernel,
            Stage::Merge { .. } => self.merge.and_then(|merge| merge.kernel).unwrap_or(self.kernel),
        })
    }

    /// The merge unit that takes this unit's output; `None` for the root, or without a merge stage.
    #[must_use]
    pub fn merged_by(&self, unit: UnitIndex) -> Option<UnitIndex> {
        let fan_in = u64::from(self.merge?.fan_in);
        let (mut base, mut width) = (0, self.cut_units);
        while width > 1 {
            let above = base + width;
            if unit.0 < above {
                return Some(UnitIndex(above + (unit.0 - base) / fan_in));
            }
            (base, width) = (above, width.div_ceil(fan_in));
        }
        None
    }
}
