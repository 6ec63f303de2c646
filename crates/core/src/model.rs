//! A model of the store: its tables in memory. Tests compare every real store with the model, and
//! the simulator uses the model as its store.
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use crate::event::{Actor, Event, EventType, Subject};
use crate::id::TicketId;
use crate::ledger::Ledger;
use crate::money::{Checkout, Money, Payment, PaymentId, Refund, RefundId, Reversal, ReversalKey};
use crate::rows::{
    FeedRow, Grant, Item, Order, OrderState, Recall, Resolution, Verdict, WaitlistEntry,
    WaitlistState,
};
use crate::value::{
    BuyerId, Epoch, GrantId, ItemId, Millis, RecallId, RequestKey, Seq, SlotKey, TicketN,
};

/// Every table, in memory. To be able to roll back a transaction, run it on a clone of the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Items by number.
    pub items: BTreeMap<ItemId, Item>,
    /// Items whose sale is paused or ended.
    pub stopped: BTreeSet<ItemId>,
    /// The items in `stopped` whose sale has ended.
    pub over: BTreeSet<ItemId>,
    /// Grants by id.
    pub grants: BTreeMap<GrantId, Grant>,
    /// Feed rows by grant and sequence number.
    pub feed: BTreeMap<(GrantId, Seq), FeedRow>,
    /// Returned tickets.
    pub resolutions: BTreeMap<TicketId, Resolution>,
    /// Tickets by grant and ticket number.
    pub numbers: BTreeMap<(GrantId, TicketN), TicketId>,
    /// Orders by id.
    pub orders: BTreeMap<TicketId, Order>,
    /// Orders by request.
    pub requests: BTreeMap<(BuyerId, RequestKey), TicketId>,
    /// Units that buyers hold in active orders.
    pub quotas: BTreeMap<(ItemId, BuyerId), u32>,
    /// Recalls by id.
    pub recalls: BTreeMap<RecallId, Recall>,
    /// Waitlist entries, by item and ticket number.
    pub waitlist: BTreeMap<(ItemId, TicketN), WaitlistEntry>,
    /// Events, in order.
    pub events: Vec<Event>,
    /// The price of one unit of each item.
    pub prices: BTreeMap<ItemId, Money>,
    /// When each report of a provider was processed, by the provider's name and the report's id.
    pub inbox: BTreeMap<(String, String), Millis>,
    /// Payments by id.
    pub payments: BTreeMap<PaymentId, Payment>,
    /// Refunds by id.
    pub refunds: BTreeMap<RefundId, Refund>,
    /// Reversals of payments.
    pub reversals: BTreeMap<ReversalKey, Reversal>,
    /// Checkouts by order.
    pub checkouts: BTreeMap<TicketId, Checkout>,
}

/// Defines the methods that read and write one row of a table.
macro_rules! keyed_rows {
    ($($rows:ident: $get:ident($id:ident: $id_type:ty, $key:expr),
       $put:ident($row:ident: $row_type:ty, $row_key:expr);)*) => {
        $(
            fn $get(&mut self, $id: $id_type) -> Result<Option<$row_type>, Infallible> {
                Ok(self.$rows.get($key).cloned())
            }

            fn $put(&mut self, $row: &$row_type) -> Result<(), Infallible> {
                self.$rows.insert($row_key, $row.clone());
                Ok(())
            }
        )*
    };
}

impl Ledger for Model {
    type Error = Infallible;

    keyed_rows! {
        items: item(id: ItemId, &id), put_item(row: Item, row.id);
        grants: grant(id: GrantId, &id), put_grant(row: Grant, row.id);
        orders: order(id: &TicketId, id), put_order(row: Order, row.id);
        recalls: recall(id: RecallId, &id), put_recall(row: Recall, row.id);
        payments: payment(id: &PaymentId, id), put_payment(row: Payment, row.id.clone());
        refunds: refund(id: &RefundId, id), put_refund(row: Refund, row.id.clone());
        reversals: reversal(key: &ReversalKey, key), put_reversal(row: Reversal, row.key.clone());
        checkouts: checkout(id: &TicketId, id), put_checkout(row: Checkout, row.order);
    }

    fn on_sale(&mut self, item: ItemId) -> Result<bool, Infallible> {
        Ok(!self.stopped.contains(&item))
    }

    fn has_ended(&mut self, item: ItemId) -> Result<bool, Infallible> {
        Ok(self.over.contains(&item))
    }

    fn open_grant(&mut self, slot: SlotKey) -> Result<Option<Grant>, Infallible> {
        Ok(self.grants.values().find(|g| g.open && g.slot == slot).cloned())
    }

    fn open_grants(&mut self, item: ItemId) -> Result<Vec<Grant>, Infallible> {
        let mut open: Vec<_> =
            self.grants.values().filter(|g| g.open && g.slot.item == item).cloned().collect();
        open.sort_by_key(|g| g.slot);
        Ok(open)
    }

    fn in_slots(&mut self, item: ItemId) -> Result<u64, Infallible> {
        Ok(self
            .grants
            .values()
            .filter(|g| g.open && g.slot.item == item)
            .map(Grant::unsettled)
            .sum())
    }

    fn last_epoch(&mut self, slot: SlotKey) -> Result<Epoch, Infallible> {
        Ok(self
            .grants
            .values()
            .filter(|g| g.slot == slot)
            .map(|g| g.epoch)
            .max()
            .unwrap_or_default())
    }

    fn append_feed(&mut self, row: &FeedRow) -> Result<(), Infallible> {
        self.feed.insert((row.grant, row.seq), row.clone());
        Ok(())
    }

