//! Implements `Ledger`, through which `doorbuster-core` reads and writes the tables.

use doorbuster_core::event::{Actor, Event};
use doorbuster_core::money::{
    Checkout, Money, Payment, PaymentId, Refund, RefundId, Reversal, ReversalKey, ReversalKind,
};
use doorbuster_core::{
    BuyerId, Epoch, FeedRow, Grant, GrantId, Item, ItemId, Ledger, Millis, Order, Recall, RecallId,
    RequestKey, Resolution, SlotKey, TicketId, TicketN, Verdict, WaitlistEntry,
};
use rusqlite::params;

use super::super::{checkouts, events};
use super::{SqliteLedger, writes};
use crate::events::actor_text;
use crate::failure::{Done, Failure};
use crate::rows::money;
use crate::rows::waitlist::entry;
use crate::shared_rows::shared_rows;
use crate::sql::{as_limit, to_i64, values};
use crate::{queries, rows};

impl Ledger for SqliteLedger<'_> {
    type Error = Failure;

    shared_rows!(self, sqlite, self.sql);

    fn item(&mut self, item: ItemId) -> Done<Option<Item>> {
        if let Some(copy) = self.cache.items.get(&item) {
            return Ok(Some(copy.clone()));
        }
        let found = self.sql.one(queries::ITEM.sqlite, params![item.0], rows::item)?;
        Ok(found.map(|row| self.cache.items.read(row)))
    }

    fn put_item(&mut self, item: &Item) -> Done<()> {
        self.touch(item.id);
        self.cache.items.put(item);
        Ok(())
    }

    fn grant(&mut self, grant: GrantId) -> Done<Option<Grant>> {
        if let Some(copy) = self.cache.grants.get(&grant) {
            return Ok(Some(copy.clone()));
        }
        let found = self.sql.one(
            concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant WHERE id = ?1"),
            params![to_i64(grant.0)],
            rows::grant,
        )?;
        Ok(found.map(|row| self.cache.grants.read(row)))
    }

    fn open_grant(&mut self, slot: SlotKey) -> Done<Option<Grant>> {
        self.flush()?;
        let found = self.sql.one(
            queries::OPEN_GRANT.sqlite,
            params![slot.item.0, slot.index],
            rows::grant,
        )?;
        Ok(found.map(|row| self.cache.grants.read(row)))
    }

    fn open_grants(&mut self, item: ItemId) -> Done<Vec<Grant>> {
        self.flush()?;
        self.sql.all(queries::OPEN_GRANTS.sqlite, params![item.0], rows::grant)
    }

    fn in_slots(&mut self, item: ItemId) -> Done<u64> {
        self.flush()?;
        let text = "SELECT coalesce(sum(granted - settled), 0) FROM slot_grant WHERE item_id = ?1
                    AND open = 1 AND counted = 1";
        Ok(self.sql.one(text, params![item.0], |row| row.number(0))?.unwrap_or(0))
    }

    fn last_epoch(&mut self, slot: SlotKey) -> Done<Epoch> {
        self.flush()?;
        let last =
            self.sql.one(queries::LAST_EPOCH.sqlite, params![slot.item.0, slot.index], |row| {
                row.get::<i64>(0)
            })?;
        Ok(Epoch(last.unwrap_or(0).cast_unsigned()))
    }

    fn put_grant(&mut self, grant: &Grant) -> Done<()> {
        self.touch(grant.slot.item);
        self.cache.grants.put(grant);
        Ok(())
    }

    fn append_feed(&mut self, row: &FeedRow) -> Done<()> {
        writes::append_feed(&mut self.sql, row)
    }

    fn resolution(&mut self, ticket: &TicketId) -> Done<Option<Resolution>> {
        if let Some(order) = self.find_order(ticket)? {
            let (grant, n, verdict) = (order.grant, Some(order.n), Verdict::Reserved);
            return Ok(Some(Resolution { ticket: order.id, grant, n, verdict }));
        }
        self.sql.one(queries::RESOLUTION.sqlite, params![ticket.text().as_str()], rows::resolution)
    }

    fn ticket_of(&mut self, grant: GrantId, n: TicketN) -> Done<Option<TicketId>> {
        self.sql.one(queries::TICKET_OF.sqlite, params![to_i64(grant.0), to_i64(n.0)], |row| {
            rows::ticket(row, 0)
        })
    }

    fn insert_resolution(&mut self, resolution: &Resolution) -> Done<()> {
        let (verdict, order) = rows::verdict_columns(&resolution.verdict);
        let order = order.map(|id| id.text());
        self.sql.run(
            "INSERT INTO resolution (ticket, grant_id, n, verdict, order_id) VALUES (?1, ?2, ?3, \
             ?4, ?5)",
            params![
                resolution.ticket.text().as_str(),
                to_i64(resolution.grant.0),
                resolution.n.map(|n| to_i64(n.0)),
                verdict,
                order.as_ref().map(|id| id.as_str())
            ],
        )?;
        Ok(())
    }

    fn order(&mut self, id: &TicketId) -> Done<Option<Order>> {
        self.find_order(id)
    }

    fn order_of(&mut self, buyer: &BuyerId, key: &RequestKey) -> Done<Option<Order>> {
        let quotas = self.cached_quotas(buyer)?;
        if quotas.used.is_empty() {
            // The buyer's first order inserts a quota row, which stays. So without a quota row, the
            // buyer has no order.
            return Ok(None);
        }
        self.sql.one(queries::ORDER_OF.sqlite, params![buyer.as_str(), key.as_str()], rows::order)
    }

    fn insert_order(&mut self, order: &Order) -> Done<()> {
        self.sql.run(
            "INSERT INTO orders (id, buyer, request_key, item_id, units, state, grant_id, n,
             reserved_at, pay_by, paid_at, ended_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                order.id.text().as_str(),
                order.buyer.as_str(),
                order.key.as_str(),
                order.item.0,
                order.units.get(),
                order.state.as_str(),
                to_i64(order.grant.0),
                to_i64(order.n.0),
                order.reserved_at.0,
                order.pay_by.0,
                order.paid_at.map(|t| t.0),
                order.ended_at.map(|t| t.0)
            ],
        )?;
        self.orders.push(order.clone());
        Ok(())
    }

    fn put_order(&mut self, order: &Order) -> Done<()> {
        self.sql.run(
            "UPDATE orders SET state = ?3, pay_by = ?4, paid_at = ?5, ended_at = ?6 WHERE grant_id \
             = ?1 AND n = ?2",
            params![
                to_i64(order.grant.0),
                to_i64(order.n.0),
                order.state.as_str(),
                order.pay_by.0,
                order.paid_at.map(|t| t.0),
                order.ended_at.map(|t| t.0)
            ],
        )?;
        self.orders.push(order.clone());
        Ok(())
    }

    fn quota(&mut self, item: ItemId, buyer: &BuyerId) -> Done<u32> {
        let quotas = self.cached_quotas(buyer)?;
        let used = quotas.used.iter().find(|(of, _)| *of == item).map(|(_, used)| *used);
        if used.is_some() || quotas.all {
            return Ok(used.unwrap_or(0));
        }
        let used = self
            .sql
            .one(queries::QUOTA.sqlite, params![buyer.as_str(), item.0], |row| row.get(0))?;
        Ok(used.unwrap_or(0))
    }

    fn put_quota(&mut self, item: ItemId, buyer: &BuyerId, used: u32) -> Done<()> {
        let quotas = self.cached_quotas(buyer)?;
        match quotas.used.iter_mut().find(|(of, _)| *of == item) {
            Some(row) => row.1 = used,
            None => quotas.used.push((item, used)),
        }
        self.sql.run(
            "INSERT INTO quota (buyer, item_id, used) VALUES (?1, ?2, ?3)
             ON CONFLICT (buyer, item_id) DO UPDATE SET used = excluded.used",
            params![buyer.as_str(), item.0, used],
        )?;
        Ok(())
    }

    fn recall(&mut self, id: RecallId) -> Done<Option<Recall>> {
        self.sql.one(queries::RECALL.sqlite, params![to_i64(id.0)], rows::recall)
    }

    fn pending_recalls(&mut self, grant: GrantId) -> Done<Vec<Recall>> {
        self.sql.all(
            concat!(
                "SELECT ",
                rows::recall_columns!(),
                " FROM recall WHERE grant_id = ?1 AND done = 0"
            ),
            params![to_i64(grant.0)],
            rows::recall,
        )
    }

    fn put_recall(&mut self, recall: &Recall) -> Done<()> {
        writes::put_recall(&mut self.sql, recall)
    }

    fn waitlist(&mut self, item: ItemId) -> Done<Option<Grant>> {
        self.flush()?;
        let found = self.sql.one(
            queries::WAITLIST.sqlite,
            params![item.0, SlotKey::WAITLIST],
            rows::grant,
        )?;
        Ok(found.map(|row| self.cache.grants.read(row)))
    }

    fn waitlist_entry(&mut self, id: &TicketId) -> Done<Option<WaitlistEntry>> {
        self.sql.one(queries::ENTRY.sqlite, params![id.text().as_str()], entry)
    }

    fn waitlist_entry_of(&mut self, item: ItemId, buyer: &BuyerId) -> Done<Option<WaitlistEntry>> {
        self.sql.one(queries::ENTRY_OF.sqlite, params![item.0, buyer.as_str()], entry)
    }

    fn waiting_entries(&mut self, item: ItemId, limit: usize) -> Done<Vec<WaitlistEntry>> {
        self.sql.all(queries::WAITING_ENTRIES.sqlite, params![item.0, as_limit(limit)], entry)
    }

    fn put_waitlist_entry(&mut self, entry: &WaitlistEntry) -> Done<()> {
        writes::put_waitlist_entry(&mut self.sql, entry)
    }

    fn append_event(&mut self, event: &Event) -> Done<()> {
        events::append(self, event)
    }

    fn inbox(&mut self, provider: &str, event: &str) -> Done<bool> {
        let sql = queries::INBOX.sqlite;
        Ok(self.sql.one(sql, params![provider, event], |_| Ok(()))?.is_some())
    }

    fn insert_inbox(&mut self, provider: &str, event: &str, at: Millis) -> Done<()> {
        self.sql.run(
            "INSERT INTO inbox (provider, event_id, at) VALUES (?1, ?2, ?3)",
            params![provider, event, at.0],
        )?;
        Ok(())
    }

    fn payment(&mut self, id: &PaymentId) -> Done<Option<Payment>> {
        self.sql.one(queries::PAYMENT.sqlite, params![id.0], money::payment)
    }

    fn payments_of(&mut self, order: &TicketId) -> Done<Vec<Payment>> {
        self.sql.all(queries::PAYMENTS_OF.sqlite, params![order.text().as_str()], money::payment)
    }

    fn put_payment(&mut self, payment: &Payment) -> Done<()> {
        writes::put_payment(self, payment)
    }

    fn refund(&mut self, id: &RefundId) -> Done<Option<Refund>> {
        self.sql.one(queries::REFUND.sqlite, params![id.0], money::refund)
    }

    fn put_refund(&mut self, refund: &Refund) -> Done<()> {
        writes::put_refund(&mut self.sql, refund)
    }

    fn checkout(&mut self, order: &TicketId) -> Done<Option<Checkout>> {
        let Some(parts) = order.parts() else { return Ok(None) };
        let found = self.sql.one(
            queries::CHECKOUT.sqlite,
            params![to_i64(parts.grant.0), to_i64(parts.n.0)],
            money::checkout,
        )?;
        Ok(found.filter(|checkout| checkout.order == *order))
    }

    fn put_checkout(&mut self, checkout: &Checkout) -> Done<()> {
        checkouts::put_checkout(&mut self.sql, checkout)
    }
}
