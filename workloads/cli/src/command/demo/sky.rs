//! `starling demo --seti`: a recording with a hidden signal of every kind, and whether each is found.

use super::{Ended, Grid, compute};
use crate::amount;
use crate::command::seti::{draw_all, drawable, hidden};
use crate::command::source::sky_search;
use crate::command::view::counted;
use crate::error::Error;
use crate::job_file;
use crate::output::Output;
use ::seti::{Recipe, View, read_result};
use serde_json::json;
use std::fs;
use std::path::Path;

/// Of the noise.
const SEED: u64 = 1;
/// Samples: as many as the project sent.
const SAMPLES: usize = 1 << 20;
/// Some seconds.
const SAMPLES_QUICK: usize = 1 << 17;
/// Units of about a second.
const PER_UNIT: &str = "cut.0.per_unit=1000";

/// Makes the recording, has it searched, and looks for what was hidden. `keep`: draws pictures too.
pub(super) async fn search(
    grid: &Grid,
    quick: bool,
    home: &Path,
    keep: bool,
    output: Output,
) -> Result<(), Error> {
    let recipe = Recipe::showcase(SEED, if quick { SAMPLES_QUICK } else { SAMPLES });
    let unit = recipe.unit().map_err(|error| Error::Failed(error.to_string()))?;
    let path = home.join("generated.sah");
    fs::write(&path, &unit).map_err(Error::file("write", &path))?;
    output.say("a recording of 107 seconds, and hidden in its noise:")?;
    for plant in &recipe.plants {
        output.say(&format!("  {}", hidden(plant)))?;
    }
    let text = sky_search("generated.sah");
    let job = job_file::parse("the demo's job", &text, &[PER_UNIT.to_owned()], home)?;
    let say = |id, units| {
        format!(
            "{id}: what is in it, at any drift up to {} Hz/s? {}, each computed by {} owners",
            recipe.chirp_limits[1],
            counted(units, "unit"),
            job.spec.copies
        )
    };
    let Ended { status, path, found, merged, took } =
        compute(grid, &job, home, output, say, |_, _| Ok(())).await?;
    let merged = path.join(merged.ok_or_else(|| Error::Failed("nothing was merged".into()))?);
    let result = fs::read(&merged).map_err(Error::file("read", &merged))?;
    let records = read_result(&result)
        .map_err(|error| Error::Unverified(format!("the result cannot be read: {error}")))?;
    for plant in &recipe.plants {
        let count = records.iter().filter(|record| plant.shows_as(record)).count();
        if count == 0 {
            return Err(Error::Unverified(format!("not found: {}", hidden(plant))));
        }
        let answer = json!({ "found": { "plant": plant, "signals": count } });
        output.answer(&answer, || {
            format!("found {} in {}", hidden(plant), counted(count as u64, "signal"))
        })?;
    }
    if keep {
        let file = home.join("result.sah");
        fs::write(&file, &result).map_err(Error::file("write", &file))?;
        let view = View::new(&unit).map_err(|error| Error::Failed(error.to_string()))?;
        draw_all(&view, &drawable(records.clone()), &home.join("pictures"))?;
        output.say(&format!("pictures: {}", home.join("pictures/index.html").display()))?;
    }
    let answer = json!({
        "demo": { "found": recipe.plants.len(), "signals": records.len(), "units": status.units,
        "receipts": found.receipts, "copies": found.copies, "accounts": found.accounts.len(), "fuel": status.fuel,
        "credit": status.credit, "time_s": took.as_secs_f64() }
    });
    output.answer(&answer, || {
        format!(
            "all {} that were hidden were found. {} hold, on the word of {} by {}; fuel {}, {}\n",
            recipe.plants.len(),
            counted(found.receipts, "receipt"),
            counted(found.copies, "report"),
            counted(found.accounts.len() as u64, "owner"),
            amount::count(status.fuel),
            amount::duration(took)
        )
    })?;
    Ok(())
}
