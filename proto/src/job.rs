//! The specification of a job, and the units it falls into. Unit *i* is a pure function of the specification and *i*
//! (and, where it says so, of what the lease brings).

use crate::bounds::SPEC_BYTES_MAX;
use crate::cut::Axis;
use crate::json::{self, Object, Text};
use crate::{Digest, UnitIndex, trace};
use serde::{Deserialize, Serialize};

mod check;
mod outline;
mod unit;

use check::within;
pub use outline::{Lines, Outline};
pub use unit::{Extra, Segment, Stage, Unit, UnitInput};

/// Version of the specification's form.
pub const VERSION: u32 = 1;
/// The newest version of the kernel contract, which new jobs name.
pub const CONTRACT: u32 = 2;
/// Smallest chance of a wrong unit that may be asked for: below it the estimate's assumptions matter more than its
/// arithmetic.
pub const CONFIDENCE_MIN: f64 = 1e-12;
/// Largest: beyond it one report of a stranger is enough, which `copies = 1` says more plainly.
pub const CONFIDENCE_MAX: f64 = 0.1;

/// What a researcher submits, as JSON; its digest is taken over the bytes as they were submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// Always [`VERSION`].
    pub version: u32,
    /// For people.
    pub name: String,
    /// The kernel's module, as its author built it.
    pub kernel: Digest,
    /// The version of the kernel contract: by what units are charged, up to [`CONTRACT`]. Specifications did not name
    /// the first.
    #[serde(default = "first_contract", skip_serializing_if = "is_first_contract")]
    pub contract: u32,
    /// How NaN bits are treated.
    #[serde(default)]
    pub nan: Nan,
    /// How numbers of parameters are read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub numbers: Numbers,
    /// Parameters that all units share.
    #[serde(default)]
    pub params: Object,
    /// Blobs that units read.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// How the job is cut: one unit for each combination of the axes, the last one varying fastest. No axis: one unit.
    #[serde(default)]
    pub cut: Vec<Axis>,
    /// A last stage that merges outputs up a tree.
    #[serde(default)]
    pub merge: Option<Merge>,
    /// What one unit may use.
    pub limits: Limits,
    /// Reports of different accounts that must agree, for a job without `confidence`; else 1.
    pub copies: u32,
    /// The estimated chance that an accepted unit is wrong which the researcher puts up with, between
    /// [`CONFIDENCE_MIN`] and [`CONFIDENCE_MAX`]: the coordinator buys checks until its estimate is no higher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// How long a unit is lent, seconds.
    pub lease_s: u64,
    /// Infrastructure failures and expired leases of one unit before it is given up.
    pub attempts_max: u32,
    /// Higher goes first within the account.
    #[serde(default)]
    pub priority: i32,
    /// With which of these codes a WASI kernel ends that has put out an answer.
    #[serde(default = "success", skip_serializing_if = "is_success")]
    pub exit_codes: Vec<i32>,
    /// What random numbers of WASI kernels grow from.
    pub seed: Digest,
    /// Fuel between two points of a unit's trace, from [`trace::SPACING_MIN`].
    #[serde(default = "spacing", skip_serializing_if = "is_default_spacing")]
    pub trace_fuel: u64,
}

fn first_contract() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first_contract(contract: &u32) -> bool {
    *contract == first_contract()
}

fn spacing() -> u64 {
    trace::SPACING
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_default_spacing(fuel: &u64) -> bool {
    *fuel == trace::SPACING
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The exit codes that count as an answer where a job does not say.
#[must_use]
pub fn success() -> Vec<i32> {
    vec![0]
}

fn is_success(codes: &[i32]) -> bool {
    codes == [0]
}

/// How numbers of parameters are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// As 64-bit integers or doubles, and shown to units in their shortest form.
    #[default]
    Binary,
    /// Not at all: each value reaches units as it was written.
    Written,
}

/// How NaN bits are treated (design: kernels).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nan {
    /// The same bits everywhere.
    #[default]
    Canonical,
    /// As the machine makes them: faster, for kernels that never show NaN bits.
    Unchecked,
}

/// A blob that units read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The file's name, for people.
    pub name: String,
    /// Of its content.
    pub digest: Digest,
    /// Bytes of its content.
    pub len: u64,
}

/// The merge stage: level 1 merges outputs of the cut's units `fan_in` at a time, level 2 those of level 1, up to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// Another kernel for it; the job's own when absent.
    #[serde(default)]
    pub kernel: Option<Digest>,
    /// Most outputs that one merge unit takes, at least 2.
    pub fan_in: u32,
}