    fn resolution(&mut self, ticket: &TicketId) -> Result<Option<Resolution>, Infallible> {
        let consumed = self.orders.get(ticket).map(|o| Resolution {
            ticket: o.id,
            grant: o.grant,
            n: Some(o.n),
            verdict: Verdict::Reserved,
        });
        Ok(consumed.or_else(|| self.resolutions.get(ticket).cloned()))
    }

    fn ticket_of(&mut self, grant: GrantId, n: TicketN) -> Result<Option<TicketId>, Infallible> {
        Ok(self.numbers.get(&(grant, n)).copied())
    }

    fn insert_resolution(&mut self, resolution: &Resolution) -> Result<(), Infallible> {
        if let Some(n) = resolution.n {
            self.numbers.insert((resolution.grant, n), resolution.ticket);
        }
        self.resolutions.insert(resolution.ticket, resolution.clone());
        Ok(())
    }

    fn order_of(&mut self, buyer: &BuyerId, key: &RequestKey) -> Result<Option<Order>, Infallible> {
        let id = self.requests.get(&(buyer.clone(), key.clone()));
        Ok(id.and_then(|id| self.orders.get(id)).cloned())
    }

    fn orders_of_buyer(&mut self, buyer: &BuyerId, item: ItemId) -> Result<Vec<Order>, Infallible> {
        Ok(self.orders.values().filter(|o| o.buyer == *buyer && o.item == item).cloned().collect())
    }

    fn first_unpaid(
        &mut self,
        grant: GrantId,
        buyer: &BuyerId,
        by: Option<&Actor>,
    ) -> Result<Option<Order>, Infallible> {
        let cancelled = |order: &Order, by: &Actor| {
            self.events.iter().any(|event| {
                event.what == EventType::OrderCancelled
                    && event.by.actor == *by
                    && matches!(&event.subject, Subject::Order(of) if of.id == order.id)
            })
        };
        let unpaid = |order: &&Order| match order.state {
            _ if order.grant != grant || order.buyer != *buyer => false,
            OrderState::Expired => true,
            OrderState::Cancelled => by.is_none_or(|by| cancelled(order, by)),
            OrderState::Reserved | OrderState::Paid | OrderState::Refunded => false,
        };
        Ok(self.orders.values().filter(unpaid).min_by_key(|order| order.n).cloned())
    }

    fn insert_order(&mut self, order: &Order) -> Result<(), Infallible> {
        self.numbers.insert((order.grant, order.n), order.id);
        self.requests.insert((order.buyer.clone(), order.key.clone()), order.id);
        self.orders.insert(order.id, order.clone());
        Ok(())
    }

    fn quota(&mut self, item: ItemId, buyer: &BuyerId) -> Result<u32, Infallible> {
        Ok(self.quotas.get(&(item, buyer.clone())).copied().unwrap_or(0))
    }

    fn put_quota(&mut self, item: ItemId, buyer: &BuyerId, used: u32) -> Result<(), Infallible> {
        self.quotas.insert((item, buyer.clone()), used);
        Ok(())
    }

    fn pending_recalls(&mut self, grant: GrantId) -> Result<Vec<Recall>, Infallible> {
        Ok(self.recalls.values().filter(|r| r.grant == grant && !r.done).cloned().collect())
    }

    fn waitlist(&mut self, item: ItemId) -> Result<Option<Grant>, Infallible> {
        Ok(self.grants.values().find(|g| g.slot == SlotKey::waitlist(item)).cloned())
    }

    fn waitlist_entry(&mut self, id: &TicketId) -> Result<Option<WaitlistEntry>, Infallible> {
        Ok(self.waitlist.values().find(|p| p.id == *id).cloned())
    }

    fn waitlist_entry_of(
        &mut self,
        item: ItemId,
        buyer: &BuyerId,
    ) -> Result<Option<WaitlistEntry>, Infallible> {
        Ok(self.waiting_entries(item, usize::MAX)?.into_iter().find(|p| p.buyer == *buyer))
    }

    fn waiting_entries(
        &mut self,
        item: ItemId,
        limit: usize,
    ) -> Result<Vec<WaitlistEntry>, Infallible> {
        let waits = |p: &&WaitlistEntry| p.item == item && p.state == WaitlistState::Waiting;
        Ok(self.waitlist.values().filter(waits).take(limit).cloned().collect())
    }

    fn put_waitlist_entry(&mut self, entry: &WaitlistEntry) -> Result<(), Infallible> {
        self.waitlist.insert((entry.item, entry.n), entry.clone());
        Ok(())
    }

    fn append_event(&mut self, event: &Event) -> Result<(), Infallible> {
        self.events.push(event.clone());
        Ok(())
    }

    fn price(&mut self, item: ItemId) -> Result<Option<Money>, Infallible> {
        Ok(self.prices.get(&item).cloned())
    }

    fn inbox(&mut self, provider: &str, event: &str) -> Result<bool, Infallible> {
        Ok(self.inbox.contains_key(&(provider.to_owned(), event.to_owned())))
    }

    fn insert_inbox(&mut self, provider: &str, event: &str, at: Millis) -> Result<(), Infallible> {
        self.inbox.insert((provider.to_owned(), event.to_owned()), at);
        Ok(())
    }

    fn payments_of(&mut self, order: &TicketId) -> Result<Vec<Payment>, Infallible> {
        let order = order.to_string();
        Ok(self.payments.values().filter(|p| p.order == order).cloned().collect())
    }
}
