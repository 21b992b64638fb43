//! The units of a job, each ready to be run.

use super::{Invalid, JobSpec, Limits, Nan, field};
use crate::report::Output;
use crate::{Digest, UnitIndex, cut, json};
use serde::{Deserialize, Serialize};

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
