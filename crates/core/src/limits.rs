//! Every capacity, timeout and retry of the protocol, with what happens at the bound.

/// Largest number of units that one request may ask for; more is refused at the edge.
pub const UNITS_MAX: u32 = 1_000_000;
/// Largest counted stock of one item; more is refused at the edge.
pub const STOCK_MAX: u64 = 1_000_000_000;
/// Longest id that people choose (sale, item, buyer) and longest idempotency key, in bytes; longer
/// is refused at the edge.
pub const NAME_BYTES_MAX: usize = 64;
/// Tickets that one settle transaction resolves; the rest waits for the next one.
pub const SETTLE_BATCH_MAX: usize = 500;
/// Tickets that wait in one slot's queue; at the bound the slot answers
/// [`crate::slot::TicketAnswer::Full`] and deducts nothing.
pub const SLOT_QUEUE_MAX: usize = 65_536;
/// Age of the oldest ticket in one slot's queue, in milliseconds; at the bound the slot answers
/// "full": whatever it cut would be settled too late, be returned, and be cut again for nobody.
pub const SLOT_QUEUE_AGE_MAX_MS: i64 = 3_000;
/// Requests that one slot remembers; at the bound it is sealed, drained and rolled to a new epoch.
pub const SLOT_REQUESTS_MAX: usize = 4_000_000;
/// Recalls that one slot remembers under one grant; at the bound further recalls are refused, and
/// the slot is sealed.
pub const SLOT_RECALLS_MAX: usize = 65_536;
/// Partitions that an item's stock can be spread over; more are refused at the edge.
pub const PARTITIONS_MAX: u32 = 64;
/// Slots in Redis whose queues one node reads at a time; a sale that would need more beside the
/// others of its time is refused before it opens.
pub const SLOTS_SERVED_MAX: usize = 1_024;
/// Time from the draw of a ticket's token to the instant after which it can no longer be consumed.
pub const DECIDE_WITHIN_MS: i64 = 10_000;
/// After `decide_by` a verdict is due within this much more, while the store is up.
pub const VERDICT_GRACE_MS: i64 = 1_000;
/// Longest time that a request waits, parked, for a commit in flight, a refill or a recall.
pub const PARK_MS: i64 = 1_000;
/// Requests parked on one node; at the bound a request that would park hears "overloaded".
pub const PARKED_MAX: usize = 20_000;
/// Longest payment window, in seconds; more is refused at the edge.
pub const HOLD_SECS_MAX: u32 = 86_400;
/// Places in one item's line; at the bound nobody joins.
pub const WAITLIST_ENTRIES_MAX: u64 = 10_000;
/// Places that one transaction serves, or ends with their sale; the rest waits for the next one.
pub const WAITLIST_BATCH_MAX: usize = 100;
/// Longest payment window of an order that came out of a line; an item's own holds where it is
/// shorter. Others wait behind it.
pub const WAITLIST_HOLD_MS: i64 = 5 * 60_000;
/// How long the units of an order that is due wait after its provider was first asked in vain
/// whether it took money; then the order expires, and money that comes later is a late payment.
pub const PROVIDER_GRACE_MS: i64 = 120_000;
/// How long they wait at most after the order's `pay_by`, also where nobody could ask its provider
/// by then: so many orders were due before it.
pub const PROVIDER_CHECK_WITHIN_MS: i64 = 30 * 60_000;
/// Farthest that an operator puts off an order's `pay_by`, from now; more is refused.
pub const EXTEND_MS_MAX: i64 = 30 * 86_400_000;
/// How often a provider is asked in vain for one refund; then it is failed, and an operator must
/// look.
pub const REFUND_TRIES_MAX: u32 = 12;
/// Longest wait between two tries of anything that is tried again.
pub const BACKOFF_MS_MAX: i64 = 6 * 3_600_000;
/// How often one event is sent to one endpoint in vain, unless settings say otherwise; then it is a
/// dead letter. With the waits between: a day and a half.
pub const DELIVERY_TRIES: u32 = 20;
/// Most that settings may ask for.
pub const DELIVERY_TRIES_MAX: u32 = 50;
/// How often at least an endpoint refuses one event by its answer, with no other failure of it
/// between, before it is a dead letter. With the waits between: half a minute, after which one that
/// refuses every event of a type is told of the others before its pending ones are too many.
pub const DELIVERY_REFUSALS: u32 = 6;
/// And for how long it refuses it, unless half of what may be pending is refused: longer than a
/// shop is away that answers `404` while it is renewed.
pub const DELIVERY_REFUSED_MS: i64 = 600_000;
/// Longest wait between two tries of what was refused: a shop that is back hears of it soon.
pub const REFUSED_PAUSE_MAX_MS: i64 = 60_000;
/// Longest wait between two tries of what could not be sent for a reason that is not the
/// endpoint's.
pub const DEFERRED_PAUSE_MAX_MS: i64 = 60_000;
/// Times in a row that an event cannot be sent for such a reason, until it is given up: a day and a
/// half.
pub const DEFERRALS_MAX: u32 = 2_160;
/// Events that are on their way to one endpoint at once; more wait.
pub const DELIVERIES_IN_FLIGHT_MAX: usize = 8;
/// Events that are read ahead of an endpoint's position; more stay in the store.
pub const DELIVERY_WINDOW: usize = 256;
/// Events that one endpoint keeps to be tried again; at the bound it is told of nothing new until
/// one of them is told, dead or discarded.
pub const DELIVERIES_PENDING_MAX: usize = 1_000;
/// Events that fail with no success between them until an endpoint counts as down, and is only
/// tried with one at a time.
pub const BREAKER_FAILURES: usize = 5;
/// How often in a row an endpoint that is down is tried with the same event.
pub const BREAKER_TRIES_PER_EVENT: u32 = 3;
/// How many tries of an endpoint that is down follow each other after the same wait, before it
/// doubles: one that fails for a moment is told soon after.
pub const BREAKER_TRIES_PER_PAUSE: u32 = 4;
/// Longest wait between two tries of an endpoint that is down.
pub const BREAKER_PAUSE_MAX_MS: i64 = 60_000;

