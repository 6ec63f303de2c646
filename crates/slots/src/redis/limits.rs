//! Every capacity, timeout and retry of the slots in Redis, with what happens at the bound.
use std::time::Duration;

/// How long a server may take to accept a connection; then it counts as unreachable.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(1);
/// How long a server may take to answer; then the effect may have happened or not, and the
/// connection is given up.
pub(super) const RESPONSE_MAX: Duration = Duration::from_secs(1);
/// The same while the program starts, where nobody waits for an answer yet; then it does not start.
/// As long a server that is busy or reads its file is asked again.
pub(super) const OPEN_MAX: Duration = Duration::from_secs(5);
/// Between two times that it is asked.
pub(super) const OPEN_PAUSE: Duration = Duration::from_millis(50);
/// How long answers wait at most for replicas that are to have the tickets too; then they go out
/// all the same.
pub(super) const REPLICAS_WAIT: Duration = Duration::from_millis(50);
/// After a server could not be reached, calls to it fail at once for so long.
pub(super) const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// Requests that wait for one server; at the bound a request fails at once, and nothing was done.
pub(super) const BATCHER_WAITING_MAX: usize = 16_384;
/// Requests that go to one server in one write.
pub(super) const BATCH_MAX: usize = 512;
/// Writes in flight to one server: while one is answered, the next one gathers.
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
/// Pause after a queue could not be read, or is not there yet.
pub(super) const READ_PAUSE: Duration = Duration::from_millis(50);
/// Tickets read and not yet taken; at the bound the queues are read no further.
pub(super) const INBOX_MAX: usize = 2_048;
/// Slots that one node reads: each takes a connection; more are told of, and the last ones not
/// read.
pub(super) const SERVED_MAX: usize = doorbuster_core::limits::SLOTS_SERVED_MAX;
/// Between two looks for tickets that were given to a settler who never acknowledged them.
pub(super) const CLAIM_EVERY: Duration = Duration::from_secs(1);
/// A ticket that was given to a settler so long ago is given to another one. By the server's clock,
/// which decides nothing here: what is settled twice is settled once.
pub(super) const CLAIM_IDLE: Duration = Duration::from_secs(3);
/// Times that a call looks for its server, while nothing was done; then it fails.
pub(super) const ATTEMPTS_MAX: usize = 5;
/// Between two of them.
pub(super) const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);
/// Between two looks at the servers' identities, besides being told that a connection broke.
pub(super) const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Between two looks when connections break all the time.
pub(super) const WATCH_PAUSE: Duration = Duration::from_millis(50);
/// For so long a retired slot's epoch is kept.
pub(super) const RETIRED_KEEP: Duration = Duration::from_secs(86_400);
/// Requests looked at in one step of a search through a slot's memory.
pub(super) const SEARCH_STEP: usize = 1_000;
/// Highest epoch: it shares a word with the number of a ticket.
pub(super) const EPOCH_MAX: u64 = (1 << 24) - 1;
/// Oldest version of Redis whose behaviour the scripts were tried on.
pub(super) const VERSION_MIN: (u32, u32) = (7, 0);

const _: () = assert!(
    REPLICAS_WAIT.as_millis() * 2 < RESPONSE_MAX.as_millis(),
    "a write that waits is no lost one"
);
const _: () = assert!(SCRIPT_TICKETS_MAX <= BATCH_MAX, "a call fits in a write");
const _: () = assert!(READ_MAX <= INBOX_MAX, "a read fits in the inbox");
const _: () = assert!(SCRIPT_DONE_MAX <= 4_000, "Lua passes at most some 8,000 values to one call");
const _: () = assert!(
    CLAIM_IDLE.as_millis() < doorbuster_core::limits::DECIDE_WITHIN_MS as u128,
    "a dead settler's tickets can still be decided in time"
);
