//! The [`Ledger`] of `doorbuster-core`, over one PostgreSQL transaction.
//!
//! Rows are locked, read once, and cached ([`RowCache`]). `flush` writes the changes together at
//! the end. A live ledger reads rows on demand, and must run on a thread that may block. A
//! prefetched ledger already has every row that its work can read. If it lacks a row, the table has
//! no such row.
use std::time::Duration;

use deadpool_postgres::Object;
use tokio::runtime::Handle;
use tokio_postgres::types::ToSql;

use doorbuster_core::event::{Actor, Event, Subject};
use doorbuster_core::money::{
    Checkout, Money, Payment, PaymentId, Refund, RefundId, Reversal, ReversalKey, ReversalKind,
};
use doorbuster_core::{
    BuyerId, Epoch, FeedRow, Grant, GrantId, Item, ItemId, Ledger, Millis, NodeId, Order, Recall,
    RecallId, RequestKey, Resolution, SlotKey, TicketId, TicketN, WaitlistEntry,
};

use crate::events::actor_text;
use crate::failure::{Done, Failure};
use crate::rows::money;
use crate::shared_rows::shared_rows;
use crate::sql::{Row, to_i64, values};
use crate::{queries, rows};

use super::row_cache::{CachedQuota, RowCache};
use super::waitlist;

pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A live ledger's connection to its transaction.
pub(super) struct LiveConnection<'c> {
    pub(super) client: &'c Object,
    pub(super) runtime: Handle,
    pub(super) wait_max: Duration,
}

impl LiveConnection<'_> {
    pub(super) fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Done<T> {
        // The timer needs the runtime, so it is created inside the future.
        let answer =
            self.runtime.block_on(async { tokio::time::timeout(self.wait_max, work).await });
        Ok(answer.map_err(|_| Failure::TimedOut)??)
    }
}

/// Reads and writes the rows of the tables in one transaction.
pub struct PostgresLedger<'c> {
    live: Option<LiveConnection<'c>>,
    pub(super) cache: RowCache,
    pub(crate) now: Millis,
    /// The node that waits for the verdict of the current ticket. `None` outside of the settling of
    /// tickets.
    pub(super) node: Option<NodeId>,
    /// Whether this transaction changed the catalogue.
    pub(crate) catalogue: bool,
    pub(crate) action: Option<std::sync::Arc<crate::contract::NewAction>>,
}

impl<'c> PostgresLedger<'c> {
    pub(super) fn live(live: LiveConnection<'c>, now: Millis) -> Self {
        Self { live: Some(live), ..Self::prefetched(RowCache::default(), now) }
    }

    pub(super) fn prefetched(cache: RowCache, now: Millis) -> Self {
        Self { live: None, cache, now, node: None, catalogue: false, action: None }
    }

    pub(crate) fn all<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        read: impl Fn(Row<'_>) -> Done<T>,
    ) -> Done<Vec<T>> {
        let Some(live) = &self.live else { return Ok(Vec::new()) };
        let rows = live.wait(async {
            live.client.query(&live.client.prepare_cached(sql).await?, params).await
        })?;
        rows.iter().map(|row| read(row.into())).collect()
    }

    pub(crate) fn one<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        read: impl Fn(Row<'_>) -> Done<T>,
    ) -> Done<Option<T>> {
        Ok(self.all(sql, params, read)?.into_iter().next())
    }

    pub(crate) fn run(&self, sql: &str, params: Params<'_>) -> Done<u64> {
        let Some(live) = &self.live else {
            return Err(Failure::Row("a prefetched ledger cannot run statements".to_owned()));
        };
        live.wait(async {
            live.client.execute(&live.client.prepare_cached(sql).await?, params).await
        })
    }
}