/// How long to wait after so many tries in vain: 1 s, doubled with each further one, at most
/// [`BACKOFF_MS_MAX`]. Whoever waits spreads it out.
#[must_use]
pub fn backoff_ms(tries: u32) -> i64 {
    let doubled = 1_000_i64.checked_shl(tries.saturating_sub(1).min(32)).unwrap_or(BACKOFF_MS_MAX);
    doubled.min(BACKOFF_MS_MAX)
}

/// Somewhere between three quarters and five quarters of `ms`, by a random `spread`: what failed
/// together is not tried again together.
#[must_use]
pub fn with_jitter(ms: i64, spread: u32) -> i64 {
    ms - ms / 4 + (ms / 2).saturating_mul(i64::from(spread >> 16)) / (1 << 16)
}

const _: () = assert!(SETTLE_BATCH_MAX <= SLOT_QUEUE_MAX, "a batch fits in a queue");
const _: () = assert!(PARK_MS < DECIDE_WITHIN_MS, "a parked request can still be decided in time");
const _: () = assert!(
    SLOT_QUEUE_AGE_MAX_MS < DECIDE_WITHIN_MS / 2,
    "what is cut behind a full queue is still settled in time"
);
const _: () =
    assert!(STOCK_MAX <= u32::MAX as u64, "free and held units pack into one atomic word");
const _: () = assert!(
    DELIVERIES_IN_FLIGHT_MAX <= DELIVERY_WINDOW && DELIVERY_WINDOW <= DELIVERIES_PENDING_MAX,
    "what is sent was read, and may fail"
);
const _: () = assert!(
    1 < DELIVERY_REFUSALS && DELIVERY_REFUSALS < DELIVERY_TRIES,
    "who refuses once may not mean it"
);
const _: () = assert!(
    PROVIDER_GRACE_MS < PROVIDER_CHECK_WITHIN_MS,
    "a question in vain makes nobody wait longer"
);
const _: () = assert!(UNITS_MAX < 1 << 24, "units fit in the three bytes of a ticket id");
