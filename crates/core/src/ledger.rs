//! The rows that a transaction of the store reads and writes.
//!
//! Each transaction of the store runs a function of this crate between BEGIN and COMMIT. The
//! function reads and writes through a `Ledger`. If two transactions use the same grant or item,
//! the store runs them one after the other.
use crate::event::{Actor, Event};
use crate::id::TicketId;
use crate::money::{Checkout, Money, Payment, PaymentId, Refund, RefundId, Reversal, ReversalKey};
use crate::rows::{FeedRow, Grant, Item, Order, Recall, Resolution, WaitlistEntry};
use crate::value::{
    BuyerId, Epoch, GrantId, ItemId, Millis, RecallId, RequestKey, SlotKey, TicketN,
};

/// Access to rows within a transaction. Reads see this transaction's own writes.
pub trait Ledger {
    /// The error of a store that cannot read or write rows. The store then rolls the transaction
    /// back.
    type Error;

    /// Returns the item.
    fn item(&mut self, item: ItemId) -> Result<Option<Item>, Self::Error>;
    /// Writes five fields of an item: `total`, `pool`, `ended`, `paid` and `waiting`. The functions
    /// of this crate change no other field of an item.
    fn put_item(&mut self, item: &Item) -> Result<(), Self::Error>;

    /// Returns true if the item's sale is announced or open. Returns false if the sale is a draft,
    /// paused or ended.
    fn on_sale(&mut self, item: ItemId) -> Result<bool, Self::Error>;
    /// Returns whether the item's sale has ended. An ended sale never starts again.
    fn has_ended(&mut self, item: ItemId) -> Result<bool, Self::Error>;

    /// Returns the grant. The grant stays locked until the transaction ends.
    fn grant(&mut self, grant: GrantId) -> Result<Option<Grant>, Self::Error>;
    /// Returns the slot's open grant.
    fn open_grant(&mut self, slot: SlotKey) -> Result<Option<Grant>, Self::Error>;
    /// Returns every open grant of an item, sorted by slot.
    fn open_grants(&mut self, item: ItemId) -> Result<Vec<Grant>, Self::Error>;
    /// Returns the unsettled units in an item's open grants. This method does not lock the grants.
    /// While this transaction has the item locked, no units move between slots and the pool. But
    /// other transactions may settle tickets.
    fn in_slots(&mut self, item: ItemId) -> Result<u64, Self::Error>;
    /// Returns the highest epoch that any grant of the slot had, or 0 if the slot had no grant.
    fn last_epoch(&mut self, slot: SlotKey) -> Result<Epoch, Self::Error>;
    /// Writes a grant, new or changed.
    fn put_grant(&mut self, grant: &Grant) -> Result<(), Self::Error>;
    /// Appends a feed row. The row's `seq` is equal to the grant's new `feed_len`.
    fn append_feed(&mut self, row: &FeedRow) -> Result<(), Self::Error>;

    /// Returns the resolution of a ticket. If the ticket became an order, the resolution is made
    /// from the order.
    fn resolution(&mut self, ticket: &TicketId) -> Result<Option<Resolution>, Self::Error>;
    /// Returns the ticket that has this number.
    fn ticket_of(&mut self, grant: GrantId, n: TicketN) -> Result<Option<TicketId>, Self::Error>;
    /// Records the resolution of a returned ticket. For a consumed ticket, [`Ledger::insert_order`]
    /// records the resolution.
    fn insert_resolution(&mut self, resolution: &Resolution) -> Result<(), Self::Error>;

    /// Returns the order with this id.
    fn order(&mut self, id: &TicketId) -> Result<Option<Order>, Self::Error>;
    /// Returns the order that the buyer got with this request key.
    fn order_of(&mut self, buyer: &BuyerId, key: &RequestKey)
    -> Result<Option<Order>, Self::Error>;
    /// Returns all orders of the buyer for one item. There are only a few.
    fn orders_of_buyer(&mut self, buyer: &BuyerId, item: ItemId)
    -> Result<Vec<Order>, Self::Error>;
    /// Returns an order of the buyer under this grant that expired, or that was cancelled by the
    /// actor `by`. If `by` is `None`, an order that any actor cancelled also matches. If there are
    /// several such orders, returns the order with the lowest ticket number.
    fn first_unpaid(
        &mut self,
        grant: GrantId,
        buyer: &BuyerId,
        by: Option<&Actor>,
    ) -> Result<Option<Order>, Self::Error>;
    /// Inserts a new order.
    fn insert_order(&mut self, order: &Order) -> Result<(), Self::Error>;
    /// Writes the fields of an order that can change: its state, `pay_by`, `paid_at` and
    /// `ended_at`.
    fn put_order(&mut self, order: &Order) -> Result<(), Self::Error>;

