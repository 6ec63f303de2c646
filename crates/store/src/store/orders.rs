//! Tickets and orders: settling, verdicts, changes of an order, and lists.
use std::sync::Arc;

use doorbuster_core::event::Attribution;
use doorbuster_core::order::{ChangeOutcome, EndReason, PayOutcome};
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{
    BuyerId, GrantId, ItemId, Millis, Order, RequestKey, Ticket, TicketId, TicketN, TicketParts,
    Verdict, order, settle,
};

use crate::contract::{OrderQuery, Page};
use crate::failure::Done;
use crate::limits::PAGE_ROWS_MAX;
use crate::sql::{Row, Statement, Value, as_limit, statement, to_i64, values};
use crate::transaction::{RetryUnknown, Transaction};
use crate::{actions, queries, rows};

use super::{Store, StoreResult};

const REQUESTS: Statement = statement(
    "SELECT buyer, request_key, n FROM orders WHERE grant_id = $1 AND n > $2 ORDER BY n LIMIT $3",
);
const NEXT_DUE: Statement = Statement {
    sqlite: "SELECT pay_by + ask_ms FROM orders WHERE state = 'reserved' ORDER BY pay_by + ask_ms
     LIMIT 1",
    postgres: "SELECT at FROM order_due ORDER BY at LIMIT 1",
};
const QUOTA: Statement = statement("SELECT used FROM quota WHERE buyer = $1 AND item_id = $2");

fn end(
    tx: &mut Transaction<'_, '_>,
    id: &TicketId,
    how: EndReason,
    by: &Attribution,
) -> Done<ChangeOutcome> {
    if how == EndReason::Refund {
        // The refund needs the order's payments. The lock order says that payments are locked
        // before the item, so this call locks the payments here.
        tx.lock_order(id)?;
        tx.ledger().payments_of(id)?;
    }
    let (now, before) = (tx.now(), order_before(tx, id)?);
    let changed = order::end(tx.ledger(), id, how, by, now)?;
    record_order(tx, before.as_ref(), changed)
}

/// If an operator makes the change, locks and returns the order. If somebody else makes the change,
/// returns `None`, because only an operator's change is recorded.
fn order_before(tx: &mut Transaction<'_, '_>, id: &TicketId) -> Done<Option<Order>> {
    if !tx.has_action() {
        return Ok(None);
    }
    tx.lock_order(id)?;
    tx.ledger().order(id)
}

fn extend(
    tx: &mut Transaction<'_, '_>,
    id: &TicketId,
    pay_by: Millis,
    by: &Attribution,
) -> Done<ChangeOutcome> {
    let (now, before) = (tx.now(), order_before(tx, id)?);
    let changed = order::extend(tx.ledger(), id, pay_by, by, now)?;
    record_order(tx, before.as_ref(), changed)
}

fn record_order(
    tx: &mut Transaction<'_, '_>,
    before: Option<&Order>,
    changed: ChangeOutcome,
) -> Done<ChangeOutcome> {
    if let Some(fields) = actions::changed_order(before, &changed) {
        tx.record(&fields)?;
    }
    Ok(changed)
}

impl Store {
    /// Resolves all tickets in one transaction, at one instant
    /// ([`doorbuster_core::settle::settle`]). The verdicts are in the same sequence as the tickets.
    ///
    /// If the statement for a ticket fails, that ticket is returned and becomes a dead letter. The
    /// other tickets are settled.
    pub async fn settle(&self, tickets: Vec<Arc<Ticket>>) -> StoreResult<Vec<TicketVerdict>> {
        match self {
            Self::Sqlite(s) => s.settle(tickets).await,
            Self::Postgres(s) => Box::pin(s.settle(tickets)).await,
        }
    }

