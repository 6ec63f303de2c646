//! Expiry, extensions of orders, and lists of orders.
use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use doorbuster_core::event::Attribution;
use doorbuster_core::order::{self, ChangeOutcome, EndReason};
use doorbuster_core::{GrantId, ItemId, Millis, Order, OrderState, TicketId, TicketN};

use super::calls::{order_before, record_order};
use crate::contract::{DeadLetterTicket, OrderPage, OrderQuery};
use crate::limits::PAGE_ROWS_MAX;
use crate::store::StoreResult;

use super::failure::Failure;
use super::flush;
use super::ledger::PostgresLedger;
use super::prefetch::{self, DueOrder};
use super::read::as_limit;
use super::shared::Shared;
use super::transaction::{
    CommittedResult, RetryState, RetryUnknown, await_answer, await_commit, return_connection,
};
use super::{Postgres, connect, rows};

/// Selects only the numbers of due orders. The orders are read after they are locked.
const DUE: &str = "SELECT o.grant_id, o.n, o.item_id, o.pay_by + o.ask_ms, o.seq FROM orders o
     WHERE o.state = 'reserved' AND o.pay_by + o.ask_ms <= $1 ORDER BY o.pay_by + o.ask_ms
     LIMIT $2";

/// The order of a list of orders.
#[derive(Clone, Copy)]
enum PageOrder {
    Newest,
    Oldest,
}

impl Postgres {
    pub(crate) async fn expire_due(&self, limit: usize) -> StoreResult<Vec<Order>> {
        let shared = Arc::clone(self.shared());
        shared.check_accepting()?;
        self.run_to_completion(async move {
            let mut tries = RetryState::new();
            loop {
                let turn = shared.expiring.lock().await;
                let expired = expire(&shared, limit).await;
                drop(turn);
                let failure = match expired {
                    Ok(done) => return Ok(done.publish(&shared, &tries).await),
                    Err(failure) => failure,
                };
                tries
                    .wait_to_retry(&shared, failure, RetryUnknown::Allowed)
                    .await
                    .map_err(|failure| shared.store_error(failure))?;
            }
        })
        .await
    }

    pub(crate) async fn extend_order(
        &self,
        id: TicketId,
        pay_by: Millis,
        by: Attribution,
    ) -> StoreResult<ChangeOutcome> {
        let extend = move |ledger: &mut PostgresLedger<'_>| {
            let (now, before) = (ledger.now, order_before(ledger, &id)?);
            let changed = order::extend(ledger, &id, pay_by, &by, now)?;
            record_order(ledger, before.as_ref(), changed)
        };
        self.job(RetryUnknown::Never, extend).await
    }

    pub(crate) async fn orders(&self, query: OrderQuery) -> StoreResult<OrderPage> {
        self.page(&query, PageOrder::Newest).await
    }

    pub(crate) async fn orders_oldest_first(&self, query: OrderQuery) -> StoreResult<OrderPage> {
        self.page(&query, PageOrder::Oldest).await
    }

    async fn page(&self, query: &OrderQuery, first: PageOrder) -> StoreResult<OrderPage> {
        let limit = query.limit.min(PAGE_ROWS_MAX);
        let (beyond, start, direction) = match first {
            PageOrder::Newest => ("<", i64::MAX, "DESC"),
            PageOrder::Oldest => (">", 0, "ASC"),
        };
        // Unused conditions are left out, so that PostgreSQL makes a separate plan for each kind of
        // list.
        let mut sql = format!(
            concat!("SELECT ", rows::order_columns!(), ", o.seq FROM orders o WHERE o.seq {} $1"),
            beyond
        );
        let after = query.after.unwrap_or(start);
        // One row more than the limit shows whether there is a next page.
        let most = as_limit(limit + 1);
        let buyer = query.buyer.as_ref().map(|b| b.as_str());
        let items: Option<Vec<i64>> =
            query.items.as_ref().map(|items| items.iter().map(|item| item.0).collect());
        let state = query.state.map(|state| state.as_str());
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&after];
        for (value, condition) in [
            (buyer.as_ref().map(|b| b as &(dyn ToSql + Sync)), "o.buyer = $"),
            (items.as_ref().map(|i| i as &(dyn ToSql + Sync)), "o.item_id = ANY($"),
            (state.as_ref().map(|s| s as &(dyn ToSql + Sync)), "o.state = $"),
        ] {
            if let Some(value) = value {
                params.push(value);
                let close = if condition.ends_with("($") { ")" } else { "" };
                sql.push_str(&format!(" AND {condition}{}{close}", params.len()));
            }
        }
        params.push(&most);
        sql.push_str(&format!(" ORDER BY o.seq {direction} LIMIT ${}", params.len()));
        let mut found = self
            .all(&sql, &params, |row| Ok((rows::order(row)?, row.try_get::<_, i64>(12)?)))
            .await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(_, seq)| *seq);
        Ok(OrderPage { orders: found.into_iter().map(|(order, _)| order).collect(), next })
    }

    pub(crate) async fn request_hashes_of(
        &self,
        items: &[ItemId],
        after: i64,
        limit: usize,
    ) -> StoreResult<(Vec<u64>, Option<i64>)> {
        let limit = limit.min(PAGE_ROWS_MAX);
        let key = &self.shared().id_key;
        let sql = "SELECT buyer, request_key, seq FROM orders WHERE seq > $1 AND item_id = ANY($2)
                   ORDER BY seq LIMIT $3";
        let items: Vec<i64> = items.iter().map(|item| item.0).collect();
        let mut last = None;
        let requests = self
            .all(sql, &[&after, &items, &as_limit(limit)], |row| {
                last = Some(row.try_get(2)?);
                Ok(key.request_hash(row.try_get(0)?, row.try_get(1)?).low_64_bits())
            })
            .await?;
        let next = if requests.len() < limit { None } else { last };
        Ok((requests, next))
    }

    pub(crate) async fn dead_letter_tickets(
        &self,
        limit: usize,
    ) -> StoreResult<Vec<DeadLetterTicket>> {
        let sql = "SELECT ticket, reason, at FROM dead_letter ORDER BY seq DESC LIMIT $1";
        self.all(sql, &[&as_limit(limit)], |row| {
            Ok(DeadLetterTicket {
                ticket: rows::ticket(row, 0)?,
                reason: row.try_get(1)?,
                at: Millis(row.try_get(2)?),
            })
        })
        .await
    }
}

