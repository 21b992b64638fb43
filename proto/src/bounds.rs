//! Bounds on what one machine may send another, each with its reason.

/// Largest gRPC message, bytes. Room for a full batch of reports with inline outputs; larger content goes in chunks.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Largest chunk of a blob in one message, bytes: big enough to amortise framing, small enough to share a connection.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Most reports in one batch: keeps a full batch with inline outputs well below [`MESSAGE_BYTES_MAX`].
pub const BATCH_REPORTS_MAX: usize = 4096;
/// An output up to this size travels inside its report, bytes: below it a blob of its own costs more than its content.
pub const INLINE_OUTPUT_BYTES_MAX: usize = 256;
/// Largest job specification, bytes: one gRPC message, and every worker keeps it in memory.
pub const SPEC_BYTES_MAX: usize = 1 << 20;
/// Largest line of a job that is cut by lines, bytes: it travels in the lease.
pub const LINE_BYTES_MAX: usize = 16 << 10;
/// Most units of a job: cursors and mixed-radix arithmetic stay far from the end of `u64`.
pub const UNITS_MAX: u64 = 1 << 48;
/// Most leaves merged by one merge unit: their outputs are named in one lease.
pub const FAN_IN_MAX: u32 = 1024;
/// Most units in one lease: bounds what is redone when one worker vanishes, and one message.
pub const LEASE_UNITS_MAX: u32 = 4096;
/// Most leases named by one heartbeat: more than a worker of today holds, and a message far below [`MESSAGE_BYTES_MAX`].
pub const HEARTBEAT_LEASES_MAX: usize = 16_384;
/// Most axes along which a job is cut: each unit's position on all of them is found whenever it is lent or run.
pub const AXES_MAX: usize = 64;
/// Most inputs of a job that its specification names.
pub const INPUTS_MAX: usize = 4096;
/// Most files of a job that are listed in a blob of their own: at its submission each is looked for.
pub const LISTED_MAX: u64 = 1 << 20;
/// Longest name of a listed file, bytes: that of a path.
pub const NAME_PATH_BYTES_MAX: usize = 4096;
/// Most exit codes that count as an answer of a job.
pub const EXIT_CODES_MAX: usize = 64;
/// Largest output of one unit, bytes: a worker holds it in the memory of the unit's process and of its own.
pub const OUTPUT_BYTES_MAX: u64 = 256 << 20;
/// Largest memory of a state, bytes: all that a kernel can address.
pub const STATE_MEMORY_BYTES_MAX: u64 = 4 << 30;
/// Longest name of a job, machine or account, bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest name of an input, bytes: the longest that a file may have.
pub const INPUT_NAME_BYTES_MAX: usize = 255;
/// Longest reason given for people, bytes.
pub const REASON_BYTES_MAX: usize = 1024;
/// Longest line of a kernel's log, bytes; what is longer is cut where it is logged.
pub const LOG_LINE_BYTES_MAX: usize = 4096 + 16;
/// What of a unit's log travels and is kept, bytes: half of it for the first lines, half for the last. Enough for a panic
/// with what led to it; a kernel that puts out more writes an output.
pub const UNIT_LOG_BYTES_MAX: usize = 16 << 10;
/// What of the logs of a job is kept, bytes: a thousand units that log as much as they may.
pub const JOB_LOG_BYTES_MAX: u64 = 16 << 20;
/// Most units of which one message brings lines.
pub const LOGS_PER_MESSAGE_MAX: usize = 1024;
/// Bytes of lines in one message, about: far above its overhead, and soon sent on a slow line.
pub const LOGS_MESSAGE_BYTES: usize = 256 << 10;
/// Largest entry of the project's log, bytes: the coordinator begins another one at about half of it, and one fits into a
/// message twice.
pub const LOG_ENTRY_BYTES_MAX: usize = 2 << 20;
/// Most entries of the log in one call: bounds what a reader can ask for at once.
pub const LOG_ENTRIES_MAX: u32 = 1 << 16;