/// What one unit may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Linear memory, bytes.
    pub memory_bytes: u64,
    /// Fuel: operators executed.
    pub fuel: u64,
    /// Output, bytes.
    pub output_bytes: u64,
    /// Log kept for the researcher, bytes.
    pub log_bytes: u64,
    /// Computing time on one machine, seconds; beyond it the unit goes elsewhere.
    pub time_s: u64,
}

/// Why a specification is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// Not JSON of the right form.
    #[error("the job specification cannot be read")]
    Json(#[from] serde_json::Error),
    /// A field's value.
    #[error("{field}: {allowed}")]
    Field {
        /// Path of the field.
        field: String,
        /// What is allowed, and what there was.
        allowed: String,
    },
}

/// Makes an [`Invalid::Field`].
pub(crate) fn field(field: impl Into<String>, allowed: impl Into<String>) -> Invalid {
    Invalid::Field { field: field.into(), allowed: allowed.into() }
}

impl JobSpec {
    /// Reads and checks a specification.
    ///
    /// # Errors
    /// [`Invalid`], naming the field and what is allowed.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        within("specification (bytes)", bytes.len() as u64, 2, SPEC_BYTES_MAX as u64)?;
        let mut spec: Self = serde_json::from_slice(bytes)?;
        spec.normalise()?;
        spec.check()?;
        Ok(spec)
    }

    /// Gives each value of the parameters the form in which units see it.
    ///
    /// # Errors
    /// [`Invalid`] when a value has no such form.
    pub fn normalise(&mut self) -> Result<(), Invalid> {
        let numbers = self.numbers;
        self.values_mut().try_for_each(|(name, value)| {
            if numbers == Numbers::Binary {
                *value = value.canonical()?;
                return Ok(());
            }
            json::look(value.get())
                .map(drop)
                .map_err(|ambiguous| field(name, ambiguous.to_string()))
        })
    }

    /// All values of parameters, each with its name.
    pub fn values(&self) -> impl Iterator<Item = (&str, &Text)> {
        let listed = self.cut.iter().filter_map(|axis| match axis {
            Axis::Values { name, values } => Some((name, values)),
            _ => None,
        });
        let listed =
            listed.flat_map(|(name, values)| values.iter().map(|value| (name.as_str(), value)));
        self.params.iter().map(|(name, value)| (name.as_str(), value)).chain(listed)
    }

    fn values_mut(&mut self) -> impl Iterator<Item = (&str, &mut Text)> {
        let listed = self.cut.iter_mut().filter_map(|axis| match axis {
            Axis::Values { name, values } => Some((&*name, values)),
            _ => None,
        });
        let listed =
            listed.flat_map(|(name, values)| values.iter_mut().map(|value| (name.as_str(), value)));
        self.params.iter_mut().map(|(name, value)| (name.as_str(), value)).chain(listed)
    }

    /// The blob of which each unit of the cut takes a line: its digest, its bytes, its lines.
    #[must_use]
    pub fn line_file(&self) -> Option<(Digest, u64, u64)> {
        self.cut.iter().find_map(Axis::line_file)
    }

    /// The list of the job's files, where they are too many to be named here.
    #[must_use]
    pub fn list(&self) -> Option<(Digest, u64, u64)> {
        self.cut.iter().find(|axis| matches!(axis, Axis::Listed { .. })).and_then(Axis::line_file)
    }

    /// The bytes that are submitted.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a specification is plain data")
    }

    /// The kernel that a unit runs; `None` beyond the last.
    #[must_use]
    pub fn kernel_of(&self, unit: UnitIndex) -> Option<Digest> {
        self.outline().kernel_of(unit)
    }

    /// Units of the cut.
    #[must_use]
    pub fn cut_units(&self) -> u64 {
        self.cut.iter().fold(1, |units, axis| units.saturating_mul(axis.len(&self.inputs)))
    }

    /// What of it decides about its units.
    #[must_use]
    pub fn outline(&self) -> Outline {
        Outline::of(self)
    }

    /// Units in all, merges included.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.outline().units()
    }

    /// The stage of a unit; `None` beyond the last.
    #[must_use]
    pub fn stage(&self, unit: UnitIndex) -> Option<Stage> {
        self.outline().stage(unit)
    }

    /// The merge unit that takes this unit's output; `None` for the root, or without a merge stage.
    #[must_use]
    pub fn merged_by(&self, unit: UnitIndex) -> Option<UnitIndex> {
        self.outline().merged_by(unit)
    }
}

#[cfg(test)]
mod tests;
