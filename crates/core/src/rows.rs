//! The rows of the store, in the form that the rules of this crate use.
use crate::id::TicketId;
use crate::spread::Counter;
use crate::value::{
    BuyerId, Epoch, GrantId, ItemId, Millis, RecallId, RequestKey, Seq, SlotKey, Stock, TicketN,
    Units,
};

pub use doorbuster_types::{CloseCause, FeedCause, OrderState, WaitlistState};

/// An item on sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The item's number.
    pub id: ItemId,
    /// The total stock, after all changes by operators.
    pub total: Stock,
    /// Units that are neither in a slot nor in an active order. 0 for unlimited stock.
    pub pool: u64,
    /// Units that one buyer may hold in active orders.
    pub limit: u32,
    /// Payment window in milliseconds.
    pub hold_ms: i64,
    /// Units of all orders that are now cancelled, expired or refunded.
    pub ended: u64,
    /// Units of orders that are paid now.
    pub paid: u64,
    /// The number of waiting entries in the item's waitlist ([`crate::waitlist`]).
    pub waiting: u64,
}

impl Item {
    /// Returns how many units of the pool are kept for the waitlist. This is one unit for each
    /// entry, or the whole pool if there are more entries than units.
    #[must_use]
    pub fn kept_for_waitlist(&self) -> u64 {
        self.pool.min(self.waiting)
    }
}

/// An entry in an item's waitlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitlistEntry {
    /// The entry's id. If the entry becomes an order, the order has the same id.
    pub id: TicketId,
    /// The item.
    pub item: ItemId,
    /// The entry's number. The entry with the lowest number is served first.
    pub n: TicketN,
    /// The buyer.
    pub buyer: BuyerId,
    /// The key of the request with which the buyer joined. The entry's order gets the same key.
    pub key: RequestKey,
    /// The state.
    pub state: WaitlistState,
    /// When the buyer joined.
    pub joined_at: Millis,
    /// When the entry ended.
    pub ended_at: Option<Millis>,
}

/// The units that the store gave to one slot for one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The random id of the grant.
    pub id: GrantId,
    /// The slot that has the grant.
    pub slot: SlotKey,
    /// The slot's epoch under this grant.
    pub epoch: Epoch,
    /// All units that the grant got, minus the units that were recalled. 0 for unlimited stock.
    pub granted: u64,
    /// Units of the grant whose tickets became orders.
    pub settled: u64,
    /// Whether the item's stock is limited. The units of unlimited stock are not counted.
    pub counted: bool,
    /// Whether tickets of the grant can still become orders. A slot has at most one open grant.
    pub open: bool,
    /// Whether the slot confirmed the grant.
    pub acked: bool,
    /// The highest ticket number that was resolved.
    pub max_n: TicketN,
    /// How many ticket numbers were resolved.
    pub resolved: u64,
    /// The length of the grant's feed.
    pub feed_len: Seq,
    /// Why the grant was closed.
    pub closed: Option<CloseCause>,
}

impl Grant {
    /// Returns the granted units that no order has: the units that the slot can still sell, and the
    /// units of unsettled tickets.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.granted.saturating_sub(self.settled)
    }
}

/// A row of a grant's feed: one change that the grant's slot must apply. The slot applies the rows
/// in sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRow {
    /// The grant of the feed.
    pub grant: GrantId,
    /// The row's number in the feed, from 1.
    pub seq: Seq,
    /// For a credit: the returned ticket. The slot forgets the request of this ticket.
    pub ticket: Option<TicketId>,
    /// The buyer whose quota changes.
    pub buyer: Option<BuyerId>,
    /// For a credit: the key of the request that the slot forgets. The key is `None` if the store
    /// decided the ticket from its id alone. In this case, the slot finds the request by the
    /// ticket's number or token.
    pub key: Option<RequestKey>,
    /// Units that become available.
    pub units: u64,
    /// The counter that gets the units.
    pub counter: Counter,
    /// The change of the buyer's quota, in units. It is negative if the quota falls.
    pub quota_delta: i64,
    /// The cause of the row.
    pub cause: FeedCause,
}

/// The final result of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The ticket was consumed: the order with the ticket's id exists.
    Reserved,
    /// The ticket was returned, because the request already holds this order.
    Order(TicketId),
    /// The ticket was returned, because the request key already holds an order for another item or
    /// another number of units.
    KeyReused,
    /// The ticket was returned, because the buyer's limit does not allow the order.
    LimitReached,
    /// The ticket was returned, because the ticket came too late, or because its grant was closed.
    Unavailable,
}

/// The record of a ticket's verdict. For a ticket that became an order, this record is derived from
/// the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The ticket.
    pub ticket: TicketId,
    /// The ticket's grant.
    pub grant: GrantId,
    /// The ticket's number. `None` if another ticket of the grant already has this number.
    pub n: Option<TicketN>,
    /// The verdict.
    pub verdict: Verdict,
}

/// An order. It is in the store before the server answers the buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The order's id, which is the id of the order's ticket.
    pub id: TicketId,
    /// The item.
    pub item: ItemId,
    /// The buyer.
    pub buyer: BuyerId,
    /// The request key. A buyer has at most one order for each key.
    pub key: RequestKey,
    /// The units.
    pub units: Units,
    /// The order's state.
    pub state: OrderState,
    /// The grant under which the order's ticket was consumed.
    pub grant: GrantId,
    /// The ticket's number.
    pub n: TicketN,
    /// When the order was created (store time).
    pub reserved_at: Millis,
    /// The time until which the order can be paid.
    pub pay_by: Millis,
    /// When the order was paid.
    pub paid_at: Option<Millis>,
    /// When the order was cancelled, expired or refunded.
    pub ended_at: Option<Millis>,
}

impl Order {
    /// Returns whether this order is for this number of units of this item. If not, a request that
    /// has the order's key asks for something else, and so reuses the key.
    #[must_use]
    pub fn is_for(&self, item: ItemId, units: Units) -> bool {
        (self.item, self.units) == (item, units)
    }

    /// How long a payment link to an order works after the order was paid or ended, in
    /// milliseconds. A person who pays through the link has no buyer's token, and can see the
    /// result only through the link.
    pub const LINK_AFTER_END_MS: i64 = 3_600_000;

    /// Returns whether a link to this order works. The link works until the order is paid or ends,
    /// and for [`Order::LINK_AFTER_END_MS`] after that.
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

/// The destination of recalled units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecallTarget {
    /// The item's pool.
    Pool,
    /// The open grant of another slot, which gets the units.
    Grant(GrantId),
}

/// The transfer of units out of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recall {
    /// The random id under which the slot remembers the recalled units.
    pub id: RecallId,
    /// The grant that gives the units.
    pub grant: GrantId,
    /// The target.
    pub target: RecallTarget,
    /// The most units requested.
    pub asked: u64,
    /// Units that left the grant.
    pub taken: u64,
    /// Whether the recall is finished.
    pub done: bool,
}
