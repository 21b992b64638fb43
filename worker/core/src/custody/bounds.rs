//! Bounds of what a worker holds for others and has others hold, each with its reason.

use std::time::Duration;

/// Peers that are to hold each batch of one's own, unless the owner says otherwise: with half of all machines leaving for ever, seven of eight batches are
/// still had, beside the reporter's own copy.
pub const COPIES: usize = 3;
/// How long a sealed batch is kept after it came, whatever became of it: the time that an operator has to notice the loss
/// of a coordinator's disk and to build it up again.
pub const RETENTION: Duration = Duration::from_secs(30 * 86_400);
/// Bytes held for others, in all, unless the owner says otherwise: a million reports of small units.
pub const OTHERS_BYTES: u64 = 512 << 20;
/// Batches held for others, in all: an entry of about 200 bytes in memory each.
pub const OTHERS_BATCHES_MAX: usize = 65_536;
/// Of these, one sender's share: one part in so many. A flood from one worker leaves room for fifteen others.
pub const SENDER_SHARE: u64 = 16;
/// One account's share: an owner of a hundred machines is still one owner.
pub const ACCOUNT_SHARE: u64 = 8;
/// Bytes of one's own batches that are kept; the oldest that the coordinator has go first.
pub const OWN_BYTES_MAX: u64 = 256 << 20;
/// One's own batches that are kept: an entry in memory each.
pub const OWN_BATCHES_MAX: usize = 65_536;
/// Hand-overs on their way at a time: fills a line, and is little to lose.
pub const HANDOVERS_MAX: usize = 8;
/// A hand-over that is not answered within this time has failed.
pub const HANDOVER_TIMEOUT: Duration = Duration::from_secs(60);
/// A peer that would not take a batch, or could not, is asked no sooner than this again.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// A holder that was away for this long is no longer counted on, while the coordinator does not have the batch.
pub const VANISHED_AFTER: Duration = Duration::from_secs(600);
/// Batches that one sender may hand over at once, after a silence: what a worker does that comes back from a day's work.
pub const OFFERS_BURST: u64 = 512;
/// Batches that one sender may hand over per second in the long run: far above what reports in batches need.
pub const OFFERS_PER_SECOND: u64 = 4;
/// Senders whose rate is remembered; the longest silent one is forgotten, and begins anew with a full burst.
pub const SENDERS_MAX: usize = 4096;
/// Batches that the coordinator is asked about in one call.
pub const ASKED_MAX: usize = 256;
/// Deliveries on their way at a time.
pub const DELIVERIES_MAX: usize = 4;
/// How long a batch of somebody else is held before the coordinator is told of it: its reporter mostly reports itself, and
/// says so.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// After the coordinator came back, holders tell it of what they hold spread over this time: no stampede.
pub const SPREAD: Duration = Duration::from_secs(60);
/// Wait before the coordinator is told again of a batch that it could not take.
pub const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Peers that are remembered with what they hold of one's own.
pub const PEERS_MAX: usize = 4096;
