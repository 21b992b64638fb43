//! The real cores in simulated time: the coordinator's over a store in memory, and one worker's agent with its journal for
//! every machine of every kind, in one thread and from one seed: the same seed gives the same run, to the last verdict.
//!
//! Counted as a failure: an invariant of either core that does not hold after an event; a unit that has no verdict at the
//! end, or two; credit that does not add up; a job that does not end within the time given. Wrong results are counted and
//! reported: how many there may be is for the caller to say, who knows how many liars there are. Not simulated: the
//! network between peers, the sandbox, and blobs; each has tests of its own with real programs.

mod ended;
mod kind;
mod line;
mod machine;
mod random;
pub mod rivals;
pub mod table;
mod traces;
mod world;

pub use kind::Kind;
pub use random::Random;
pub use traces::FUEL;
pub use world::{World, run, run_and_tell};

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Setup {
    /// All chance grows from this.
    pub seed: u64,
    /// Units of the job.
    pub units: u64,
    /// Honest and ordinary workers.
    pub honest: u32,
    /// Whether the operator has appointed a worker of his own as referee.
    pub referee: bool,
    /// All others, by kind and number.
    pub others: Vec<(Kind, u32)>,
    /// How sure the job wants to be; `None` for fixed copies.
    pub confidence: Option<f64>,
    /// Fixed copies, when there is no confidence.
    pub copies: u32,
    /// Outputs merged by one merge unit; 0 for a job without.
    pub fan_in: u32,
    /// Chance that the coordinator dies at a commit, before or after it, and that a worker's program dies when it has
    /// kept records, before it does anything else.
    pub crash: f64,
    /// Whether every invariant is checked after every event.
    pub check: bool,
    /// Slots of a worker, and with them the units that it asks for at once.
    pub ask: u32,
    /// What a unit costs an ordinary machine, all of its slots together.
    pub unit_minutes: u64,
    /// Simulated time after which a job that has not ended counts as stuck, days.
    pub days_max: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Units, merges included.
    pub units: u64,
    /// Units of the cut whose result, as it stands at the end, is not the right one.
    pub wrong: u64,
    /// Units without an answer.
    pub given_up: u64,
    /// Reports accepted.
    pub copies: u64,
    /// Of these, reports of the referee.
    pub checks: u64,
    /// Fuel of the segments that were run again; a unit has [`FUEL`].
    pub segments_fuel: u64,
    /// Verdicts withdrawn on the way.
    pub withdrawn: u64,
    /// Times that somebody was caught.
    pub caught: u64,
    /// Of these, honest workers.
    pub caught_honest: u64,
    /// Units that those who are not honest have told right.
    pub price: u64,
    /// Simulated days.
    pub days: f64,
    /// Times that the coordinator died.
    pub crashes: u64,
    /// Times that a worker's program died.
    pub restarts: u64,
    /// A digest of all verdicts: the same for the same seed.
    pub fingerprint: String,
}

/// Thousands of workers of every kind over months: four of ten are bad in some way, and the coordinator dies now and then.
#[must_use]
pub fn crowd(seed: u64, units: u64) -> Setup {
    let each = 120;
    let kinds = [
        Kind::Slow,
        Kind::Vanishing,
        Kind::Broken(0.1),
        Kind::Broken(0.01),
        Kind::Liar,
        Kind::Rarely(0.02),
        Kind::Sleeper(100),
        Kind::Copying,
        Kind::League(0),
        Kind::League(150),
        Kind::Identities(20),
    ];
    Setup {
        seed,
        units,
        honest: 1_800,
        referee: true,
        others: kinds.into_iter().map(|kind| (kind, each)).collect(),
        confidence: Some(1e-6),
        copies: 3,
        fan_in: 0,
        crash: 1e-6,
        check: false,
        ask: 4,
        unit_minutes: 6 * 60,
        days_max: 400,
    }
}

/// Ten honest workers, and a person who brings a thousand identities on a hundred networks.
#[must_use]
pub fn attack(seed: u64, units: u64, kind: Option<Kind>) -> Setup {
    Setup {
        seed,
        units,
        honest: 10,
        referee: true,
        others: kind.map(|kind| (kind, 1_000)).into_iter().collect(),
        confidence: Some(1e-6),
        copies: 2,
        fan_in: 0,
        crash: 0.0,
        check: false,
        ask: 4,
        unit_minutes: 10,
        days_max: 10_000,
    }
}

/// A small world that the seed describes whole: who is in it, how sure the job wants to be, and how often the coordinator
/// dies.
#[must_use]
pub fn small(seed: u64) -> Setup {
    let mut random = Random::new(seed ^ 0x5EED);
    let kinds = [
        Kind::Slow,
        Kind::Vanishing,
        Kind::Broken(0.1),
        Kind::Liar,
        Kind::Rarely(0.02),
        Kind::Sleeper(20),
        Kind::Copying,
        Kind::League(0),
        Kind::League(15),
        Kind::Identities(10),
    ];
    let honest = 12 + random.below(12);
    // Up to 40 % of all.
    let bad = random.below(honest * 2 / 3 + 1);
    let pick = |random: &mut Random| kinds[usize::try_from(random.below(10)).unwrap_or(0)];
    let others = if random.happens(0.1) {
        vec![(Kind::Vanishing, 3), (Kind::Slow, 2)]
    } else {
        let (one, other) = (pick(&mut random), pick(&mut random));
        let first = u32::try_from(random.below(bad + 1)).unwrap_or(0);
        vec![(one, first), (other, u32::try_from(bad).unwrap_or(0) - first)]
    };
    let confidence = [0.1, 0.03, 0.01, 1e-3][usize::try_from(random.below(4)).unwrap_or(0)];
    Setup {
        seed,
        units: 60 + random.below(200),
        honest: u32::try_from(honest).unwrap_or(12),
        referee: random.happens(0.5),
        others,
        confidence: random.happens(0.95).then_some(confidence),
        copies: 3,
        fan_in: if random.happens(0.4) { 8 } else { 0 },
        crash: if random.happens(0.5) { 0.02 } else { 0.0 },
        check: true,
        ask: 1 + u32::try_from(random.below(8)).unwrap_or(0),
        unit_minutes: 10,
        days_max: 60,
    }
}
