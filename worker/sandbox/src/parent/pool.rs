//! The slots of a machine and the queue before them.

mod state;

use crate::engine::Engines;
use crate::parent::cache::Cache;
use crate::parent::compile::CompileLimits;
use crate::parent::slot;
use crate::protocol::Priority;
use crate::unit::{
    Event, FUEL_MAX, Finished, INPUTS_MAX, MEMORY_BYTES_MAX, OUTPUT_BYTES_MAX, PARAMS_BYTES_MAX,
    SEGMENTS_MAX, TracePlan, Unit,
};
use crate::walls::{WallPlan, Walls};
pub(crate) use state::{Entry, Mode, PoolState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{fmt, io};

/// Units that may wait before the slots. A worker asks for minutes of work, not for days.
const QUEUE_MAX: usize = 100_000;
/// Slots of one pool: more cores than any machine that joins has today.
const SLOTS_MAX: usize = 4096;
/// Time that a unit has to reach the end of its step and write its snapshot.
const GRACE: Duration = Duration::from_secs(10);
/// How long a watched unit may be silent until whoever watches is asked whether to go on.
const LOOK: Duration = Duration::from_millis(100);
/// Memory of a slot where nothing else was said.
const SLOT_MEMORY_BYTES: u64 = 4 << 30;

/// How a pool is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program whose children run units: [`crate::own_program`] in all but tests.
    pub program: PathBuf,
    /// Units that run at the same time, usually one for each core.
    pub slots: usize,
    /// Directory of the compiled kernels. It belongs to this machine and is private to its user.
    pub cache: PathBuf,
    /// Bytes of memory that a slot's process may take in all.
    pub slot_memory: u64,
    /// Whom the slots let go first.
    pub priority: Priority,
    /// What compiling a kernel may take.
    pub compile: CompileLimits,
    /// Whether functions are inlined, for measuring; by each module's own measure when absent.
    pub inlining: Option<bool>,
    /// The walls around the children.
    pub walls: WallPlan,
    /// Time that a unit has on pause and stop to finish its step and write its snapshot.
    pub grace: Duration,
}

impl Config {
    /// The usual settings: low priority, 4 GiB for each slot.
    #[must_use]
    pub fn new(program: PathBuf, cache: PathBuf, slots: usize) -> Self {
        Self {
            program,
            slots,
            cache,
            slot_memory: SLOT_MEMORY_BYTES,
            priority: Priority::Background,
            compile: CompileLimits::default(),
            inlining: None,
            walls: WallPlan::default(),
            grace: GRACE,
        }
    }
}

/// Why a pool does not start or take a unit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cache directory or the like.
    #[error("could not prepare the directory of compiled kernels {path}: make it writable")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The machine lacks what the engine needs.
    #[error("the WASM engine does not run on this machine: {0}")]
    Engine(String),
    /// The number of slots.
    #[error("{0} slots were asked for: from 1 to {SLOTS_MAX} are possible")]
    Slots(usize),
    /// Threads or pipes.
    #[error("could not start the slots' threads")]
    Threads(#[source] io::Error),
    /// The queue is full.
    #[error("{QUEUE_MAX} units wait already: submit more when some have finished")]
    Full,
    /// The pool was stopped.
    #[error("the pool has been stopped")]
    Stopped,
    /// A unit beyond the bounds of this module.
    #[error("the unit's {what} is {is}, and at most {max} is possible")]
    Bound {
        /// What.
        what: &'static str,
        /// How much.
        is: u64,
        /// How much at most.
        max: u64,
    },
    /// A path that is not Unicode.
    #[error("the path {0} is not valid Unicode")]
    Path(PathBuf),
}

/// What the slots are doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whether the pool is paused.
    pub paused: bool,
    /// Units that wait.
    pub queued: usize,
    /// One entry for each slot, in order; empty where the slot waits.
    pub slots: Vec<Vec<Running>>,
    /// The walls around the children; absent as long as none has run.
    pub walls: Option<Walls>,
}

/// A unit in a slot.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    /// The number it was submitted under.
    pub id: u64,
    /// Since when it is there.
    pub since: Instant,
}

/// Slots that run units, each in a process of its own, driven by a rayon thread.
pub struct Pool {
    shared: Arc<PoolState>,
    /// Held for its threads, which end when the pool stops.
    _threads: rayon::ThreadPool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("status", &self.status()).finish()
    }
}

impl Pool {
    /// Starts the slots. `sink` gets every event with the number of its unit, on the slot's thread: it must not call the
    /// pool and should not wait long.
    pub fn start(
        config: Config,
        sink: impl Fn(u64, Event) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        if config.slots < 1 || SLOTS_MAX < config.slots {
            return Err(Error::Slots(config.slots));
        }
        let engines = Engines::new().map_err(|error| Error::Engine(format!("{error:#}")))?;
        let cache = Cache::open(&config.cache, engines)
            .map_err(|source| Error::Cache { path: config.cache.clone(), source })?;
        let slots = config.slots;
        let shared =
            Arc::new(PoolState::new(config, cache, Box::new(sink)).map_err(Error::Threads)?);
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(slots)
            .thread_name(|index| format!("slot {index}"))
            .build()
            .map_err(|error| Error::Threads(io::Error::other(error)))?;
        let theirs = Arc::clone(&shared);
        threads.spawn_broadcast(move |context| slot::drive(&theirs, context.index()));
        Ok(Self { shared, _threads: threads })
    }