    /// Forces a verdict (see [`doorbuster_core::settle::force_verdict`]). Returns `None` if the
    /// ticket may still be settled.
    pub async fn force_verdict(
        &self,
        id: TicketId,
        parts: TicketParts,
        buyer: BuyerId,
    ) -> StoreResult<Option<TicketVerdict>> {
        let key = self.id_key();
        self.job(RetryUnknown::Allowed, move |tx| {
            let (now, rules) = (tx.now(), tx.ledger());
            if let Some(grant) = rules.grant(parts.grant)? {
                // This call locks the buyer's quota. After that, every other transaction that
                // settles tickets of this buyer and item has ended, or waits for the lock.
                rules.quota(grant.slot.item, &buyer)?;
            }
            settle::force_verdict(rules, &key, id, &parts, &buyer, now)
        })
        .await
    }

    /// Returns a ticket's verdict, if it has one.
    pub async fn verdict(&self, id: TicketId) -> StoreResult<Option<TicketVerdict>> {
        // A verdict never changes, so two reads from separate snapshots are consistent.
        if let Some(order) = self.order(id).await? {
            let (verdict, order) = (Verdict::Reserved, Some(order));
            return Ok(Some(TicketVerdict { id, verdict, order, fresh: false }));
        }
        let Some(found) = self.one(queries::RESOLUTION, values![id], rows::resolution).await?
        else {
            return Ok(None);
        };
        let order = match found.verdict {
            Verdict::Order(id) => self.order(id).await?,
            _ => None,
        };
        Ok(Some(TicketVerdict { id, verdict: found.verdict, order, fresh: false }))
    }

    /// Returns the order with this id.
    pub async fn order(&self, id: TicketId) -> StoreResult<Option<Order>> {
        let Some(parts) = id.parts() else { return Ok(None) };
        let found = self.one(queries::ORDER, values![parts.grant, parts.n], rows::order).await?;
        Ok(found.filter(|order| order.id == id))
    }

    /// Returns the order that a request holds.
    pub async fn order_of(&self, buyer: BuyerId, key: RequestKey) -> StoreResult<Option<Order>> {
        let values = values![buyer.as_str().to_owned(), key.as_str().to_owned()];
        self.one(queries::ORDER_OF, values, rows::order).await
    }

    /// Returns a page of orders. If the oldest orders come first, an order that is created between
    /// the reads of two pages is on a later page. Exception in PostgreSQL: if the transaction of an
    /// order takes long, the order may belong to a page that was already read.
    pub async fn orders(&self, query: OrderQuery) -> StoreResult<Page<Order>> {
        let limit = query.limit.min(PAGE_ROWS_MAX);
        let (beyond, start, direction) = match query.oldest_first {
            true => (">", 0, "ASC"),
            false => ("<", i64::MAX, "DESC"),
        };
        let mut text = format!(
            concat!("SELECT ", rows::order_columns!(), ", o.seq FROM orders o WHERE o.seq {} $1"),
            beyond
        );
        let mut values = vec![Value::from(query.after.unwrap_or(start))];
        if let Some(buyer) = &query.buyer {
            values.push(Value::from(buyer.as_str().to_owned()));
            text.push_str(&format!(" AND o.buyer = ${}", values.len()));
        }
        if let Some(items) = &query.items {
            values.push(Value::from(items.as_slice()));
            text.push_str(&format!(" AND {}", self.in_list("o.item_id", values.len())));
        }
        if let Some(state) = query.state {
            values.push(Value::from(state.as_str()));
            text.push_str(&format!(" AND o.state = ${}", values.len()));
        }
        values.push(Value::from(as_limit(limit + 1)));
        text.push_str(&format!(" ORDER BY o.seq {direction} LIMIT ${}", values.len()));
        let order = |row: Row<'_>| Ok((rows::order(row)?, row.get(12)?));
        Ok(Page::of_pairs(self.list(text, values, order).await?, limit))
    }

    /// Extends the payment window of an order (see [`doorbuster_core::order::extend`]).
    pub async fn extend_order(
        &self,
        id: TicketId,
        pay_by: Millis,
        by: Attribution,
    ) -> StoreResult<ChangeOutcome> {
        self.job(RetryUnknown::Never, move |tx| extend(tx, &id, pay_by, &by)).await
    }

