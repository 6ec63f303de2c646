//! The rows of the store, as the rules see them.
use crate::id::TicketId;
use crate::spread::Counter;
use crate::value::{
    BuyerId, Epoch, GrantId, ItemId, Millis, RecallId, RequestKey, Seq, SlotKey, Stock, TicketN,
    Units,
};

/// An item on sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The item's number.
    pub id: ItemId,
    /// The total stock, after all changes by operators.
    pub total: Stock,
    /// Units that no slot holds and no active order has. 0 for unlimited stock.
    pub pool: u64,
    /// Units that one buyer may hold in active orders.
    pub limit: u32,
    /// Payment window in milliseconds.
    pub hold_ms: i64,
    /// Units of orders that were settled and then ended (cancelled, expired, refunded).
    pub ended: u64,
    /// Units of orders that are paid now.
    pub paid: u64,
    /// Entries in its waitlist ([`crate::waitlist`]).
    pub waiting: u64,
}

impl Item {
    /// Units in the pool that are reserved for the waitlist: one for each entry.
    #[must_use]
    pub fn kept_for_waitlist(&self) -> u64 {
        self.pool.min(self.waiting)
    }
}

/// An entry in an item's waitlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitlistEntry {
    /// The id of the order that it may become.
    pub id: TicketId,
    /// The item.
    pub item: ItemId,
    /// The turn; also the ticket number under the waitlist's grant.
    pub n: TicketN,
    /// The buyer.
    pub buyer: BuyerId,
    /// The key of the request that joined, and of the order that it becomes.
    pub key: RequestKey,
    /// The state.
    pub state: WaitlistState,
    /// When the buyer joined.
    pub joined_at: Millis,
    /// When it ended.
    pub ended_at: Option<Millis>,
}

/// The state of a waitlist entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitlistState {
    /// No unit came back yet.
    Waiting,
    /// It became an order.
    Served,
    /// The buyer left the waitlist.
    Left,
    /// The buyer had reached the limit when a unit was available, or the sale ended.
    PassedOver,
}

impl WaitlistState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Waiting, Self::Served, Self::Left, Self::PassedOver];

    /// The name in rows and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Served => "served",
            Self::Left => "left",
            Self::PassedOver => "passed_over",
        }
    }

    /// Parses a state's name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == word)
    }
}

/// The units that the store gave to one slot for one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Random id.
    pub id: GrantId,
    /// Which slot.
    pub slot: SlotKey,
    /// The slot's epoch under this grant.
    pub epoch: Epoch,
    /// Units given so far, minus recalled units. 0 for unlimited stock.
    pub granted: u64,
    /// Units settled (consumed) under it.
    pub settled: u64,
    /// Whether the item's stock is counted.
    pub counted: bool,
    /// Whether its tickets can still be consumed. A slot has at most one open grant.
    pub open: bool,
    /// Whether the slot confirmed it.
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
    /// Units that its slot may still issue tickets for, or has issued tickets for that are not
    /// settled.
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
    /// The slot's memory was full, its settings changed, or its sale paused: it was drained, then
    /// rolled to a new epoch.
    Rolled,
    /// The slot's process ended: its lease lapsed, or the program started again.
    LeaseLapsed,
    /// The slot lost its epoch.
    EpochMissing,
    /// The slot has another epoch.
    EpochForeign,
    /// The slot counted fewer tickets than the store has seen.
    NumberBehind,
    /// A ticket's number belonged to another ticket.
    NumberReused,
    /// A ticket asked for more than was granted.
    OverGranted,
    /// In an idle slot, the units differ from the store's.
    QuietMismatch,
    /// Never open: the grant of an item's waitlist, which no slot has.
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

    /// Whether this closing repaired a failed slot (and counts as a repair), and was not planned.
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
    /// A ticket was returned: its units and its quota come back, and the slot forgets the request.
    Returned,
    /// An order ended: its quota comes back (its units went to the pool).
    OrderEnded,
    /// A late payment made an ended order active again: the slot counts its quota again.
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

/// One change that a slot must apply, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRow {
    /// The grant of the feed.
    pub grant: GrantId,
    /// Its number in the feed, from 1.
    pub seq: Seq,
    /// The ticket that was returned, whose request the slot forgets.
    pub ticket: Option<TicketId>,
    /// The buyer whose quota changes.
    pub buyer: Option<BuyerId>,
    /// The request to forget, if known. A verdict that is forced from an id alone has none, and the
    /// slot looks for the ticket instead.
    pub key: Option<RequestKey>,
    /// Units that become available.
    pub units: u64,
    /// The counter that gets the units.
    pub counter: Counter,
    /// By how many units the buyer's quota changes (negative: given back).
    pub quota_delta: i64,
    /// Why.
    pub cause: FeedCause,
}

/// The final result of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Consumed: the order of this id exists.
    Reserved,
    /// Returned, because the request holds this order already.
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

/// An order's state. `reserved → paid | cancelled | expired`, `paid → refunded`; a late payment can
/// make an ended order paid again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OrderState {
    /// Units are held until `pay_by`.
    Reserved,
    /// Paid for.
    Paid,
    /// Cancelled by the buyer or an operator.
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

    /// Whether the order is active.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Reserved | Self::Paid)
    }

    /// The name in rows, JSON and metrics.
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

    /// Parses a state's name.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == word)
    }
}

/// An order, which is stored before the buyer gets an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The id of its ticket.
    pub id: TicketId,
    /// The item.
    pub item: ItemId,
    /// The buyer.
    pub buyer: BuyerId,
    /// The request key; each (buyer, key) has one order.
    pub key: RequestKey,
    /// The units.
    pub units: Units,
    /// Its state.
    pub state: OrderState,
    /// The grant under which its ticket was consumed.
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

impl Order {
    /// How long a link shows an order that can no longer be paid, so that whoever paid by the link
    /// sees the result.
    pub const LINK_AFTER_END_MS: i64 = 3_600_000;

    /// Whether a link opens this order: while it can be paid, and for a while after that.
    #[must_use]
    pub fn opens_by_link(&self, now: Millis) -> bool {
        let ended_at = match self.state {
            OrderState::Reserved => return true,
            OrderState::Paid => self.paid_at,
            OrderState::Cancelled | OrderState::Expired | OrderState::Refunded => self.ended_at,
        };
        ended_at.is_some_and(|at| now < at.plus(Self::LINK_AFTER_END_MS))
    }
}

/// Where recalled units go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecallTarget {
    /// To the item's pool.
    Pool,
    /// To another slot, through its open grant.
    Grant(GrantId),
}

/// The transfer of units out of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recall {
    /// Random id, under which the slot remembers the units that it gave up.
    pub id: RecallId,
    /// The grant that gives the units.
    pub grant: GrantId,
    /// The target.
    pub target: RecallTarget,
    /// The most units requested.
    pub asked: u64,
    /// Units that left the grant.
    pub taken: u64,
    /// Whether it is finished.
    pub done: bool,
}
