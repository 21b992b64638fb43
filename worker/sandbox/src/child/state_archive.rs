//! States that are kept while a unit runs, so that one can be shown later without running the unit again from its start.
//!
//! The file is a chain of records as a snapshot's is, but for its magic, and holds every state that was kept. It is
//! written when that costs about one part in a hundred of the time, and neither synced nor rewritten: what a kill tears
//! is written over.

use crate::child::files::Files;
use crate::child::snapshot::{self, Chain, Header, Taken};
use crate::child::trace::State;
use crate::protocol::Need;
use crate::unit::{ArchivePlan, Unit};
use std::io;
use std::time::{Duration, Instant};

/// Keeping takes one part in so many of the time.
const SHARE: u32 = 100;
/// What keeping a byte takes as long as nothing is known: comparing, packing and writing at 500 MB/s, slower than most
/// machines are.
const NANOS_PER_BYTE: u64 = 2;

/// The file of a unit that runs.
pub(crate) struct StateArchive {
    files: Files,
    bytes_max: u64,
    header: Header,
    memory_max: u64,
    output_max: u64,
    chain: Option<Chain>,
    /// Whether the file has no room for one more.
    full: bool,
    /// Fuel left at the state that was kept last.
    last_fuel: i64,
    pace: Pace,
}

/// When keeping is due.
#[derive(Debug)]
struct Pace {
    /// Since when nothing was kept.
    since: Instant,
    /// What it took the last time.
    took: Duration,
}

impl Pace {
    fn allows(&self, bytes: usize, now: Instant) -> bool {
        let guess = Duration::from_nanos((bytes as u64).saturating_mul(NANOS_PER_BYTE));
        let cost = self.took.max(guess).saturating_mul(SHARE);
        cost <= now.saturating_duration_since(self.since)
    }
}

impl StateArchive {
    pub(crate) fn new(plan: &ArchivePlan, unit: &Unit, files: &Files, now: Instant) -> Self {
        Self {
            files: files.clone(),
            bytes_max: plan.bytes_max,
            header: header(unit),
            memory_max: unit.limits.memory,
            output_max: unit.limits.output,
            chain: None,
            full: false,
            last_fuel: i64::MAX,
            pace: Pace { since: now, took: Duration::ZERO },
        }
    }

    /// Keeps a state, with the digests of its pages, if it is time and there is room.
    pub(crate) fn offer(
        &mut self,
        state: State<'_>,
        pages: Vec<proto::Digest>,
        now: Instant,
    ) -> io::Result<()> {
        if self.full {
            return Ok(());
        }
        let known = self.chain.as_ref().map_or(&[][..], Chain::pages);
        let is_new = |(index, page): (usize, &proto::Digest)| {
            known.get(index).unwrap_or(&proto::state::ZERO_PAGE) != page
        };
        let n_new = pages.iter().enumerate().filter(|page| is_new(*page)).count();
        if !self.pace.allows(n_new * proto::state::PAGE_BYTES, now) {
            return Ok(());
        }
        self.append(state, pages)?;
        self.pace = Pace { since: Instant::now(), took: now.elapsed() };
        Ok(())
    }

    fn append(&mut self, state: State<'_>, pages: Vec<proto::Digest>) -> io::Result<()> {
        let mut chain = match self.chain.take() {
            Some(chain) => chain,
            None => self.open()?,
        };
        // A unit that was killed passes again over what it had kept.
        if state.meta.fuel < self.last_fuel {
            let room = self.bytes_max.saturating_sub(chain.len());
            match chain.append(state.meta, state.memory, pages, state.output, room) {
                Ok(()) => self.last_fuel = state.meta.fuel,
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => self.full = true,
                Err(error) => return Err(error),
            }
        }
        self.chain = Some(chain);
        Ok(())
    }

    /// The file as an earlier process left it, or a new one in place of what is of no use.
    fn open(&mut self) -> io::Result<Chain> {
        let every = |_: &_| true;
        let file = self.files.open(Need::Archive)?;
        let found = snapshot::scan(file, &self.header, self.memory_max, self.output_max, every);
        if let Ok(Some((chain, taken))) = found {
            self.last_fuel = taken.meta.fuel;
            return Ok(chain);
        }
        let file = self.files.open(Need::Archive)?;
        file.set_len(0)?;
        Chain::new(file, &self.header)
    }
}

/// The last state in a file of kept ones of this unit at which no more fuel was burnt than this.
pub(crate) fn latest(
    files: &Files,
    unit: &Unit,
    burnt_max: u64,
) -> io::Result<Option<(Chain, Taken)>> {
    let left_min = unit.limits.fuel.saturating_sub(burnt_max);
    let wanted =
        |meta: &snapshot::Meta| u64::try_from(meta.fuel).is_ok_and(|left| left_min <= left);
    let file = match files.open(Need::Begin) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    snapshot::scan(file, &header(unit), unit.limits.memory, unit.limits.output, wanted)
}

fn header(unit: &Unit) -> Header {
    snapshot::header(b"starkept", unit.kernel.contract, &snapshot::identity(unit))
}

#[cfg(test)]
mod tests;
