//! Every capacity, timeout and retry of the protocol, with what happens at the bound.

/// The largest number of units in one request. The server refuses a request for more.
pub const UNITS_MAX: u32 = doorbuster_types::UNITS_MAX;
/// The largest counted stock of one item. The server refuses a larger stock.
pub const STOCK_MAX: u64 = 1_000_000_000;
/// The greatest length of an id, and of an idempotency key, in bytes. The server refuses longer
/// values.
pub const NAME_BYTES_MAX: usize = doorbuster_types::NAME_BYTES_MAX;
/// The largest number of tickets that one transaction settles. Further tickets wait for the next
/// transaction.
pub const SETTLE_BATCH_MAX: usize = 500;
/// The largest number of tickets that wait in one slot's queue. At the bound the slot answers
/// [`crate::slot::TicketAnswer::Full`] and deducts nothing.
pub const SLOT_QUEUE_MAX: usize = 65_536;
/// The greatest age of the oldest ticket in one slot's queue, in milliseconds. At the bound the
/// slot answers "full", because later tickets would be settled too late and returned.
pub const SLOT_QUEUE_AGE_MAX_MS: i64 = 3_000;
/// The largest number of requests that one slot remembers. At the bound the slot is sealed: it
/// issues no tickets for new requests. The slot is then drained and moved to a new epoch.
pub const SLOT_REQUESTS_MAX: usize = 4_000_000;
/// The largest number of recalls that one slot remembers under one grant. At the bound the slot
/// refuses further recalls and is sealed. The slot is then drained and moved to a new epoch.
pub const SLOT_RECALLS_MAX: usize = 65_536;
/// The largest number of partitions of an item. The server refuses more.
pub const PARTITIONS_MAX: u32 = 64;
/// The largest number of slots in Redis whose queues one node reads at a time. The server refuses a
/// sale if the sales that may then be open at the same time would have more slots than this.
pub const SLOTS_SERVED_MAX: usize = 1_024;
/// The time from the creation of a ticket's token until the ticket can no longer be consumed.
pub const DECIDE_WITHIN_MS: i64 = 10_000;
/// The longest time from a ticket's `decide_by` until its verdict, if the store is up.
pub const VERDICT_GRACE_MS: i64 = 1_000;
/// The greatest age of an edge's copy of the nodes' memory, in milliseconds. An edge with an older
/// copy refuses no request.
pub const FEED_AGE_MAX_MS: i64 = 2_000;
/// The longest time for which a request is parked. A parked request waits for a commit in flight, a
/// refill or a recall.
pub const PARK_MS: i64 = 1_000;
/// The largest number of requests that are parked on one node. At the bound a further request is
/// answered "overloaded".
pub const PARKED_MAX: usize = 20_000;
/// The longest payment window, in seconds. The server refuses a longer window.
pub const HOLD_SECS_MAX: u32 = 86_400;
/// The largest number of entries in one item's waitlist. At the bound no further buyer can join.
pub const WAITLIST_ENTRIES_MAX: u64 = 10_000;
/// The largest number of waitlist entries that one transaction serves or ends. Further entries wait
/// for the next transaction.
pub const WAITLIST_BATCH_MAX: usize = 100;
/// The longest payment window of an order that was created from a waitlist entry, in milliseconds.
/// This window is short, because other buyers wait for the same unit. If the item's own payment
/// window is shorter, the item's window applies.
pub const WAITLIST_HOLD_MS: i64 = 5 * 60_000;
/// How long an overdue order keeps its units after the first failed query to its provider, in
/// milliseconds. After this time the order expires, and money that arrives later is a late payment.
pub const PROVIDER_GRACE_MS: i64 = 120_000;
/// The longest time that an overdue order keeps its units after its `pay_by`, in milliseconds. The
/// bound also applies if the server did not query the provider about this order, because too many
/// orders were overdue.
pub const PROVIDER_CHECK_WITHIN_MS: i64 = 30 * 60_000;
/// The latest `pay_by` that an operator can set, in milliseconds from now. Later times are refused.
pub const EXTEND_MS_MAX: i64 = 30 * 86_400_000;
/// The largest number of failed requests to a provider for one refund. At the bound the refund
/// fails and an operator must resolve it.
pub const REFUND_TRIES_MAX: u32 = 12;
/// The largest number of failed deliveries of one event to one endpoint, unless the settings give
/// another number. At the bound the event is a dead letter. With their pauses, the failed
/// deliveries take a day and a half.
pub const DELIVERY_TRIES: u32 = 20;
/// The largest value of the setting `webhooks.tries`, which replaces [`DELIVERY_TRIES`].
pub const DELIVERY_TRIES_MAX: u32 = 50;
/// The number of consecutive refusals after which an event can become a dead letter. After any
/// other failure of the endpoint, the count starts again. [`DELIVERY_REFUSED_MS`] is a second
/// condition. With their pauses, this many refusals take half a minute. So an endpoint that refuses
/// events of one type soon gets the events of other types.
pub const DELIVERY_REFUSALS: u32 = 6;
/// The shortest time from the first refusal of an event until the event becomes a dead letter, in
/// milliseconds. A shop may answer `404` while it deploys a new version, which usually takes less
/// time. The bound does not apply if the number of refused events is at least half of
/// [`DELIVERIES_PENDING_MAX`].
pub const DELIVERY_REFUSED_MS: i64 = 600_000;
/// The longest pause between two attempts to deliver a refused event, in milliseconds. It is short,
/// so that a shop gets the event soon after the shop recovers.
pub const REFUSED_PAUSE_MAX_MS: i64 = 60_000;
/// The longest pause between two attempts to deliver an event that this server could not send, in
/// milliseconds.
pub const DEFERRED_PAUSE_MAX_MS: i64 = 60_000;
/// If this server could not send an event this many times in a row, the server gives up the event.
/// With their pauses, these attempts take a day and a half.
pub const DEFERRALS_MAX: u32 = 2_160;
/// The largest number of events in delivery to one endpoint at the same time. Further events wait.
pub const DELIVERIES_IN_FLIGHT_MAX: usize = 8;
/// The largest number of events that the server reads ahead of an endpoint's position.
pub const DELIVERY_WINDOW: usize = 256;
/// The largest number of events that are kept for retry at one endpoint. At the bound the endpoint
/// gets no new events until one of the kept events is delivered, dead or discarded.
pub const DELIVERIES_PENDING_MAX: usize = 1_000;
/// The number of consecutive failed events after which an endpoint counts as down. From then on,
/// the endpoint gets one event at a time, until it accepts an event.
pub const BREAKER_FAILURES: usize = 5;
/// The largest number of consecutive attempts to deliver the same event to an endpoint that is
/// down.
pub const BREAKER_TRIES_PER_EVENT: u32 = 3;
/// After each group of this many attempts at an endpoint that is down, the pause between attempts
/// doubles. So after a short failure, the endpoint soon gets its events.
pub const BREAKER_TRIES_PER_PAUSE: u32 = 4;
/// The longest pause between two attempts at an endpoint that is down, in milliseconds.
pub const BREAKER_PAUSE_MAX_MS: i64 = 60_000;
/// After a failover, the positions of new events are greater by this number. So no new event gets
/// the position of an event that the failover lost, unless the failover lost more events.
pub const LOST_POSITIONS_MAX: i64 = 1_000_000;

