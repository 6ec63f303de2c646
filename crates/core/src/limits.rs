//! Every capacity, timeout and number of retries in the protocol. Each comment says what happens
//! when the value is reached.

/// The largest number of units in one request. The server refuses a request for more.
pub const UNITS_MAX: u32 = doorbuster_types::UNITS_MAX;
/// The largest limited stock of one item. The server refuses a larger number.
pub const STOCK_MAX: u64 = 1_000_000_000;
/// The greatest length of an id, and of an idempotency key, in bytes. The server refuses longer
/// values.
pub const NAME_BYTES_MAX: usize = doorbuster_types::NAME_BYTES_MAX;
/// The largest number of tickets that one transaction settles. If there are more, the rest waits
/// for the next transaction.
pub const SETTLE_BATCH_MAX: usize = 500;
/// The largest number of tickets that wait in one slot's queue. If the queue is full, the slot
/// answers [`crate::slot::TicketAnswer::Full`] and deducts nothing.
pub const SLOT_QUEUE_MAX: usize = 65_536;
/// The greatest age of the oldest ticket in one slot's queue, in milliseconds. If the oldest ticket
/// is older, the slot answers "full", because a new ticket would be settled too late and returned.
pub const SLOT_QUEUE_AGE_MAX_MS: i64 = 3_000;
/// The largest number of requests that one slot remembers. A slot that remembers so many is sealed:
/// it issues no tickets for new requests. The slot is then drained and moved to a new epoch.
pub const SLOT_REQUESTS_MAX: usize = 4_000_000;
/// The largest number of recalls that one slot remembers under one grant. A slot that remembers so
/// many refuses further recalls and is sealed. The slot is then drained and moved to a new epoch.
pub const SLOT_RECALLS_MAX: usize = 65_536;
/// The largest number of partitions of an item. The server refuses more.
pub const PARTITIONS_MAX: u32 = 64;
/// The largest number of slots in Redis whose queues one node reads. The slots of all sales that
/// may be open at the same time count together. The server refuses a sale that would exceed this
/// number.
pub const SLOTS_SERVED_MAX: usize = 1_024;
/// The time from the creation of a ticket's token until the ticket's `decide_by`, after which the
/// ticket can no longer become an order.
pub const DECIDE_WITHIN_MS: i64 = 10_000;
/// While the store is up, a ticket gets its verdict at most this many milliseconds after its
/// `decide_by`.
pub const VERDICT_GRACE_MS: i64 = 1_000;
/// The greatest age of an edge's copy of the nodes' memory, in milliseconds. An edge with an older
/// copy refuses no request.
pub const FEED_AGE_MAX_MS: i64 = 2_000;
/// The longest time for which a request is parked. During this time, a commit, a refill or a recall
/// may bring units for the request.
pub const PARK_MS: i64 = 1_000;
/// The largest number of requests that are parked on one node. A further request gets the answer
/// "overloaded".
pub const PARKED_MAX: usize = 20_000;
/// The longest payment window, in seconds. The server refuses a longer window.
pub const HOLD_SECS_MAX: u32 = 86_400;
/// The largest number of entries in one item's waitlist. A full waitlist accepts no more entries.
pub const WAITLIST_ENTRIES_MAX: u64 = 10_000;
/// The largest number of waitlist entries that one transaction serves or ends. If there are more,
/// the rest waits for the next transaction.
pub const WAITLIST_BATCH_MAX: usize = 100;
/// The longest payment window of an order that was created from a waitlist entry, in milliseconds.
/// This window is short, because other buyers wait for the same unit. If the item's own payment
/// window is shorter, the item's window applies.
pub const WAITLIST_HOLD_MS: i64 = 5 * 60_000;
/// When an order is overdue, the server asks the provider whether the order was paid. If the
/// provider does not answer, the order keeps its units for this many milliseconds after the first
/// failed query. Then the order expires. Money that arrives after that is a late payment.
pub const PROVIDER_GRACE_MS: i64 = 120_000;
/// The longest time that an overdue order keeps its units after its `pay_by`, in milliseconds. The
/// order then expires even if the server has not queried its provider, for example because too many
/// orders were overdue.
pub const PROVIDER_CHECK_WITHIN_MS: i64 = 30 * 60_000;
/// The latest `pay_by` that an operator can set, in milliseconds from now. Later times are refused.
pub const EXTEND_MS_MAX: i64 = 30 * 86_400_000;
/// The largest number of failed requests to a provider for one refund. After that, the refund has
/// failed, and an operator must resolve it.
pub const REFUND_TRIES_MAX: u32 = 12;
/// The largest number of failed deliveries of one event to one endpoint, unless the settings give
/// another number. After that, the event is a dead letter. Together with the pauses between them,
/// 20 failed deliveries take a day and a half.
pub const DELIVERY_TRIES: u32 = 20;
/// The largest value of the setting `webhooks.tries`, which replaces [`DELIVERY_TRIES`].
pub const DELIVERY_TRIES_MAX: u32 = 50;
/// If an endpoint refuses one event this many times in a row, the event can become a dead letter.
/// Usually, the time [`DELIVERY_REFUSED_MS`] must have passed too. After any other failure of the
/// endpoint, the count starts again. Six refusals, with the pauses between them, take half a
/// minute. So an endpoint that refuses events of one type, and accepts events of other types, soon
/// gets the events of the other types.
pub const DELIVERY_REFUSALS: u32 = 6;
/// The shortest time from the first refusal of an event until the event becomes a dead letter, in
/// milliseconds. A shop may answer `404` while it deploys a new version of itself. A deployment
/// usually takes less than these ten minutes. If the number of refused events is at least half of
/// [`DELIVERIES_PENDING_MAX`], an event can become a dead letter sooner.
pub const DELIVERY_REFUSED_MS: i64 = 600_000;
/// The longest pause between two attempts to deliver a refused event, in milliseconds. The pause is
/// short, so that the shop gets the event soon after the shop stops refusing it.
pub const REFUSED_PAUSE_MAX_MS: i64 = 60_000;
/// If this server could not send an event, it tries again after a pause. This is the longest such
/// pause, in milliseconds.
pub const DEFERRED_PAUSE_MAX_MS: i64 = 60_000;
/// If this server could not send an event this many times in a row, the event becomes a dead
/// letter. These attempts, with the pauses between them, take a day and a half.
pub const DEFERRALS_MAX: u32 = 2_160;
/// The largest number of events that are being sent to one endpoint at the same time. Further
/// events wait.
pub const DELIVERIES_IN_FLIGHT_MAX: usize = 8;
/// The largest number of events that the server reads ahead of an endpoint's position.
pub const DELIVERY_WINDOW: usize = 256;
/// The largest number of events that wait for another attempt at one endpoint. If so many events
/// wait, the endpoint gets no new events until a waiting event is delivered, dead or discarded.
pub const DELIVERIES_PENDING_MAX: usize = 1_000;
/// If this many events in a row fail, the endpoint counts as down. From then on, the server sends
/// the endpoint one event at a time, until the endpoint accepts an event.
pub const BREAKER_FAILURES: usize = 5;
/// How often in a row the server tries the same event at an endpoint that is down, before it tries
/// another event.
pub const BREAKER_TRIES_PER_EVENT: u32 = 3;
/// While an endpoint is down, the pause between two attempts doubles after each group of this many
/// attempts. So after a short failure, the pauses are still short.
pub const BREAKER_TRIES_PER_PAUSE: u32 = 4;
/// The longest pause between two attempts at an endpoint that is down, in milliseconds. The
/// endpoint may have recovered after this time. So the server then tries an event even if the
/// event's next attempt is due later.
pub const BREAKER_PAUSE_MAX_MS: i64 = 60_000;
/// After a failover, the server skips this many event positions, and gives only later positions to
/// new events. If the failover lost at most this many events, no new event gets the position of a
/// lost event.
pub const LOST_POSITIONS_MAX: i64 = 1_000_000;

