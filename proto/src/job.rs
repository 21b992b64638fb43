//! The specification of a job, and the units it falls into. Unit *i* is a pure function of the specification and *i*
//! (and, where it says so, of what the lease brings).

use crate::bounds::{
    AXES_MAX, EXIT_CODES_MAX, FAN_IN_MAX, INPUT_NAME_BYTES_MAX, INPUTS_MAX, NAME_BYTES_MAX,
    OUTPUT_BYTES_MAX, SPEC_BYTES_MAX, UNITS_MAX,
};
use crate::cut::{self, Axis};
use crate::json::{self, Object, Text};
use crate::report::Output;
use crate::{Digest, UnitIndex, trace};
use serde::{Deserialize, Serialize};

mod outline;

pub use outline::{Lines, Outline};

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

fn within(name: &str, value: u64, min: u64, max: u64) -> Result<(), Invalid> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(field(name, format!("{value} is not allowed: give {min} to {max}")))
}

fn check_name(at: &str, name: &str, bytes_max: usize) -> Result<(), Invalid> {
    if bytes_max < name.len() {
        let allowed = format!("{} bytes are too many: give at most {bytes_max}", name.len());
        return Err(field(at, allowed));
    }
    if name.chars().any(char::is_control) {
        return Err(field(at, "control characters are not allowed"));
    }
    Ok(())
}

/// A stretch of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Of the whole blob.
    pub digest: Digest,
    /// Where the stretch begins, bytes.
    pub offset: u64,
    /// Bytes of the stretch.
    pub len: u64,
}

/// One input of a unit, as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitInput {
    /// Stretches of blobs, one after the other.
    Segments(Vec<Segment>),
    /// Content that came with the lease.
    Inline(Vec<u8>),
}

/// A unit, ready to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The kernel's module.
    pub kernel: Digest,
    /// The version of the kernel contract.
    pub contract: u32,
    /// How NaN bits are treated.
    pub nan: Nan,
    /// One JSON object, canonical.
    pub params: String,
    /// In the order in which the kernel counts them.
    pub inputs: Vec<UnitInput>,
    /// What random numbers grow from.
    pub seed: [u8; 32],
    /// What it may use.
    pub limits: Limits,
    /// With which of these codes a WASI kernel ends that has put out an answer.
    pub exit_codes: Vec<i32>,
}

/// What a lease brings for a unit beside its index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// The unit's line, for a job cut by lines or by a list of files.
    pub line: Option<String>,
    /// For a merge unit, the outputs that it merges.
    pub inputs: Vec<Output>,
}