impl Ledger for PostgresLedger<'_> {
    type Error = Failure;

    shared_rows!(self, postgres, self);

    fn item(&mut self, item: ItemId) -> Done<Option<Item>> {
        if let Some(kept) = self.cache.items.get(&item) {
            return Ok(Some(kept.clone()));
        }
        let found = self.one(queries::ITEM.postgres, &[&item.0], rows::item)?;
        Ok(found.map(|row| self.cache.items.read(row)))
    }

    fn put_item(&mut self, item: &Item) -> Done<()> {
        self.cache.items.put(item);
        Ok(())
    }

    fn grant(&mut self, grant: GrantId) -> Done<Option<Grant>> {
        if let Some(kept) = self.cache.grants.get(&grant) {
            return Ok(Some(kept.clone()));
        }
        self.lock_grants(&[grant])?;
        Ok(self.cache.grants.get(&grant).cloned())
    }

    fn open_grant(&mut self, slot: SlotKey) -> Done<Option<Grant>> {
        let found = self.one(
            queries::OPEN_GRANT.postgres,
            &[&slot.item.0, &i64::from(slot.index)],
            rows::grant,
        )?;
        Ok(found.map(|row| self.cache.grants.read(row)).filter(|grant| grant.open))
    }

    fn open_grants(&mut self, item: ItemId) -> Done<Vec<Grant>> {
        let found = self.all(queries::OPEN_GRANTS.postgres, &[&item.0], rows::grant)?;
        let mut open: Vec<Grant> =
            found.into_iter().map(|row| self.cache.grants.read(row)).filter(|g| g.open).collect();
        open.sort_by_key(|grant| grant.slot);
        Ok(open)
    }

    fn in_slots(&mut self, item: ItemId) -> Done<u64> {
        waitlist::unsettled_units(self, item)
    }

    fn last_epoch(&mut self, slot: SlotKey) -> Done<Epoch> {
        let last = self.one(
            queries::LAST_EPOCH.postgres,
            &[&slot.item.0, &i64::from(slot.index)],
            |row| row.number(0),
        )?;
        Ok(Epoch(last.unwrap_or(0)))
    }

    fn put_grant(&mut self, grant: &Grant) -> Done<()> {
        self.cache.grants.put(grant);
        Ok(())
    }

    fn append_feed(&mut self, row: &FeedRow) -> Done<()> {
        self.cache.feed.push(row.clone());
        Ok(())
    }

    fn resolution(&mut self, ticket: &TicketId) -> Done<Option<Resolution>> {
        if let Some(found) = self.cache.resolution(ticket) {
            return Ok(Some(found));
        }
        if self.order(ticket)?.is_some() {
            return Ok(self.cache.resolution(ticket));
        }
        self.one(queries::RESOLUTION.postgres, &[&ticket.text().as_str()], rows::resolution)
    }

    fn ticket_of(&mut self, grant: GrantId, n: TicketN) -> Done<Option<TicketId>> {
        if let Some(ticket) = self.cache.numbers.get(&(grant, n)) {
            return Ok(Some(*ticket));
        }
        let (grant, n) = (to_i64(grant.0), to_i64(n.0));
        self.one(queries::TICKET_OF.postgres, &[&grant, &n], |row| rows::ticket(row, 0))
    }

    fn insert_resolution(&mut self, resolution: &Resolution) -> Done<()> {
        self.cache.insert_resolution(resolution, self.node);
        Ok(())
    }

    /// An order changes only while its grant is locked. So this function caches an order only if
    /// this transaction has locked the grant.
    fn order(&mut self, id: &TicketId) -> Done<Option<Order>> {
        if let Some(order) = self.cache.orders.get(id) {
            return Ok(Some(order.clone()));
        }
        let Some(parts) = id.parts() else { return Ok(None) };
        let (grant, n) = (to_i64(parts.grant.0), to_i64(parts.n.0));
        let found = self.one(queries::ORDER.postgres, &[&grant, &n], rows::order)?;
        let found = found.filter(|order| order.id == *id);
        if let Some(order) = &found
            && self.cache.grants.get(&order.grant).is_some()
        {
            self.cache.cache_order(order.clone());
        }
        Ok(found)
    }

    fn order_of(&mut self, buyer: &BuyerId, key: &RequestKey) -> Done<Option<Order>> {
        if let Some(order) = self.cache.requests.get(&(buyer.clone(), key.clone())) {
            return Ok(self.cache.orders.get(order).cloned());
        }
        self.one(queries::ORDER_OF.postgres, &[&buyer.as_str(), &key.as_str()], rows::order)
    }

    fn insert_order(&mut self, order: &Order) -> Done<()> {
        self.cache.insert_order(order, self.node.unwrap_or_default());
        Ok(())
    }

    fn put_order(&mut self, order: &Order) -> Done<()> {
        self.cache.put_order(order);
        Ok(())
    }

    fn quota(&mut self, item: ItemId, buyer: &BuyerId) -> Done<u32> {
        let at = (buyer.clone(), item);
        if let Some(quota) = self.cache.quotas.get(&at) {
            return Ok(quota.used);
        }
        if self.cache.only_returns_quota {
            self.cache.quotas.insert(at, CachedQuota::UNREAD);
            return Ok(CachedQuota::UNREAD.used);
        }
        let read = self.one(queries::QUOTA.postgres, &[&buyer.as_str(), &item.0], |row| {
            row.number_u32(0, "quota")
        })?;
        self.cache.quotas.insert(at, CachedQuota { used: read.unwrap_or(0), read });
        Ok(read.unwrap_or(0))
    }

    fn put_quota(&mut self, item: ItemId, buyer: &BuyerId, used: u32) -> Done<()> {
        self.quota(item, buyer)?;
        if let Some(quota) = self.cache.quotas.get_mut(&(buyer.clone(), item)) {
            quota.used = used;
        }
        Ok(())
    }

    fn recall(&mut self, id: RecallId) -> Done<Option<Recall>> {
        if let Some(kept) = self.cache.recalls.get(&id) {
            return Ok(Some(kept.clone()));
        }
        let found = self.one(queries::RECALL.postgres, &[&to_i64(id.0)], rows::recall)?;
        Ok(found.map(|row| self.cache.recalls.read(row)))
    }

    /// This read takes no lock: a transaction changes a recall only while it holds the lock of the
    /// recall's grant, and the caller holds this lock.
    fn pending_recalls(&mut self, grant: GrantId) -> Done<Vec<Recall>> {
        let ids = vec![to_i64(grant.0)];
        for recall in self.all(super::prefetch::RECALLS, &[&ids], rows::recall)? {
            self.cache.recalls.read(recall);
        }
        let pending = self.cache.recalls.values();
        Ok(pending.filter(|recall| recall.grant == grant && !recall.done).cloned().collect())
    }

    fn put_recall(&mut self, recall: &Recall) -> Done<()> {
        self.cache.recalls.put(recall);
        Ok(())
    }

    fn waitlist(&mut self, item: ItemId) -> Done<Option<Grant>> {
        waitlist::waitlist(self, item)
    }

    fn waitlist_entry(&mut self, id: &TicketId) -> Done<Option<WaitlistEntry>> {
        waitlist::waitlist_entry(self, id)
    }

    fn waitlist_entry_of(&mut self, item: ItemId, buyer: &BuyerId) -> Done<Option<WaitlistEntry>> {
        waitlist::waitlist_entry_of(self, item, buyer)
    }

    fn waiting_entries(&mut self, item: ItemId, limit: usize) -> Done<Vec<WaitlistEntry>> {
        waitlist::waiting_entries(self, item, limit)
    }

    fn put_waitlist_entry(&mut self, entry: &WaitlistEntry) -> Done<()> {
        self.cache.waitlist.put(entry);
        Ok(())
    }

    /// Caches the order that an event about a payment names, because the flush writes the order's
    /// number with the event.
    fn append_event(&mut self, event: &Event) -> Done<()> {
        if let Subject::Payment { order, .. } | Subject::Reversal { order, .. } = &event.subject
            && let Some(id) = TicketId::parse(order)
        {
            self.remember_order(&id)?;
        }
        self.cache.events.push(event.clone());
        Ok(())
    }

    fn inbox(&mut self, provider: &str, event: &str) -> Done<bool> {
        if self.cache.inbox.contains_key(&(provider.to_owned(), event.to_owned())) {
            return Ok(true);
        }
        Ok(self.one(queries::INBOX.postgres, &[&provider, &event], |_| Ok(()))?.is_some())
    }

    /// Records that this message is handled. If two transactions handle the same message at once,
    /// the second insertion fails, and the second transaction runs again.
    fn insert_inbox(&mut self, provider: &str, event: &str, at: Millis) -> Done<()> {
        self.cache.inbox.insert((provider.to_owned(), event.to_owned()), at);
        Ok(())
    }

    fn payment(&mut self, id: &PaymentId) -> Done<Option<Payment>> {
        if let Some(kept) = self.cache.payments.get(id) {
            return Ok(Some(kept.clone()));
        }
        let found = self.one(queries::PAYMENT.postgres, &[&id.0], money::payment)?;
        Ok(found.map(|row| self.cache.payments.read(row)))
    }

    fn payments_of(&mut self, order: &TicketId) -> Done<Vec<Payment>> {
        let order = order.to_string();
        for payment in self.all(queries::PAYMENTS_OF.postgres, &[&order], money::payment)? {
            self.cache.payments.read(payment);
        }
        let payments = self.cache.payments.values();
        Ok(payments.filter(|payment| payment.order == order).cloned().collect())
    }

    fn put_payment(&mut self, payment: &Payment) -> Done<()> {
        self.cache.payments.put(payment);
        Ok(())
    }

    fn refund(&mut self, id: &RefundId) -> Done<Option<Refund>> {
        if let Some(kept) = self.cache.refunds.get(id) {
            return Ok(Some(kept.clone()));
        }
        let found = self.one(queries::REFUND.postgres, &[&id.0], money::refund)?;
        Ok(found.map(|row| self.cache.refunds.read(row)))
    }

    fn put_refund(&mut self, refund: &Refund) -> Done<()> {
        self.cache.refunds.put(refund);
        Ok(())
    }

    /// Reads the order's checkout without a lock, because a checkout changes only while the grant
    /// of its order is locked.
    fn checkout(&mut self, order: &TicketId) -> Done<Option<Checkout>> {
        if let Some(kept) = self.cache.checkouts.get(order) {
            return Ok(Some(kept.clone()));
        }
        let Some(parts) = order.parts() else { return Ok(None) };
        let found = self.one(
            queries::CHECKOUT.postgres,
            &[&to_i64(parts.grant.0), &to_i64(parts.n.0)],
            money::checkout,
        )?;
        Ok(found.filter(|row| row.order == *order).map(|row| self.cache.checkouts.read(row)))
    }

    fn put_checkout(&mut self, checkout: &Checkout) -> Done<()> {
        self.cache.checkouts.put(checkout);
        Ok(())
    }
}
