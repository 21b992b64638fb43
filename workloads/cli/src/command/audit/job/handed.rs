//! The results that are handed out, held against the log.

use super::{Audited, Told, of};
use crate::client::Client;
use crate::command::fetch::{self, Page, Wanted};
use crate::error::Error;
use crate::results::Position;
use proto::report::Output;
use proto::{UnitIndex, pb};
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

impl Audited {
    /// Holds the results that are handed out against the log.
    pub(crate) async fn results(&mut self, client: &Client) -> Result<(), Error> {
        let (pages, mut read) = mpsc::channel(1);
        let wanted =
            Wanted { client: client.clone(), job: self.id, receipts: false, follow: false };
        let mut reading = JoinSet::new();
        reading.spawn(fetch::read_all(wanted, Position::default(), pages));
        let mut told: BTreeMap<u64, (Handed, u64)> = BTreeMap::new();
        while let Some(page) = read.recv().await {
            let Page { results, .. } = page?;
            for result in results {
                if self.status.1.units <= result.unit {
                    return Err(of(self.id, "a result is of a unit that the job does not have"));
                }
                match handed(result.outcome).map_err(|why| of(self.id, why))? {
                    Some(outcome) => drop(told.insert(result.unit, (outcome, result.fuel))),
                    None => drop(told.remove(&result.unit)),
                }
            }
        }
        while let Some(read) = reading.join_next().await {
            read.map_err(|error| of(self.id, error))?;
        }
        if !self.stands_still(&client.status(self.id).await?) {
            return Ok(());
        }
        if told.len() != self.verdicts.len() {
            let why = format!(
                "{} results are handed out, {} verdicts are in the log",
                told.len(),
                self.verdicts.len()
            );
            return Err(of(self.id, why));
        }
        for (unit, (handed, fuel)) in &told {
            let same = self.verdicts.get(unit).is_some_and(|verdict| {
                let same = match (&verdict.told, handed) {
                    (Told::Output(output), Handed::Output(handed)) => output == handed,
                    (Told::Failure(failure), Handed::Failure(handed)) => {
                        failure.to_string() == *handed
                    }
                    (Told::GivenUp(reason), Handed::Failure(handed)) => reason == handed,
                    _ => false,
                };
                same && verdict.fuel == *fuel
            });
            if !same {
                let unit = UnitIndex(*unit);
                return Err(of(
                    self.id,
                    format_args!(
                        "the result of {unit} that is handed out is not the one in the log"
                    ),
                ));
            }
        }
        self.results = Some(told.len() as u64);
        Ok(())
    }
}

/// A result as it is handed out.
enum Handed {
    Output(proto::Digest),
    Failure(String),
}

fn handed(outcome: Option<pb::unit_result::Outcome>) -> Result<Option<Handed>, String> {
    use pb::unit_result::Outcome;
    match outcome {
        Some(Outcome::Output(output)) => {
            let output = Output::try_from(&output).map_err(|error| error.to_string())?;
            Ok(Some(Handed::Output(output.digest())))
        }
        Some(Outcome::Failure(failure)) => Ok(Some(Handed::Failure(failure))),
        Some(Outcome::Withdrawn(_)) => Ok(None),
        None => Err("a result says nothing of how its unit ended".into()),
    }
}