/// If a node's previous poll is older than this many milliseconds, some commit digests that the
/// node has not read may have been deleted. So the node reads all orders again.
pub const DIGESTS_READ_WITHIN_MS: i64 = 300_000;
/// How far back a poll for digests starts after a lost connection, in milliseconds. Thirty seconds
/// are enough, because PostgreSQL writes every commit to its disk within about a second, even with
/// `synchronous_commit = off`.
pub const DIGEST_POLL_REWIND_MS: i64 = 30_000;
/// A node keeps the positions of earlier polls, at least this many milliseconds apart. After a lost
/// connection, the node polls again from one of these positions.
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
    "the free units and the held units must fit into one atomic word"
);
const _: () = assert!(
    DELIVERIES_IN_FLIGHT_MAX <= DELIVERY_WINDOW && DELIVERY_WINDOW <= DELIVERIES_PENDING_MAX,
    "the window must fit all events in delivery, and the pending list must fit a full window"
);
const _: () = assert!(
    1 < DELIVERY_REFUSALS && DELIVERY_REFUSALS < DELIVERY_TRIES,
    "one refusal must not make an event a dead letter"
);
const _: () = assert!(
    PROVIDER_GRACE_MS < PROVIDER_CHECK_WITHIN_MS,
    "after a failed query, an order must not wait longer than the longest allowed wait"
);
const _: () = assert!(UNITS_MAX < 1 << 24, "the units must fit in three bytes of a ticket id");
