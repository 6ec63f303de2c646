//! The rows of the truth, as the rules see them.
use crate::id::TicketId;
use crate::spread::Counter;
use crate::value::{
    BuyerId, Epoch, GrantId, ItemId, Millis, RecallId, RequestKey, Seq, SlotKey, Stock, TicketN,
    Units,
};

/// An item on sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number.
    pub id: ItemId,
    /// What there is to sell, as raised and lowered so far.
    pub total: Stock,
    /// Units that no slot holds and no order has. 0 for unlimited stock.
    pub pool: u64,
    /// Units that one buyer may hold in active orders.
    pub limit: u32,
    /// Payment window in milliseconds.
    pub hold_ms: i64,
    /// Units of orders that were settled and then ended (cancelled, expired, refunded).
    pub ended: u64,
    /// Units of orders that are paid now.
    pub paid: u64,
    /// Places in its line ([`crate::line`]): buyers who wait for a unit that comes back.
    pub waiting: u64,
}

impl Item {
    /// Units in the pool that those in line have before others: one for each place.
    #[must_use]
    pub fn kept_for_waitlist(&self) -> u64 {
        self.pool.min(self.waiting)
    }
}

/// A place in an item's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitlistEntry {
    /// The id that its order will have.
    pub id: TicketId,
    /// Of which item.
    pub item: ItemId,
    /// The turn; also the number under the line's grant.
    pub n: TicketN,
    /// Whose.
    pub buyer: BuyerId,
    /// The key of the request that asked for it, and of the order that it becomes.
    pub key: RequestKey,
    /// What became of it.
    pub state: WaitlistState,
    /// When it was taken.
    pub joined_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
}

/// What became of a place in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitlistState {
    /// No unit came back yet.
    Waiting,
    /// It is an order.
    Served,
    /// Its buyer gave it up.
    Left,
    /// When its turn came, its buyer held as much as the limit allows; or its sale ended before.
    PassedOver,
}

impl WaitlistState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Waiting, Self::Served, Self::Left, Self::PassedOver];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Served => "served",
            Self::Left => "left",
            Self::PassedOver => "passed_over",
        }
    }

    /// The state that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == word)
    }
}

/// Units that the truth gave to one slot for one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Random id.
    pub id: GrantId,
    /// Which slot.
    pub slot: SlotKey,
    /// The slot's epoch under this grant.
    pub epoch: Epoch,
    /// Units given so far, less what was recalled. 0 for unlimited stock.
    pub granted: u64,
    /// Units settled (consumed) under it.
    pub settled: u64,
    /// Whether the item's stock is counted.
    pub counted: bool,
    /// Whether tickets of it may still be consumed. A slot has at most one open grant.
    pub open: bool,
    /// Whether the slot said that it took it.
    pub acked: bool,
    /// Highest ticket number resolved.
    pub max_n: TicketN,
    /// Ticket numbers resolved.
    pub resolved: u64,
    /// Length of its feed.
    pub feed_len: Seq,
    /// Why it was closed.
    pub closed: Option<CloseCause>,
}

impl Grant {
    /// Units that its slot may still hand out, or has handed out in tickets not yet settled.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.granted.saturating_sub(self.settled)
    }
}

/// Why a grant was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CloseCause {
    /// The sale closed.
    Ended,
    /// The slot's memory was full, its settings changed, or its sale paused: drained, then rolled
    /// to a new epoch.
    Rolled,
    /// The slot's process ended: its lease lapsed, or the program started again.
    LeaseLapsed,
    /// The slot lost its epoch.
    EpochMissing,
    /// The slot has another epoch.
    EpochForeign,
    /// The slot counted fewer tickets than the truth has seen.
    NumberBehind,
    /// A ticket's number belonged to another ticket.
    NumberReused,
    /// A ticket asked for more than was granted.
    OverGranted,
    /// At rest, the slot's units differ from the truth.
    QuietMismatch,
    /// It was never open: the grant of an item's line, which no slot has.
    Waitlist,
}

impl CloseCause {
    /// Every cause.
    pub const ALL: &[Self] = &[
        Self::Ended,
        Self::Rolled,
        Self::LeaseLapsed,
        Self::EpochMissing,
        Self::EpochForeign,
        Self::NumberBehind,
        Self::NumberReused,
        Self::OverGranted,
        Self::QuietMismatch,
        Self::Waitlist,
    ];

    /// Whether this closing repaired a slot that failed (and counts as a repair), rather than being
    /// planned.
    #[must_use]
    pub fn is_fault(self) -> bool {
        !matches!(self, Self::Ended | Self::Rolled | Self::LeaseLapsed | Self::Waitlist)
    }