/// Expires many due orders at once. It finds them, locks and reads them again, expires them by the
/// rules, and writes them together.
async fn expire(shared: &Shared, limit: usize) -> Result<CommittedResult<Vec<Order>>, Failure> {
    let object = connect::get(&shared.writes).await?;
    let outcome = async {
        let due = await_answer(async {
            // An order may be due by this clock, but not by the database's clock. The rules then
            // leave it unchanged.
            let now = shared.clock.monotonic();
            let found = object
                .query(&object.prepare_cached(DUE).await?, &[&now.0, &as_limit(limit)])
                .await?;
            let mut due = found.iter().map(due).collect::<Result<Vec<_>, _>>()?;
            // Orders that are due at the same time stay in the order of their creation, even if
            // they were updated later.
            due.sort_unstable_by_key(|(place, _)| *place);
            Ok::<Vec<DueOrder>, Failure>(due.into_iter().map(|(_, order)| order).collect())
        })
        .await?;
        if due.is_empty() {
            return Ok(CommittedResult {
                value: Vec::new(),
                orders: Vec::new(),
                events: false,
                transaction_id: None,
            });
        }
        let (cache, publish) = await_answer(prefetch::orders(&object, &due)).await?;
        let mut ledger = PostgresLedger::prefetched(cache, shared.clock.for_transaction(publish));
        let expired = end(&mut ledger, &due)?;
        let writer = shared.writer();
        let queries = flush::queries(shared, &ledger.cache, ledger.now, false);
        let transaction_id =
            await_commit(flush::commit(&object, &queries, ledger.cache.commit_notice(writer)))
                .await?;
        let events = !ledger.cache.events.is_empty();
        Ok(CommittedResult {
            value: expired,
            orders: ledger.cache.changed_orders(),
            events,
            transaction_id,
        })
    }
    .await;
    if let Err(failure) = &outcome {
        return_connection(object, failure).await;
    }
    outcome
}

/// Parses when an order is due, its sequence number, and the order.
fn due(row: &Row) -> Result<((i64, i64), DueOrder), Failure> {
    let (grant, n) = (GrantId(rows::number(row, 0)?), TicketN(rows::number(row, 1)?));
    Ok((
        (row.try_get(3)?, row.try_get(4)?),
        DueOrder { grant, n, item: Some(ItemId(row.try_get(2)?)) },
    ))
}

fn end(ledger: &mut PostgresLedger<'_>, due: &[DueOrder]) -> Result<Vec<Order>, Failure> {
    let now = ledger.now;
    let mut expired = Vec::with_capacity(due.len());
    for order in due {
        let Some(id) = ledger.cache.numbers.get(&(order.grant, order.n)).copied() else { continue };
        match order::end(ledger, &id, EndReason::Expire, Attribution::ENGINE, now)? {
            ChangeOutcome::Done(order) => expired.push(order),
            // The provider still has time, because the previous version wrote another
            // `provider_wait_ms`. The row is rewritten, and found again when that time is over.
            ChangeOutcome::WrongState(order) if order.state == OrderState::Reserved => {
                ledger.cache.rewrite_checkout(&order.id);
            }
            _ => {}
        }
    }
    Ok(expired)
}
