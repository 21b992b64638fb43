//! What is done with the state of a unit between two steps: it becomes a point of the trace, is kept, shown, or ends the
//! run.

use crate::child::files::Files;
use crate::child::snapshot::{self, Meta};
use crate::child::state_archive::StateArchive;
use crate::protocol::End;
use crate::protocol::Need;
use crate::unit::{Begin, TracePlan, Trouble, Unit, Until};
use proto::state::{self, Head};
use proto::trace::{Point, Trace};
use serde::{Deserialize, Serialize};
use std::io;
use std::time::Instant;

/// The trace of a run on its way.
pub(crate) struct Tracer<'a> {
    plan: &'a TracePlan,
    files: Files,
    so_far: SoFar,
    output: OutputDigest,
    archive: Option<StateArchive>,
}

/// What a snapshot must hold of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SoFar {
    /// Fuel burnt where the run began.
    pub(crate) begin: u64,
    pub(crate) trace: Trace,
}

/// A state between two steps.
#[derive(Clone, Copy)]
pub(crate) struct State<'a> {
    /// Fuel burnt.
    pub(crate) burnt: u64,
    pub(crate) meta: &'a Meta,
    pub(crate) memory: &'a [u8],
    pub(crate) output: &'a [u8],
}

/// What there is to do at a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// It is a point of the trace.
    Point,
    /// It is the one to be shown.
    Show,
    /// The one to be written, of this fuel, has been passed over.
    Missed(u64),
}

impl<'a> Tracer<'a> {
    pub(crate) fn new(unit: &Unit, plan: &'a TracePlan, files: &Files) -> Self {
        let archive = plan.archive.as_ref().filter(|_| plan.until == Until::End);
        Self {
            plan,
            files: files.clone(),
            so_far: SoFar { begin: 0, trace: Trace::new(plan.spacing) },
            output: OutputDigest::default(),
            archive: archive.map(|plan| StateArchive::new(plan, unit, files, Instant::now())),
        }
    }

    pub(crate) fn begin(&self) -> &'a Begin {
        &self.plan.begin
    }

    /// Fuel behind which no state is of use to begin from.
    pub(crate) fn fuel_max(&self) -> u64 {
        match self.plan.until {
            Until::State { fuel, .. } => fuel,
            Until::End | Until::NextPoint => u64::MAX,
        }
    }

    /// Notes that the run begins at a state of this fuel.
    pub(crate) fn begins_at(&mut self, burnt: u64) {
        self.so_far.begin = burnt;
    }

    pub(crate) fn so_far(&self) -> &SoFar {
        &self.so_far
    }

    /// Goes on with what a snapshot held.
    pub(crate) fn resume(&mut self, so_far: SoFar) {
        self.so_far = so_far;
    }

    pub(crate) fn into_trace(self) -> Trace {
        self.so_far.trace
    }

    /// What there is to do between two steps.
    pub(crate) fn due(&self, burnt: u64) -> Due {
        if let Until::State { fuel, .. } = &self.plan.until {
            return match burnt.cmp(fuel) {
                std::cmp::Ordering::Less => Due::Nothing,
                std::cmp::Ordering::Equal => Due::Show,
                std::cmp::Ordering::Greater => Due::Missed(*fuel),
            };
        }
        let SoFar { begin, trace } = &self.so_far;
        let last = trace.points().last().map_or(*begin, |point| point.fuel);
        let spacing = trace.spacing();
        if last / spacing < burnt / spacing { Due::Point } else { Due::Nothing }
    }

    /// Adds a point, unless it ends the run; a text where keeping its state failed, which is said once.
    pub(crate) fn point(&mut self, state: State<'_>) -> (Option<End>, Option<String>) {
        let pages: Vec<_> =
            state.memory.chunks(state::PAGE_BYTES).map(state::page_digest).collect();
        let digest = state::digest(&state.head(), &pages, &self.output.until(state.output));
        let point = Point { fuel: state.burnt, state: digest };
        if self.plan.until == Until::NextPoint {
            return (Some(End::Reached(point)), None);
        }
        self.so_far.trace.push(point);
        let Some(archive) = &mut self.archive else { return (None, None) };
        let kept = archive.offer(state, pages, Instant::now());
        let text = kept.err().map(|error| {
            self.archive = None;
            format!("states of the unit can no longer be kept, it goes on without: {error}")
        });
        (None, text)
    }

    /// Writes a state for others.
    pub(crate) fn show(&mut self, state: State<'_>) -> End {
        let head = state.head();
        let written = self.files.open(Need::Show).and_then(|file| {
            state::write(io::BufWriter::new(file), &head, state.memory, state.output)
        });
        if let Err(error) = written {
            return End::Trouble(Trouble::Machine(format!(
                "the state could not be written: {error}"
            )));
        }
        let pages: Vec<_> =
            state.memory.chunks(state::PAGE_BYTES).map(state::page_digest).collect();
        let digest = state::digest(&head, &pages, &self.output.until(state.output));
        End::Reached(Point { fuel: state.burnt, state: digest })
    }
}

impl State<'_> {
    fn head(&self) -> Head {
        Head {
            fuel: self.burnt,
            globals: self.meta.globals.clone(),
            memory_pages: self.meta.memory_pages,
            output_len: self.output.len() as u64,
        }
    }
}

/// The digest of an output that only grows: no byte of it is hashed twice.
#[derive(Default)]
struct OutputDigest {
    hasher: blake3::Hasher,
    len: usize,
}

impl OutputDigest {
    fn until(&mut self, output: &[u8]) -> proto::Digest {
        self.hasher.update(output.get(self.len..).unwrap_or_default());
        self.len = output.len();
        proto::Digest(self.hasher.finalize().into())
    }
}

/// By what a snapshot knows its run: the unit, and which part of it.
pub(crate) fn run_identity(unit: &Unit) -> crate::unit::Digest {
    let part = unit.trace.as_ref().map(|plan| {
        let begin = match &plan.begin {
            Begin::Start => (0_u8, None),
            Begin::State { point, .. } => (1, Some(*point)),
            Begin::Archived(_) => (2, None),
        };
        let until = match &plan.until {
            Until::End => (0_u8, 0),
            Until::NextPoint => (1, 0),
            Until::State { fuel, .. } => (2, *fuel),
        };
        (plan.spacing, begin, until)
    });
    let mut hasher = blake3::Hasher::new_derive_key("starling run identity, version 1");
    hasher.update(&snapshot::identity(unit));
    hasher.update(&postcard::to_allocvec(&part).unwrap_or_default());
    hasher.finalize().into()
}