/// The greatest age of a node's previous poll, in milliseconds, at which commit digests are enough.
/// If the previous poll is older, the node reads all orders again.
pub const DIGESTS_READ_WITHIN_MS: i64 = 300_000;
/// How far back a poll for digests starts after a lost connection, in milliseconds. Thirty seconds
/// are enough, because PostgreSQL writes every commit to its disk within about a second, even with
/// `synchronous_commit = off`.
pub const DIGEST_POLL_REWIND_MS: i64 = 30_000;
/// A node keeps positions of earlier polls that are at least this many milliseconds apart. After a
/// lost connection, the node polls again from one of these positions.
pub const DIGEST_POSITIONS_APART_MS: i64 = 1_000;

const _: () = assert!(SETTLE_BATCH_MAX <= SLOT_QUEUE_MAX, "a batch must fit in a queue");
const _: () = assert!(
    PARK_MS < DECIDE_WITHIN_MS,
    "after the longest parking time, a ticket must still have time to be settled"
);
const _: () = assert!(
    SLOT_QUEUE_AGE_MAX_MS < DECIDE_WITHIN_MS / 2,
    "the last ticket in a full queue must still have time to be settled"
);
const _: () = assert!(
    STOCK_MAX <= u32::MAX as u64,
    "free and held units must fit together in one atomic word"
);
const _: () = assert!(
    DELIVERIES_IN_FLIGHT_MAX <= DELIVERY_WINDOW && DELIVERY_WINDOW <= DELIVERIES_PENDING_MAX,
    "the window must have room for the events in delivery, and all its events may become pending"
);
const _: () = assert!(
    1 < DELIVERY_REFUSALS && DELIVERY_REFUSALS < DELIVERY_TRIES,
    "one refusal must not make an event a dead letter"
);
const _: () = assert!(
    PROVIDER_GRACE_MS < PROVIDER_CHECK_WITHIN_MS,
    "a failed query must not extend the longest wait"
);
const _: () = assert!(UNITS_MAX < 1 << 24, "the units must fit in three bytes of a ticket id");
