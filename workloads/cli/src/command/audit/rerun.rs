//! Units of an audited job, run again here.

use super::job::{Audited, Told};
use crate::command::{Context, verify};
use crate::error::Error;
use crate::local::Local;
use crate::results::{Line, Output, Place};
use proto::UnitIndex;
use rand::seq::IteratorRandom;

/// Runs `count` units of the cut again, chosen at random among those with an answer, and compares; which ones.
pub(super) async fn run(job: &Audited, count: u64, context: &Context) -> Result<Vec<u64>, Error> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let answered = job.verdicts.iter().filter(|(unit, verdict)| {
        **unit < job.spec.cut_units() && !matches!(verdict.told, Told::GivenUp(_))
    });
    let amount = usize::try_from(count).unwrap_or(usize::MAX);
    let mut chosen: Vec<u64> = answered.map(|(unit, _)| *unit).sample(&mut rand::rng(), amount);
    chosen.sort_unstable();
    let mut local = Local::new()?;
    let folder = local.scratch().to_owned();
    for unit in &chosen {
        let verdict = &job.verdicts[unit];
        let (output, failure) = match &verdict.told {
            Told::Output(digest) => {
                // Only the digest is compared.
                let place = Place::Text(String::new());
                (Some(Output { digest: *digest, bytes: 0, place }), None)
            }
            Told::Failure(failure) => (None, Some(failure.to_string())),
            Told::GivenUp(_) => continue,
        };
        let line = Line { unit: *unit, fuel: verdict.fuel, output, failure, ..Line::default() };
        verify::gather(&job.spec, UnitIndex(*unit), &folder, &mut local, context).await?;
        verify::compare(&mut local, &job.spec, &line, Vec::new())?;
    }
    Ok(chosen)
}
