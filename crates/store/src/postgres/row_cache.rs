//! The rows of one transaction. They are read once, changed in memory, and written at the end of
//! the transaction.
use std::collections::{BTreeMap, HashMap, HashSet};

use doorbuster_core::event::Event;
use doorbuster_core::money::{Checkout, Payment, Refund};
use doorbuster_core::{
    BuyerId, FeedRow, Grant, GrantId, Item, ItemId, Millis, NodeId, Order, Recall, RequestKey,
    Resolution, TicketId, TicketN, Verdict, WaitlistEntry,
};

use crate::row_cache::Rows;

/// A buyer's units of an item. `used` is the current number, and `read` is the number in the table
/// (`None` if there is no row). The write adds the difference to an existing row.
#[derive(Clone, Copy, Debug)]
pub(super) struct CachedQuota {
    pub(super) used: u32,
    pub(super) read: Option<u32>,
}

impl CachedQuota {
    /// Stands for a quota that was not read, because the transaction only decreases it. Both
    /// numbers are as large as possible, so that no decrease makes `used` negative.
    pub(super) const UNREAD: Self = Self { used: u32::MAX, read: Some(u32::MAX) };
}

/// All rows of a transaction. A row that this transaction has locked stays current until the
/// transaction ends.
#[derive(Debug, Default)]
pub(super) struct RowCache {
    pub(super) grants: Rows<Grant>,
    pub(super) items: Rows<Item>,
    pub(super) quotas: BTreeMap<(BuyerId, ItemId), CachedQuota>,
    pub(super) recalls: Rows<Recall>,
    /// The orders that were read, created or changed.
    pub(super) orders: HashMap<TicketId, Order>,
    /// Maps a request to the id of its order.
    pub(super) requests: HashMap<(BuyerId, RequestKey), TicketId>,
    /// Maps a grant and a ticket's number to the id of the order that the ticket became.
    pub(super) numbers: HashMap<(GrantId, TicketN), TicketId>,
    /// The records of returned tickets.
    pub(super) resolutions: HashMap<TicketId, Resolution>,
    /// Orders to insert, each with the node that waits for the order.
    pub(super) inserted: Vec<(TicketId, NodeId)>,
    /// Orders to update, each once.
    pub(super) changed: Vec<TicketId>,
    is_changed: HashSet<TicketId>,
    /// Records of returned tickets to insert, each with the node that waits for the ticket, if that
    /// node is known.
    pub(super) returned: Vec<(TicketId, Option<NodeId>)>,
    pub(super) feed: Vec<FeedRow>,
    /// Orders that were created or changed, in the sequence of their changes.
    pub(super) touched_orders: Vec<TicketId>,
    pub(super) events: Vec<Event>,
    /// The provider messages to record: the provider, the message's id and the time of each.
    pub(super) inbox: BTreeMap<(String, String), Millis>,
    pub(super) payments: Rows<Payment>,
    pub(super) refunds: Rows<Refund>,
    pub(super) checkouts: Rows<Checkout>,
    pub(super) waitlist: Rows<WaitlistEntry>,
    /// True if `checkouts` has the checkouts of all orders in `orders`. In this case, an order that
    /// is missing in `checkouts` has no checkout.
    pub(super) has_every_checkout: bool,
    /// True if the transaction only decreases quotas, and no rule depends on the size of these
    /// quotas. Such quotas are neither read nor locked before they are written.
    pub(super) only_returns_quota: bool,
}

impl RowCache {
    /// Caches an order. If the order is already cached, the cached order stays, because this
    /// transaction may have changed it.
    pub(super) fn cache_order(&mut self, order: Order) {
        self.requests.insert((order.buyer.clone(), order.key.clone()), order.id);
        self.numbers.insert((order.grant, order.n), order.id);
        self.orders.entry(order.id).or_insert(order);
    }

    pub(super) fn cache_resolution(&mut self, row: Resolution) {
        self.numbers.extend(row.n.map(|n| ((row.grant, n), row.ticket)));
        self.resolutions.insert(row.ticket, row);
    }

    pub(super) fn insert_order(&mut self, order: &Order, node: NodeId) {
        self.inserted.push((order.id, node));
        self.touched_orders.push(order.id);
        self.cache_order(order.clone());
    }

    pub(super) fn put_order(&mut self, order: &Order) {
        if self.is_changed.insert(order.id) {
            self.changed.push(order.id);
        }
        self.touched_orders.push(order.id);
        self.orders.insert(order.id, order.clone());
    }

    pub(super) fn insert_resolution(&mut self, row: &Resolution, node: Option<NodeId>) {
        self.returned.push((row.ticket, node));
        self.cache_resolution(row.clone());
    }

    /// Returns the cached record of a ticket. For a ticket that became an order, the record is
    /// computed from the order.
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

    /// Returns whether this transaction has changes that other nodes must learn of: grants, items,
    /// orders, returned tickets or events.
    pub(super) fn has_changes(&self) -> bool {
        !self.touched_orders.is_empty()
            || self.grants.dirty().next().is_some()
            || self.items.dirty().next().is_some()
            || !self.returned.is_empty()
            || !self.events.is_empty()
    }

    /// Returns the orders to publish, in their final state. An order that changed several times is
    /// listed several times.
    pub(super) fn changed_orders(&self) -> Vec<Order> {
        self.touched_orders.iter().filter_map(|id| self.orders.get(id)).cloned().collect()
    }
}
