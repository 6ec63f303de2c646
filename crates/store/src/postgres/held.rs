//! The rows that one transaction holds: read once, changed in memory, written together at its end.
use std::collections::{BTreeMap, HashMap, HashSet};

use doorbuster_core::event::Event;
use doorbuster_core::money::{Checkout, Payment, PaymentId, Refund, RefundId};
use doorbuster_core::{
    BuyerId, Feed, Grant, GrantId, Item, ItemId, Millis, NodeId, Order, Place, Recall, RecallId,
    RequestKey, Resolution, TicketId, TicketN, Verdict,
};

use super::flush::Hint;

/// A row and what the table has of it.
#[derive(Clone, Debug)]
pub(super) struct Kept<T> {
    pub(super) row: T,
    /// What was read; `None`: the row is not in the table yet.
    pub(super) read: Option<T>,
}

impl<T: Clone + PartialEq> Kept<T> {
    /// A row as it was read.
    fn read(row: T) -> Self {
        Self { read: Some(row.clone()), row }
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.read.as_ref() != Some(&self.row)
    }
}

/// A buyer's units of an item: as they are now, and as the table has them (`None`: no row). Written by how much they changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    pub(super) used: u32,
    pub(super) read: Option<u32>,
}

impl Quota {
    /// One that is only taken from, and was not read: more than can be taken.
    pub(super) const UNREAD: Self = Self { used: u32::MAX, read: Some(u32::MAX) };
}

/// Everything that a transaction has in hand. What is under a lock of this transaction is the truth until it ends.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) grants: BTreeMap<GrantId, Kept<Grant>>,
    pub(super) items: BTreeMap<ItemId, Kept<Item>>,
    pub(super) quotas: BTreeMap<(BuyerId, ItemId), Quota>,
    pub(super) recalls: BTreeMap<RecallId, Kept<Recall>>,
    /// Orders by id; those read before, made or changed here.
    pub(super) orders: HashMap<TicketId, Order>,
    /// Orders by request.
    pub(super) requests: HashMap<(BuyerId, RequestKey), TicketId>,
    /// Whose a number is.
    pub(super) numbers: HashMap<(GrantId, TicketN), TicketId>,
    /// Returned tickets.
    pub(super) resolutions: HashMap<TicketId, Resolution>,
    /// Orders to insert, each with the node that waits for it.
    pub(super) made: Vec<(TicketId, NodeId)>,
    /// Orders to update, each once.
    pub(super) changed: Vec<TicketId>,
    is_changed: HashSet<TicketId>,
    /// Resolutions to insert, each with the node that waits for it, if known.
    pub(super) returned: Vec<(TicketId, Option<NodeId>)>,
    /// Feed rows to append.
    pub(super) feed: Vec<Feed>,
    /// Orders made and changed, in the order of their change.
    pub(super) told: Vec<TicketId>,
    /// What happened, to append.
    pub(super) events: Vec<Event>,
    /// Messages of providers to note: provider, message, when.
    pub(super) taken: BTreeMap<(String, String), Millis>,
    pub(super) payments: BTreeMap<PaymentId, Kept<Payment>>,
    pub(super) refunds: BTreeMap<RefundId, Kept<Refund>>,
    pub(super) checkouts: BTreeMap<TicketId, Kept<Checkout>>,
    /// Places in lines, by item and turn.
    pub(super) places: BTreeMap<(ItemId, TicketN), Kept<Place>>,
    /// Of the orders in hand, those that are not among `checkouts` have none.
    pub(super) has_every_checkout: bool,
    /// Shares of the limits are only given back here, which no rule makes depend on how large they are: they are neither read nor locked before they are written.
    pub(super) only_gives_back: bool,
}

/// Puts a row in its place: as a change of what was read, or as a new one.
fn put<K: Ord, T>(rows: &mut BTreeMap<K, Kept<T>>, key: K, row: T) {
    match rows.get_mut(&key) {
        Some(kept) => kept.row = row,
        None => drop(rows.insert(key, Kept { row, read: None })),
    }
}

impl Held {
    pub(super) fn keep_grant(&mut self, row: Grant) -> Grant {
        self.grants.entry(row.id).or_insert_with(|| Kept::read(row)).row.clone()
    }

    pub(super) fn keep_item(&mut self, row: Item) -> Item {
        self.items.entry(row.id).or_insert_with(|| Kept::read(row)).row.clone()
    }

    pub(super) fn keep_recall(&mut self, row: Recall) -> Recall {
        self.recalls.entry(row.id).or_insert_with(|| Kept::read(row)).row.clone()
    }

