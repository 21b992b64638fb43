//! What a specification must keep to beyond what its types say.

use super::{CONFIDENCE_MAX, CONFIDENCE_MIN, CONTRACT, Invalid, JobSpec, Nan, VERSION, field};
use crate::bounds::{
    AXES_MAX, EXIT_CODES_MAX, FAN_IN_MAX, INPUT_NAME_BYTES_MAX, INPUTS_MAX, NAME_BYTES_MAX,
    OUTPUT_BYTES_MAX, UNITS_MAX,
};
use crate::{cut, trace};

pub(super) fn within(name: &str, value: u64, min: u64, max: u64) -> Result<(), Invalid> {
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

impl JobSpec {
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
}