    /// The word for it in rows, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Rolled => "rolled",
            Self::LeaseLapsed => "lease_lapsed",
            Self::EpochMissing => "epoch_missing",
            Self::EpochForeign => "epoch_foreign",
            Self::NumberBehind => "number_behind",
            Self::NumberReused => "number_reused",
            Self::OverGranted => "over_granted",
            Self::QuietMismatch => "quiet_mismatch",
            Self::Waitlist => "waitlist",
        }
    }
}

/// Why a feed row exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeedCause {
    /// Units from the pool.
    Refill,
    /// A ticket was not consumed: its units and its share of the limit come back, and the request
    /// is forgotten.
    Returned,
    /// An order ended: its share of the limit comes back (its units went to the pool).
    OrderEnded,
    /// An ended order was paid late and is active again: the slot counts its share of the limit
    /// again.
    OrderRevived,
    /// Units recalled from another slot for this one.
    Recalled,
}

impl FeedCause {
    /// The word for it in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refill => "refill",
            Self::Returned => "returned",
            Self::OrderEnded => "order_ended",
            Self::OrderRevived => "order_revived",
            Self::Recalled => "recalled",
        }
    }
}

/// One thing that a slot must learn, in its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRow {
    /// Whose feed.
    pub grant: GrantId,
    /// Its turn, from 1.
    pub seq: Seq,
    /// The ticket that was returned, whose request the slot forgets.
    pub ticket: Option<TicketId>,
    /// Whose share of the limit changes.
    pub buyer: Option<BuyerId>,
    /// The request to forget, if known: a verdict forced from an id alone does not know it, and the
    /// slot looks for the ticket instead.
    pub key: Option<RequestKey>,
    /// Units that become available.
    pub units: u64,
    /// In which of the slot's counters.
    pub counter: Counter,
    /// By how many units the buyer's share changes (negative: given back).
    pub quota_delta: i64,
    /// Why.
    pub cause: FeedCause,
}

/// The one verdict of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Consumed: the order of this id exists.
    Reserved,
    /// Returned, because the request already holds this order.
    Order(TicketId),
    /// Returned, because the request's key holds an order with other content.
    KeyReused,
    /// Returned, because the buyer's limit does not allow it.
    LimitReached,
    /// Returned: too late, or its grant was closed.
    Unavailable,
}

/// The record that a ticket was resolved. A consumed ticket's record is its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Which ticket.
    pub ticket: TicketId,
    /// Under which grant.
    pub grant: GrantId,
    /// Its number, unless that belonged to another ticket.
    pub n: Option<TicketN>,
    /// The verdict.
    pub verdict: Verdict,
}

/// An order's state. `reserved → paid | cancelled | expired`, `paid → refunded`; an ended order
/// paid late is paid again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OrderState {
    /// Units are held until `pay_by`.
    Reserved,
    /// Paid for.
    Paid,
    /// Given up by the buyer or an operator.
    Cancelled,
    /// Not paid in time.
    Expired,
    /// Paid and refunded.
    Refunded,
}

impl OrderState {
    /// Every state.
    pub const ALL: &[Self] =
        &[Self::Reserved, Self::Paid, Self::Cancelled, Self::Expired, Self::Refunded];

    /// Whether its units are taken.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Reserved | Self::Paid)
    }

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Paid => "paid",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Refunded => "refunded",
        }
    }

    /// The state that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == word)
    }
}

/// An order: a promise, durable before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The id of its ticket.
    pub id: TicketId,
    /// What was bought.
    pub item: ItemId,
    /// By whom.
    pub buyer: BuyerId,
    /// Under which request key; one order for each (buyer, key).
    pub key: RequestKey,
    /// How many.
    pub units: Units,
    /// Its state.
    pub state: OrderState,
    /// The grant that its ticket was consumed under.
    pub grant: GrantId,
    /// Its ticket's number.
    pub n: TicketN,
    /// When it was created (store time).
    pub reserved_at: Millis,
    /// Until when it can be paid.
    pub pay_by: Millis,
    /// When it was paid.
    pub paid_at: Option<Millis>,
    /// When it was cancelled, expired or refunded.
    pub ended_at: Option<Millis>,
}

/// Where recalled units go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecallTarget {
    /// To the item's pool.
    Pool,
    /// To another slot, through its open grant.
    Grant(GrantId),
}

/// Units on their way out of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recall {
    /// Random id, under which the slot remembers what it gave.
    pub id: RecallId,
    /// The grant they come from.
    pub grant: GrantId,
    /// Where they go.
    pub target: RecallTarget,
    /// At most how many were asked for.
    pub asked: u64,
    /// How many left the grant.
    pub taken: u64,
    /// Whether it is finished.
    pub done: bool,
}
