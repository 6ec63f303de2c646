//! Every capacity, timeout and retry of the slots in Redis, with what happens at the bound.
use std::time::Duration;

/// How long a server may take to accept a connection; then it counts as unreachable.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long a server may take to answer; then the call may have taken effect or not, and the
/// connection is dropped.
pub(super) const RESPONSE_MAX: Duration = Duration::from_secs(1);
/// How long a server may take to answer while the program starts; then the program does not start.
/// A server that is busy or loads its file is asked again until then.
pub(super) const OPEN_MAX: Duration = Duration::from_secs(5);
/// Pause between two of these attempts.
pub(super) const OPEN_PAUSE: Duration = Duration::from_millis(50);
/// Longest time that answers wait for replicas; then they go out without them.
pub(super) const REPLICAS_WAIT: Duration = Duration::from_millis(50);
/// After a server could not be reached, calls to it fail at once for this long.
pub(super) const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Requests that wait for one server; at the bound a request fails at once, with no effect.
pub(super) const BATCHER_WAITING_MAX: usize = 16_384;
/// Requests that go to one server in one write.
pub(super) const BATCH_MAX: usize = 512;
/// Writes in flight to one server: while one waits for its answer, the next batch collects.
pub(super) const BATCH_WRITERS: usize = 2;
/// Requests of one slot in one call of the script: the server does nothing else meanwhile.
pub(super) const SCRIPT_TICKETS_MAX: usize = 128;
/// Feed rows in one call of the script.
pub(super) const SCRIPT_ROWS_MAX: usize = 128;
/// Tickets acknowledged in one call of the script.
pub(super) const SCRIPT_DONE_MAX: usize = 256;
/// How long a read of a queue waits for tickets before it is asked again.
pub(super) const READ_BLOCK: Duration = Duration::from_millis(500);
/// Tickets in one read of a queue.
pub(super) const READ_MAX: usize = 256;
/// Pause after a queue could not be read, or does not exist yet.
pub(super) const READ_PAUSE: Duration = Duration::from_millis(50);
/// Tickets read and not yet taken; at the bound the queues are read no further.
pub(super) const INBOX_MAX: usize = 2_048;
/// Slots that one node reads, each over its own connection; at the bound the last ones are reported
/// and not read.
pub(super) const SERVED_MAX: usize = doorbuster_core::limits::SLOTS_SERVED_MAX;
/// Time between two searches for tickets that a settler received and never acknowledged.
pub(super) const CLAIM_EVERY: Duration = Duration::from_secs(1);
/// A ticket that a settler received this long ago goes to another settler. This is by the server's
/// clock, which decides nothing here: a ticket that is delivered twice is settled once.
pub(super) const CLAIM_IDLE: Duration = Duration::from_secs(3);
/// Attempts of a call that had no effect because its server was wrong or unavailable; then it
/// fails.
pub(super) const ATTEMPTS_MAX: usize = 5;
/// Pause between two of these attempts.
pub(super) const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);
/// Time between two checks of the servers' identities; a broken connection starts a check at once.
pub(super) const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Shortest pause between two checks while connections break continuously.
pub(super) const WATCH_PAUSE: Duration = Duration::from_millis(50);
/// How long a retired slot's epoch is kept.
pub(super) const RETIRED_KEEP: Duration = Duration::from_secs(86_400);
/// Requests looked at in one step of a search through a slot's memory.
pub(super) const SEARCH_STEP: usize = 1_000;
/// Highest epoch: it shares a word with the number of a ticket.
pub(super) const EPOCH_MAX: u64 = (1 << 24) - 1;
/// Oldest version of Redis with which the scripts were tested.
pub(super) const VERSION_MIN: (u32, u32) = (7, 0);

const _: () = assert!(
    REPLICAS_WAIT.as_millis() * 2 < RESPONSE_MAX.as_millis(),
    "a write that waits for replicas does not time out"
);
const _: () = assert!(SCRIPT_TICKETS_MAX <= BATCH_MAX, "a call fits in a write");
const _: () = assert!(READ_MAX <= INBOX_MAX, "a read fits in the inbox");
const _: () = assert!(SCRIPT_DONE_MAX <= 4_000, "Lua passes at most some 8,000 values to one call");
const _: () = assert!(
    CLAIM_IDLE.as_millis() < doorbuster_core::limits::DECIDE_WITHIN_MS as u128,
    "a dead settler's tickets can still be decided in time"
);
