//! Bounds of the coordinator's core, each with its reason.

/// Most jobs that run at once: each keeps its outline and a bitmap in memory, and is looked at when work is lent.
pub const JOBS_RUNNING_MAX: usize = 10_000;
/// Most of them of one account, so that ten must be greedy to shut others out.
pub const JOBS_OF_ACCOUNT_MAX: usize = JOBS_RUNNING_MAX / 10;
/// How long the outputs of a job that was cancelled stay, milliseconds: a day to fetch what was settled.
pub const CANCELLED_OUTPUTS_MS: u64 = 86_400_000;
/// How long a worker is remembered that has gone and never reported, milliseconds: longer than a restart takes. Whoever comes
/// back later is a newcomer.
pub const BLANK_MS: u64 = 600_000;
/// Most bytes of specifications of an account's running jobs: all are read when the coordinator starts, and the digests that
/// they name are held in memory. A few dozen of the largest.
pub const SPEC_BYTES_OF_ACCOUNT_MAX: u64 = 64 << 20;
/// Most workers connected at once: streams, sinks and one entry each; far above one machine's sockets.
pub const WORKERS_CONNECTED_MAX: usize = 100_000;
/// Most units that one worker holds: what is redone when it vanishes; two full leases being computed, two on their way.
pub const WORKER_UNITS_MAX: u32 = 4 * proto::bounds::LEASE_UNITS_MAX;
/// Most units that a worker holds that has reported nothing yet: keys are free, and whoever makes some must not be lent a job
/// that he does not compute. A machine that reports reaches [`WORKER_UNITS_MAX`] within nine batches.
pub const NEWCOMER_UNITS: u32 = 64;
/// Most units that the workers of one network hold together that have reported nothing yet: some dozens of machines that have just
/// been started.
pub const NEWCOMER_UNITS_OF_NETWORK: u64 = 1024;
/// Most fuel that a core burns, a second. The worst kernel that a search has found burns 69e9 (the sandbox's bench `metering`).
pub const FUEL_PER_CORE_SECOND_MAX: u64 = 100_000_000_000;
/// How far a machine may be ahead of that, milliseconds: units of less than a moment come in batches.
pub const FUEL_AHEAD_MS: u64 = 2_000;
/// Most leases granted in answer to one request: they must fit into the worker's sink.
pub const LEASES_PER_WANT_MAX: usize = 16;
/// Longest time worth of computing that one request may ask for, seconds: beyond a day machines change their minds.
pub const WANT_SECONDS_MAX: u64 = 86_400;
/// Speed assumed of a slot that does not know its own, fuel per second: a slow machine by measurement.
pub const FUEL_PER_SECOND_GUESS: u64 = 5_000_000_000;
/// Units per slot lent of a job of whose units no cost is known yet: enough to learn it, little to hold up.
pub const UNMEASURED_UNITS_PER_SLOT: u32 = 4;
/// Most cores believed: bounds what an exaggerating worker gets of a job whose cost is not known.
pub const CORES_MAX: u32 = 1024;
/// Most units of one lease that bring lines: at 16 KiB a line, half of a message.
pub const LINE_UNITS_MAX: u32 = 128;
/// Most outputs named in one lease of merge units: with 256 bytes inline each, a third of a message.
pub const MERGE_INPUTS_MAX: u32 = 4096;
/// Most units of a job that are known one by one (waiting for another account, or tried before); beyond it no new
/// units are begun: about 200 MB.
pub const KNOWN_UNITS_MAX: usize = 1 << 20;
/// Of so many copies of a job's units, a referee computes one to check the crowd, once it is known how far the crowd's word goes.
pub const REFEREE_PART: u64 = 50;
/// Units of a job that referees check at once: what a machine with some cores takes.
pub const CHECKS_AT_ONCE: usize = 16;
/// Units drawn for a referee before none is found that it may compute.
pub const CHECKS_TRIED: usize = 64;
/// Units that get their verdict after one event, of those that a referee's check has let go: a few milliseconds of work.
pub const RELEASED_AT_ONCE: usize = 1024;
/// Units looked at again for each report: twice as many as are added at most.
pub const LOOKED_AGAIN: usize = 2;
/// Units looked at again at the tail of a job before a worker is told that there is nothing for it.
pub const LOOKED_AGAIN_AT_TAIL: usize = 256;
/// Runs of the queue looked at for one lease: a worker that may take none of the first so many is told to wait.
pub const RUNS_SCANNED_MAX: usize = 64;
/// Most leases kept after their deadline, so that what comes late is not lost while the unit has no verdict.
pub const OVERDUE_LEASES_MAX: usize = 1 << 16;
/// A lease is renewed for at most so many times its first duration: a unit that loops for ever on one machine goes to
/// another.
pub const RENEWALS_MAX: u64 = 16;
/// Bytes of a batch from which on half of its reports at least must be of units that were lent to its worker: a batch is
/// stored as it was signed, so that what nobody asked for would be stored with the rest.
pub const PADDED_BATCH_BYTES: usize = 16 << 10;
/// Leases that one heartbeat names in vain of which the worker is told: the answer is no larger than the question.
pub const OVER_AT_ONCE: usize = 1_024;
/// Wait before a unit is lent again after its first failed attempt, milliseconds; doubles with each.
pub const RETRY_MS: u64 = 1_000;
/// How many times as many attempts as a job allows a unit is given that only one account has tried, while others are
/// connected.
pub const ATTEMPTS_OF_ONE: u32 = 4;
/// Longest such wait, milliseconds.
pub const RETRY_MS_MAX: u64 = 3_600_000;
/// Failures in a row after which a worker has to wait; one or two happen to everybody.
pub const STRIKES_FREE: u32 = 3;
/// Wait of a worker after the first failure that is not free, milliseconds; doubles with each.
pub const STRIKE_MS: u64 = 2_000;
/// Longest such wait, milliseconds.
pub const STRIKE_MS_MAX: u64 = 3_600_000;
/// Times that a worker may give units of one job back unharmed, with no report of it between, before it gets none of the
/// job for a while: a lease that ran out while the machine slept happens to everybody.
pub const RETURNS_FREE: u32 = 1;
/// Most workers that one job remembers to have given its units back: the rest of a crowd is asked once more.
pub const RETURNERS_MAX: usize = 1024;
/// Most of them that `why` names.
pub const RETURNERS_NAMED_MAX: usize = 3;
/// Wait of a worker that was caught with a wrong result, milliseconds; doubles with each time that is not forgiven.
pub const CAUGHT_MS: u64 = 3_600_000;
/// Longest such wait, milliseconds: a week, so that a machine that was mended is seen.
pub const CAUGHT_MS_MAX: u64 = 7 * 86_400_000;
/// Times that a machine whose fault may be its hardware is caught before it has to wait: it gets less work and the
/// smallest units first, and its owner is told.
pub const FAULTS_FREE: u32 = 2;
/// Batches of good reports after which a machine that was caught is lent work like others again.
pub const PROBATION: u32 = 20;
/// How long a worker may take to show a trace or a state, milliseconds: it may have to fetch the kernel, and to compute a
/// part of the unit again.
pub const SHOW_MS: u64 = 30 * 60_000;
/// How long a worker may take to run a segment, milliseconds: fetching the state is most of it.
pub const SEGMENT_MS: u64 = 30 * 60_000;
/// Pause before a trial that waits for somebody who may run its segment looks again, milliseconds.
pub const TRIAL_PAUSE_MS: u64 = 10_000;
/// Answers that a trial does without before it is given up.
pub const TRIAL_FAILURES_MAX: u32 = 6;
/// Most workers that run one segment: as many as there are reports of a unit in dispute.
pub const HEARD_MAX: usize = 64;
/// Most of them at once, so that the first can end it.
pub const RUNNERS_AT_ONCE: usize = 4;
/// Streams looked at to find somebody who runs a segment.
pub const RUNNERS_SCANNED_MAX: usize = 256;
/// Most questions that one worker has before it at a time.
pub const WORKER_QUESTIONS_MAX: u32 = 2;
/// The same for a referee, who is there for it: as many segments as a worker holds at a time.
pub const REFEREE_QUESTIONS_MAX: u32 = 16;
/// The estimated chance that a segment in dispute is decided wrongly by votes: ten more than the other side. A vote costs
/// one segment, and a league that wins one dispute takes the standing of all who were right. With nobody left to be asked,
/// what the job asks for is enough.
pub const HEARING_TARGET: f64 = 1e-9;
/// A worker that got nothing is told to ask again after this, milliseconds; its request stands meanwhile.
pub const IDLE_MS: u64 = 30_000;
/// The same at the tail of a job, milliseconds: a second lease may soon make sense.
pub const IDLE_TAIL_MS: u64 = 3_000;
/// Shortest age of a lease at which its units may be lent a second time at the tail of a job, milliseconds.
pub const SECOND_LEASE_MS: u64 = 5_000;
/// How many times as long as all that a worker holds should take it, so that its units may be lent a second time: machines are
/// busy, and units are not all alike.
pub const SECOND_LEASE_TIMES: u128 = 4;
/// The least speed that a worker is believed that says it is slow, fuel per second of a slot: a fiftieth of a slow machine's.
pub const FUEL_PER_SECOND_LEAST: u64 = FUEL_PER_SECOND_GUESS / 50;
/// The least speed of a line that inputs come by, bytes per second: a megabit.
pub const LINE_BYTES_PER_SECOND_LEAST: u64 = 125_000;
/// Oldest leases of a job looked at for a second lease, of those without one.
pub const SECOND_LEASES_SCANNED: usize = 16;
/// Oldest leases of a job looked at to find these.
pub const SECOND_LEASES_PASSED: usize = 1024;
/// Most units lent a second time at once.
pub const SECOND_LEASE_UNITS_MAX: u32 = 256;
/// Waiting workers served after one event; the others follow after [`SERVE_PAUSE_MS`].
pub const SERVED_PER_EVENT_MAX: usize = 32;
/// Pause between two rounds of serving waiting workers, milliseconds.
pub const SERVE_PAUSE_MS: u64 = 5;
/// Units in one record of the log after which another is begun: a page of results must fit into a message.
pub const LOG_UNITS: u64 = 4096;
/// Spans in one record of the log after which another is begun, for the same reason.
pub const LOG_SPANS: usize = 4096;
/// Bytes of an entry of the project's log, about, after which another is begun: with one more span it stays below
/// [`proto::bounds::LOG_ENTRY_BYTES_MAX`].
pub const LOG_BYTES: usize = 1 << 20;
/// Bytes of lines held of running units, over all jobs and of one: what comes when there is no more room is passed over.
pub const LIVE_LOG_BYTES_MAX: usize = 64 << 20;
/// The same of one job.
pub const LIVE_LOG_BYTES_OF_JOB_MAX: usize = 16 << 20;
/// Bytes of logs that are kept of the jobs of one account: sixteen jobs that talk as much as they may.
pub const ACCOUNT_LOG_BYTES_MAX: u64 = 256 << 20;
/// Bytes of logs that are kept in all.
pub const PROJECT_LOG_BYTES_MAX: u64 = 4 << 30;
/// How long a job has no report accepted before people are told what it waits for, milliseconds.
pub const STILL_MS: u64 = 5_000;
/// Workers looked at to tell what a job's target costs: what holds of so many holds of the crowd.
pub const COST_WORKERS: usize = 1_000;
/// Window over which a job's recent rate is taken, milliseconds.
pub const RATE_MS: u64 = 5_000;
/// Longest name of a submitting account or token id, bytes.
pub const ACCOUNT_NAME_BYTES_MAX: usize = proto::bounds::NAME_BYTES_MAX;
