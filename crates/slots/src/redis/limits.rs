//! The bounds of the slots in Redis: sizes, times and numbers of attempts. Each comment says what
//! happens at the bound.
use std::time::Duration;

/// A server that accepts no connection in this time counts as unreachable.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(1);
/// If no answer arrives in this time, the connection is dropped, and the call may have taken
/// effect.
pub(super) const RESPONSE_MAX: Duration = Duration::from_secs(1);
/// How long a starting node waits for a server that is busy, or that is still loading its data
/// file. A server that is not ready by then counts as unreachable.
pub(super) const OPEN_MAX: Duration = Duration::from_secs(5);
/// The pause between two attempts to reach a server at the start.
pub(super) const OPEN_PAUSE: Duration = Duration::from_millis(50);
/// The longest wait for the confirmation of replicas. After this time, the callers get their
/// tickets anyway.
pub(super) const REPLICAS_WAIT: Duration = Duration::from_millis(50);
/// The pause after a failed attempt to connect to a server. Meanwhile, calls that need a new
/// connection fail at once.
pub(super) const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// The largest number of requests that wait for one server. If so many wait, a further request
/// fails at once, without an effect.
pub(super) const BATCHER_WAITING_MAX: usize = 16_384;
/// The largest number of requests that go to one server in one write.
pub(super) const BATCH_MAX: usize = 512;
/// The largest number of writes to one server that wait for their answers. If so many writes wait,
/// further requests gather for the next write.
pub(super) const BATCH_WRITERS: usize = 2;
/// The largest number of requests of one slot in one call of `ticket.lua`. The server does no other
/// work during this call.
pub(super) const SCRIPT_TICKETS_MAX: usize = 128;
/// The largest number of feed rows in one call of `apply.lua`.
pub(super) const SCRIPT_ROWS_MAX: usize = 128;
/// The largest number of tickets that one call of `acknowledge.lua` acknowledges.
pub(super) const SCRIPT_DONE_MAX: usize = 256;
/// How long a read of a queue waits for tickets.
pub(super) const READ_BLOCK: Duration = Duration::from_millis(500);
/// The largest number of tickets in one read of a queue.
pub(super) const READ_MAX: usize = 256;
/// How long a reader pauses if its queue cannot be read or does not exist.
pub(super) const READ_PAUSE: Duration = Duration::from_millis(50);
/// The largest number of tickets that the readers have read and no settler has taken yet. At the
/// bound, the readers wait.
pub(super) const INBOX_MAX: usize = 2_048;
/// The largest number of slots whose queues one node reads. If there are more slots, the node does
/// not read the last slots, and `Slots::serve` returns an error.
pub(super) const SERVED_MAX: usize = doorbuster_core::limits::SLOTS_SERVED_MAX;
/// How often a reader searches for tickets that a settler received but did not acknowledge.
pub(super) const CLAIM_INTERVAL: Duration = Duration::from_secs(1);
/// If a ticket is not acknowledged in this time, another settler gets it. Redis measures the time
/// with its own clock. A wrong clock is harmless, because a ticket that is delivered twice is
/// settled only once.
pub(super) const CLAIM_IDLE: Duration = Duration::from_secs(3);
/// The largest number of attempts for one call. Only an attempt that had no effect is repeated. If
/// the last attempt has no effect either, the call fails.
pub(super) const ATTEMPTS_MAX: usize = 5;
/// The pause between two attempts of a call.
pub(super) const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);
/// The time between two checks of the servers' identities. A broken connection starts a check at
/// once.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after each check. The pause limits the number of checks while connections keep
/// breaking.
pub(super) const WATCH_PAUSE: Duration = Duration::from_millis(50);
/// How long a retired slot's epoch is kept.
pub(super) const RETIRED_KEEP: Duration = Duration::from_secs(86_400);
/// In a search through a slot's memory, each step reads about this many requests.
pub(super) const SEARCH_STEP: usize = 1_000;
/// The highest epoch. A queue position has 64 bits, and the epoch uses 24 of them.
pub(super) const EPOCH_MAX: u64 = (1 << 24) - 1;
/// The oldest version of Redis that may hold slots. The scripts are not tested with older versions.
pub(super) const VERSION_MIN: (u32, u32) = (7, 0);

const _: () = assert!(
    REPLICAS_WAIT.as_millis() * 2 < RESPONSE_MAX.as_millis(),
    "a write that waits for replicas must not time out"
);
const _: () = assert!(SCRIPT_TICKETS_MAX <= BATCH_MAX, "a call must fit in a write");
const _: () = assert!(READ_MAX <= INBOX_MAX, "a read must fit in the inbox");
const _: () = assert!(SCRIPT_DONE_MAX <= 4_000, "Lua can pass only about 8,000 values to one call");
const _: () = assert!(
    CLAIM_IDLE.as_millis() < doorbuster_core::limits::DECIDE_WITHIN_MS as u128,
    "a dead settler's tickets must reach another settler in time"
);