    /// Like [`Store::extend_order`], but adds `ms` to the order's present `pay_by`. If this time
    /// has passed, adds `ms` to the present time.
    pub async fn extend_order_by(
        &self,
        id: TicketId,
        ms: i64,
        by: Attribution,
    ) -> StoreResult<ChangeOutcome> {
        self.job(RetryUnknown::Never, move |tx| {
            tx.lock_order(&id)?;
            match tx.ledger().order(&id)? {
                Some(order) => {
                    let from = order.pay_by.max(tx.now());
                    extend(tx, &id, from.plus(ms), &by)
                }
                None => Ok(ChangeOutcome::NotFound),
            }
        })
        .await
    }

    /// Ends an order (see [`doorbuster_core::order::end`]).
    pub async fn end_order(
        &self,
        id: TicketId,
        how: EndReason,
        by: Attribution,
    ) -> StoreResult<ChangeOutcome> {
        self.job(RetryUnknown::Never, move |tx| end(tx, &id, how, &by)).await
    }

    /// Marks an order as paid (see [`doorbuster_core::order::pay`]).
    pub async fn pay_order(&self, id: TicketId) -> StoreResult<PayOutcome> {
        self.job(RetryUnknown::Never, move |tx| {
            tx.lock_order(&id)?;
            let now = tx.now();
            order::pay(tx.ledger(), &id, Attribution::ENGINE, now)
        })
        .await
    }

    /// Expires at most `limit` reserved orders whose `pay_by` has passed, and returns them. The
    /// order that has been due longest comes first. An order with an open checkout expires later:
    /// it also waits [`doorbuster_core::money::Checkout::provider_wait_ms`] for its payment
    /// provider.
    ///
    /// If two calls run at the same time, the second call waits until the first call has committed.
    /// The second call does not wait until this commit is published.
    pub async fn expire_due(&self, limit: usize) -> StoreResult<Vec<Order>> {
        match self {
            Self::Sqlite(s) => s.expire_due(limit).await,
            Self::Postgres(s) => Box::pin(s.expire_due(limit)).await,
        }
    }

    /// Returns when the next reserved order will expire: its `pay_by` plus the time that it waits
    /// for its provider. Without an open checkout, this wait is 0. Returns `None` if no order is
    /// reserved.
    pub async fn next_due(&self) -> StoreResult<Option<Millis>> {
        self.one(NEXT_DUE, [], |row| Ok(Millis(row.get(0)?))).await
    }

    /// Returns the request hashes ([`doorbuster_core::RequestHash::low_64_bits`]) of at most
    /// `limit` orders under this grant, sorted by ticket number. Also returns the next call's
    /// `after`, or `None` if there is no further page. `after` is `None` in the first call.
    pub async fn request_hashes_of(
        &self,
        grant: GrantId,
        after: Option<TicketN>,
        limit: usize,
    ) -> StoreResult<(Vec<u64>, Option<TicketN>)> {
        let (key, limit) = (self.id_key(), limit.min(PAGE_ROWS_MAX));
        let after = after.map_or(-1, |n| to_i64(n.0));
        let request = move |row: Row<'_>| {
            let hash = key.request_hash(row.text(0, "buyer")?, row.text(1, "request key")?);
            Ok((hash.low_64_bits(), TicketN(row.number(2)?)))
        };
        let found = self.all(REQUESTS, values![grant, after, as_limit(limit)], request).await?;
        let next = found.last().filter(|_| found.len() >= limit).map(|(_, n)| *n);
        Ok((found.into_iter().map(|(hash, _)| hash).collect(), next))
    }

    /// Returns the units that the buyer holds of an item.
    pub async fn quota(&self, item: ItemId, buyer: BuyerId) -> StoreResult<u32> {
        let values = values![buyer.as_str().to_owned(), item];
        Ok(self.one(QUOTA, values, |row| row.number_u32(0, "quota")).await?.unwrap_or(0))
    }
}