    /// Queues a unit under a number of the caller's choice, which must not be in use.
    pub fn submit(&self, id: u64, unit: Unit) -> Result<(), Error> {
        check(&unit)?;
        self.shared.submit(Entry { id, unit, alone: false, recompiled: false })
    }

    /// Ends a unit without an outcome, wherever it is. Does nothing if there is no such unit.
    pub fn cancel(&self, id: u64) {
        self.shared.cancel(id);
    }

    /// Lets no unit run until [`Pool::resume`]: running ones are snapshotted and taken back into the queue, those that
    /// do not come to the end of their step in time are frozen where they are. Returns at once.
    pub fn pause(&self) {
        self.shared.set_mode(Mode::Pause);
    }

    /// Goes on after [`Pool::pause`].
    pub fn resume(&self) {
        self.shared.set_mode(Mode::Run);
    }

    /// Snapshots what runs, ends all units with `Outcome::Interrupted` and the children with them, and returns when
    /// that is done: after [`Config::grace`] at the latest, and little more.
    pub fn stop(&self) {
        self.shared.set_mode(Mode::Stop);
        self.shared.wait_for_the_end();
    }

    /// What the slots are doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs one unit to its end in a slot of its own and hands all earlier events to `seen`.
pub fn run_once(
    config: Config,
    unit: Unit,
    mut seen: impl FnMut(Event),
) -> Result<Finished, Error> {
    run_walled(config, unit, &mut seen).map(|(finished, _)| finished)
}

/// As [`run_once`], but says too which walls stood around the unit.
pub(crate) fn run_walled(
    config: Config,
    unit: Unit,
    mut seen: impl FnMut(Event),
) -> Result<(Finished, Option<Walls>), Error> {
    let mut stood = None;
    let finished = run_in_pool(config, unit, &mut stood, |event| {
        event.into_iter().for_each(&mut seen);
        true
    })?;
    finished.map(|finished| (finished, stood)).ok_or(Error::Stopped)
}

/// As [`run_once`], but `each` also gets a `None` now and then while nothing happens, and ends the unit where it is by
/// answering `false`: then nothing is returned.
pub fn run_watched(
    config: Config,
    unit: Unit,
    each: impl FnMut(Option<Event>) -> bool,
) -> Result<Option<Finished>, Error> {
    run_in_pool(config, unit, &mut None, each)
}

fn run_in_pool(
    config: Config,
    unit: Unit,
    stood: &mut Option<Walls>,
    mut each: impl FnMut(Option<Event>) -> bool,
) -> Result<Option<Finished>, Error> {
    let (sender, events) = mpsc::sync_channel(1024);
    let pool = Pool::start(Config { slots: 1, ..config }, move |_, event| {
        // The receiver leaves after the last event, or when no more is wanted.
        let _ = sender.send(event);
    })?;
    pool.submit(0, unit)?;
    loop {
        let event = match events.recv_timeout(LOOK) {
            Ok(Event::Finished(finished)) => {
                *stood = pool.status().walls;
                return Ok(Some(finished));
            }
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Stopped),
        };
        if !each(event) {
            pool.cancel(0);
            // Before the pool, whose thread may wait to be rid of an event.
            drop(events);
            return Ok(None);
        }
    }
}

/// Whether a unit is within the bounds of this module.
fn check(unit: &Unit) -> Result<(), Error> {
    let segments: usize = unit.inputs.iter().map(|input| input.segments.len()).sum();
    let bounds = [
        ("number of inputs", unit.inputs.len() as u64, INPUTS_MAX as u64),
        ("number of input segments", segments as u64, SEGMENTS_MAX as u64),
        ("bytes of parameters", unit.params.len() as u64, PARAMS_BYTES_MAX as u64),
        ("memory limit", unit.limits.memory, MEMORY_BYTES_MAX),
        ("fuel limit", unit.limits.fuel, FUEL_MAX),
        ("output limit", unit.limits.output, OUTPUT_BYTES_MAX),
    ];
    for (what, is, max) in bounds {
        if max < is {
            return Err(Error::Bound { what, is, max });
        }
    }
    let files = unit.inputs.iter().flat_map(|input| &input.segments).map(|segment| &segment.path);
    let files = files.chain([&unit.kernel.path]).chain(unit.snapshot.iter().map(|plan| &plan.path));
    for path in files.chain(unit.trace.iter().flat_map(TracePlan::files)) {
        if path.to_str().is_none() {
            return Err(Error::Path(path.clone()));
        }
    }
    Ok(())
}