    /// Returns the buyer's quota: the units that the buyer has in active orders of an item.
    fn quota(&mut self, item: ItemId, buyer: &BuyerId) -> Result<u32, Self::Error>;
    /// Writes the buyer's quota.
    fn put_quota(&mut self, item: ItemId, buyer: &BuyerId, used: u32) -> Result<(), Self::Error>;

    /// Returns the recall.
    fn recall(&mut self, id: RecallId) -> Result<Option<Recall>, Self::Error>;
    /// Returns the recalls of this grant that are not done.
    fn pending_recalls(&mut self, grant: GrantId) -> Result<Vec<Recall>, Self::Error>;
    /// Writes a recall, new or changed.
    fn put_recall(&mut self, recall: &Recall) -> Result<(), Self::Error>;

    /// Returns the grant of an item's waitlist. The grant stays locked until the transaction ends.
    fn waitlist(&mut self, item: ItemId) -> Result<Option<Grant>, Self::Error>;
    /// Returns the waitlist entry with this id.
    fn waitlist_entry(&mut self, id: &TicketId) -> Result<Option<WaitlistEntry>, Self::Error>;
    /// Returns the buyer's entry in the item's waitlist, if the entry still waits.
    fn waitlist_entry_of(
        &mut self,
        item: ItemId,
        buyer: &BuyerId,
    ) -> Result<Option<WaitlistEntry>, Self::Error>;
    /// Returns at most `limit` waiting entries, in the sequence in which the buyers joined.
    fn waiting_entries(
        &mut self,
        item: ItemId,
        limit: usize,
    ) -> Result<Vec<WaitlistEntry>, Self::Error>;
    /// Writes a waitlist entry, new or changed.
    fn put_waitlist_entry(&mut self, entry: &WaitlistEntry) -> Result<(), Self::Error>;

    /// Appends an event.
    fn append_event(&mut self, event: &Event) -> Result<(), Self::Error>;

    /// Returns the price of one unit of an item.
    fn price(&mut self, item: ItemId) -> Result<Option<Money>, Self::Error>;
    /// Returns whether this report of a provider (a webhook, or the answer to a query) was
    /// processed before.
    fn inbox(&mut self, provider: &str, event: &str) -> Result<bool, Self::Error>;
    /// Records that this report of a provider was processed.
    fn insert_inbox(&mut self, provider: &str, event: &str, at: Millis) -> Result<(), Self::Error>;
    /// Returns the payment. The payment stays locked until the transaction ends.
    fn payment(&mut self, id: &PaymentId) -> Result<Option<Payment>, Self::Error>;
    /// Returns the payments that named this order. There are only a few.
    fn payments_of(&mut self, order: &TicketId) -> Result<Vec<Payment>, Self::Error>;
    /// Writes a payment, new or changed.
    fn put_payment(&mut self, payment: &Payment) -> Result<(), Self::Error>;
    /// Returns the refund. The refund stays locked until the transaction ends.
    fn refund(&mut self, id: &RefundId) -> Result<Option<Refund>, Self::Error>;
    /// Writes a refund, new or changed.
    fn put_refund(&mut self, refund: &Refund) -> Result<(), Self::Error>;
    /// Returns the reversal with this key. The caller must already have locked the reversal's
    /// payment.
    fn reversal(&mut self, key: &ReversalKey) -> Result<Option<Reversal>, Self::Error>;
    /// Writes a reversal, new or changed.
    fn put_reversal(&mut self, reversal: &Reversal) -> Result<(), Self::Error>;
    /// Returns the order's newest checkout.
    fn checkout(&mut self, order: &TicketId) -> Result<Option<Checkout>, Self::Error>;
    /// Writes an order's checkout, new or changed.
    fn put_checkout(&mut self, checkout: &Checkout) -> Result<(), Self::Error>;
}