    /// Keeps an order that was read, unless it was made or changed here.
    pub(super) fn keep_order(&mut self, order: Order) {
        self.requests.insert((order.buyer.clone(), order.key.clone()), order.id);
        self.numbers.insert((order.grant, order.n), order.id);
        self.orders.entry(order.id).or_insert(order);
    }

    pub(super) fn keep_resolution(&mut self, row: Resolution) {
        self.numbers.extend(row.n.map(|n| ((row.grant, n), row.ticket)));
        self.resolutions.insert(row.ticket, row);
    }

    pub(super) fn put_grant(&mut self, grant: &Grant) {
        put(&mut self.grants, grant.id, grant.clone());
    }

    pub(super) fn put_item(&mut self, item: &Item) {
        if let Some(kept) = self.items.get_mut(&item.id) {
            kept.row = item.clone();
        }
    }

    pub(super) fn put_recall(&mut self, recall: &Recall) {
        put(&mut self.recalls, recall.id, recall.clone());
    }

    pub(super) fn keep_payment(&mut self, row: Payment) -> Payment {
        self.payments.entry(row.id.clone()).or_insert_with(|| Kept::read(row)).row.clone()
    }

    pub(super) fn put_payment(&mut self, row: &Payment) {
        put(&mut self.payments, row.id.clone(), row.clone());
    }

    pub(super) fn keep_refund(&mut self, row: Refund) -> Refund {
        self.refunds.entry(row.id.clone()).or_insert_with(|| Kept::read(row)).row.clone()
    }

    pub(super) fn put_refund(&mut self, row: &Refund) {
        put(&mut self.refunds, row.id.clone(), row.clone());
    }

    pub(super) fn keep_checkout(&mut self, row: Checkout) -> Checkout {
        self.checkouts.entry(row.order).or_insert_with(|| Kept::read(row)).row.clone()
    }

    pub(super) fn put_checkout(&mut self, row: &Checkout) {
        put(&mut self.checkouts, row.order, row.clone());
    }

    /// Has a checkout written anew though it is as it was read: what its order says of it is not.
    pub(super) fn write_checkout_anew(&mut self, order: &TicketId) {
        if let Some(kept) = self.checkouts.get_mut(order) {
            kept.read = None;
        }
    }

    pub(super) fn keep_place(&mut self, row: Place) -> Place {
        self.places.entry((row.item, row.n)).or_insert_with(|| Kept::read(row)).row.clone()
    }

    pub(super) fn put_place(&mut self, row: &Place) {
        put(&mut self.places, (row.item, row.n), row.clone());
    }

    pub(super) fn insert_order(&mut self, order: &Order, node: NodeId) {
        self.made.push((order.id, node));
        self.told.push(order.id);
        self.keep_order(order.clone());
    }

    pub(super) fn put_order(&mut self, order: &Order) {
        if self.is_changed.insert(order.id) {
            self.changed.push(order.id);
        }
        self.told.push(order.id);
        self.orders.insert(order.id, order.clone());
    }

    pub(super) fn insert_resolution(&mut self, row: &Resolution, node: Option<NodeId>) {
        self.returned.push((row.ticket, node));
        self.keep_resolution(row.clone());
    }

    /// The record of a ticket, as far as it is in hand; a consumed one's is its order.
    pub(super) fn resolution(&self, ticket: &TicketId) -> Option<Resolution> {
        match self.orders.get(ticket) {
            Some(o) => Some(Resolution {
                ticket: o.id,
                grant: o.grant,
                n: Some(o.n),
                verdict: Verdict::Reserved,
            }),
            None => self.resolutions.get(ticket).cloned(),
        }
    }

    /// Whether a slot, an item's stock or an order changes: whatever others are told of.
    pub(super) fn is_news(&self) -> bool {
        !self.told.is_empty()
            || self.grants.values().any(Kept::is_dirty)
            || self.items.values().any(Kept::is_dirty)
            || !self.returned.is_empty()
            || !self.events.is_empty()
    }

    /// What others are to be told of this transaction, if anything.
    pub(super) fn hint(&self, writer: i32) -> Option<Hint> {
        self.is_news().then_some(Hint { writer, events: !self.events.is_empty() })
    }

    /// Orders to tell of, each once, as they are at the end.
    pub(super) fn orders_told(&self) -> Vec<Order> {
        self.told.iter().filter_map(|id| self.orders.get(id)).cloned().collect()
    }
}
