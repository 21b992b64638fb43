//! Jobs whose right results are known: a search for Mersenne primes, small enough to be run beside the grid.

use crate::grid::{Coordinator, PATIENCE, until_within};
use anyhow::{Context, Result, bail, ensure};
use mersenne::Mersenne;
use proto::cut::Axis;
use proto::job::{Extra, JobSpec};
use proto::report::Output;
use proto::{JobId, UnitIndex, pb};
use std::collections::BTreeMap;

/// A job of `units` units of `per_unit` exponents each, from `first` on, one copy of each.
///
/// # Errors
/// When the kernel is refused.
pub async fn search(
    coordinator: &Coordinator,
    first: u64,
    units: u64,
    per_unit: u64,
) -> Result<JobSpec> {
    let axis = Axis::Range { name: "p".into(), first, end: first + units * per_unit, per_unit };
    coordinator.trivial_spec(axis, 1).await
}

/// What every unit puts out when its kernel runs in peace, without sandbox or grid.
///
/// # Errors
/// When the kernel does not run.
pub fn expected(spec: &JobSpec) -> Result<BTreeMap<u64, Vec<u8>>> {
    let run = |unit| {
        let params = spec.unit(UnitIndex(unit), &Extra::default()).context("a unit")?.params;
        let ran = starling_sdk::native::run::<Mersenne>(&params, &[]);
        Ok((unit, ran.map_err(|error| anyhow::anyhow!("{error:?}"))?.output))
    };
    (0..spec.units()).map(run).collect()
}

/// What every unit of a job put out.
///
/// # Errors
/// When it cannot be had, or a unit has none or two.
pub async fn outputs(coordinator: &Coordinator, job: u64) -> Result<BTreeMap<u64, Vec<u8>>> {
    let mut outputs = BTreeMap::new();
    for result in coordinator.results(JobId(job)).await? {
        let Some(pb::unit_result::Outcome::Output(output)) = &result.outcome else {
            bail!("{result:?}")
        };
        let Output::Inline(content) = Output::try_from(output)? else { bail!("{output:?}") };
        ensure!(outputs.insert(result.unit, content).is_none(), "two results of {}", result.unit);
    }
    Ok(outputs)
}

/// Waits for a job's end.
///
/// # Errors
/// When it does not end.
pub async fn done(coordinator: &Coordinator, job: u64) -> Result<pb::JobStatus> {
    until_within(PATIENCE * 5, "the job's end", async || {
        let status = coordinator.job(job).await?;
        Ok((status.state() == pb::job_status::State::Done).then_some(status))
    })
    .await
}