/// Where a unit stands in its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// One of the cut's units.
    Cut,
    /// A merge unit.
    Merge {
        /// From 1.
        level: u32,
        /// First of the units that it merges.
        first: UnitIndex,
        /// How many it merges.
        count: u32,
    },
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

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// [`Invalid`], naming the field and what is allowed.
    pub fn check(&self) -> Result<(), Invalid> {
        within("version", self.version.into(), VERSION.into(), VERSION.into())?;
        within("contract", self.contract.into(), 1, CONTRACT.into())?;
        within("name (bytes)", self.name.len() as u64, 1, NAME_BYTES_MAX as u64)?;
        if self.name.chars().any(char::is_control) {
            return Err(field("name", "control characters are not allowed"));
        }
        within("inputs (count)", self.inputs.len() as u64, 0, INPUTS_MAX as u64)?;
        within("copies", self.copies.into(), 1, 16)?;
        if let Some(confidence) = self.confidence {
            self.check_confidence(confidence)?;
        }
        within("lease_s", self.lease_s, 1, 90 * 86_400)?;
        within("attempts_max", self.attempts_max.into(), 1, 1_000)?;
        within("limits.memory_bytes", self.limits.memory_bytes, 1 << 16, 4 << 30)?;
        within("limits.fuel", self.limits.fuel, 1, 1 << 62)?;
        within("limits.output_bytes", self.limits.output_bytes, 0, OUTPUT_BYTES_MAX)?;
        within("limits.log_bytes", self.limits.log_bytes, 0, 1 << 20)?;
        within("trace_fuel", self.trace_fuel, trace::SPACING_MIN, 1 << 62)?;
        within("limits.time_s", self.limits.time_s, 1, 90 * 86_400)?;
        within("exit_codes (count)", self.exit_codes.len() as u64, 1, EXIT_CODES_MAX as u64)?;
        if let Some(merge) = &self.merge {
            within("merge.fan_in", merge.fan_in.into(), 2, FAN_IN_MAX.into())?;
            if self.params.contains_key("merge") {
                return Err(field("params.merge", "this name is taken by the merge stage"));
            }
        }
        cut::check(self)?;
        within("cut (units)", self.cut_units(), 1, UNITS_MAX)
    }

    /// Checks the contract, the names of inputs and axes, which people see, and how many axes there are: for jobs that are
    /// submitted now. Those that were submitted to older releases stay as they are.
    ///
    /// # Errors
    /// [`Invalid`], naming the field and what is allowed.
    pub fn check_new(&self) -> Result<(), Invalid> {
        if self.contract != CONTRACT {
            let allowed = format!(
                "{} is not taken any more, for it charges what is not computed: submit with a release of Starling that \
                 knows contract {CONTRACT}",
                self.contract
            );
            return Err(field("contract", allowed));
        }
        within("cut (axes)", self.cut.len() as u64, 0, AXES_MAX as u64)?;
        for (index, input) in self.inputs.iter().enumerate() {
            check_name(&format!("inputs[{index}].name"), &input.name, INPUT_NAME_BYTES_MAX)?;
        }
        for (index, axis) in self.cut.iter().enumerate() {
            if let Some(name) = axis.name() {
                check_name(&format!("cut[{index}].name"), name, NAME_BYTES_MAX)?;
            }
        }
        Ok(())
    }

    fn check_confidence(&self, confidence: f64) -> Result<(), Invalid> {
        if !(CONFIDENCE_MIN..=CONFIDENCE_MAX).contains(&confidence) {
            let allowed = format!(
                "{confidence} is not allowed: give a chance from {CONFIDENCE_MIN:e} to {CONFIDENCE_MAX}, such as 1e-6"
            );
            return Err(field("confidence", allowed));
        }
        if self.copies != 1 {
            return Err(field("copies", "give copies or confidence, not both"));
        }
        if self.nan == Nan::Unchecked {
            let allowed = "\"unchecked\" is not allowed together with confidence: honest machines may differ in NaN bits, \
                           so that no difference would prove anything; use copies";
            return Err(field("nan", allowed));
        }
        Ok(())
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

    /// Unit `unit`, ready to be run.
    ///
    /// # Errors
    /// [`Invalid`] when there is no such unit or `extra` does not bring what it needs.
    pub fn unit(&self, unit: UnitIndex, extra: &Extra) -> Result<Unit, Invalid> {
        let mut params = self.params.clone();
        let (kernel, inputs) = match self.stage(unit) {
            None => {
                return Err(field(
                    "unit",
                    format!("{unit} is beyond the last, u{}", self.units() - 1),
                ));
            }
            Some(Stage::Cut) => (self.kernel, cut::inputs(self, unit, extra, &mut params)?),
            Some(Stage::Merge { level, count, .. }) => {
                if extra.inputs.len() != count as usize {
                    return Err(field(
                        "lease",
                        format!("{unit} merges {count} outputs, {} came", extra.inputs.len()),
                    ));
                }
                params.insert("merge".into(), serde_json::json!({ "level": level }).into());
                let kernel = self.merge.and_then(|merge| merge.kernel).unwrap_or(self.kernel);
                (kernel, extra.inputs.iter().map(UnitInput::from).collect())
            }
        };
        let params = json::write(&params);
        let seed = *blake3::Hasher::new_keyed(&self.seed.0)
            .update(&unit.0.to_le_bytes())
            .finalize()
            .as_bytes();
        let (limits, exit_codes) = (self.limits, self.exit_codes.clone());
        let (contract, nan) = (self.contract, self.nan);
        Ok(Unit { kernel, contract, nan, params, inputs, seed, limits, exit_codes })
    }
}

impl From<&Output> for UnitInput {
    fn from(output: &Output) -> Self {
        match output {
            Output::Inline(content) => Self::Inline(content.clone()),
            Output::Blob { digest, len } => {
                Self::Segments(vec![Segment { digest: *digest, offset: 0, len: *len }])
            }
        }
    }
}

#[cfg(test)]
mod tests;
