//! Checkouts in PostgreSQL, and the documents of the built-in provider.
//!
//! The order also stores how long it waits for its provider (`provider_wait_ms`), so that expiry
//! need not read orders that still wait. Each open checkout stores when it must be closed (`due`).
//! The time depends on the order, so every write of an order also writes `due` (`flush`).
use std::sync::Arc;

use doorbuster_core::money::{self, Checkout, CheckoutOutcome};
use doorbuster_core::{Order, OrderState, TicketId};

use crate::contract::CheckoutDeferral;
use crate::limits::PAGE_ROWS_MAX;
use crate::store::StoreResult;

use super::failure::Failure;
use super::flush::{self, Query};
use super::ledger::PostgresLedger;
use super::prefetch::{self, DueOrder};
use super::read::as_limit;
use super::rows::money::{checkout as row, checkout_at, checkout_columns};
use super::rows::{self, int};
use super::shared::Shared;
use super::transaction::{
    CommittedResult, RetryState, RetryUnknown, await_answer, await_commit, return_connection,
};
use super::{Postgres, connect};

impl Postgres {
    pub(crate) async fn keep_checkout(&self, checkout: Checkout) -> StoreResult<CheckoutOutcome> {
        self.job(RetryUnknown::Allowed, move |ledger| money::keep_checkout(ledger, &checkout)).await
    }

    pub(crate) async fn checkout(&self, order: TicketId) -> StoreResult<Option<Checkout>> {
        let Some(parts) = order.parts() else { return Ok(None) };
        const SQL: &str = concat!(
            "SELECT ",
            checkout_columns!(),
            " FROM checkout c WHERE c.grant_id = $1 AND c.n = $2"
        );
        let found = self.one(SQL, &[&int(parts.grant.0), &int(parts.n.0)], row).await?;
        Ok(found.filter(|checkout| checkout.order == order))
    }

    pub(crate) async fn close_checkout(
        &self,
        order: TicketId,
        session: String,
    ) -> StoreResult<bool> {
        self.job(RetryUnknown::Allowed, move |ledger| {
            money::close_checkout(ledger, &order, &session)
        })
        .await
    }

    pub(crate) async fn checkouts_to_close(
        &self,
        limit: usize,
    ) -> StoreResult<Vec<(Checkout, Order)>> {
        const SQL: &str = concat!(
            "SELECT ",
            rows::order_columns!(),
            ", ",
            checkout_columns!(),
            " FROM checkout c JOIN orders o ON o.grant_id = c.grant_id AND o.n = c.n
              WHERE c.open AND c.due <= $1 ORDER BY o.state <> 'reserved', c.due LIMIT $2"
        );
        let limit = as_limit(limit.min(PAGE_ROWS_MAX));
        self.all(SQL, &[&self.now().0, &limit], |row| {
            Ok((checkout_at(row, 12)?, rows::order(row)?))
        })
        .await
    }

    /// If the outcome is unknown, the caller may repeat the call. The result is the same, but the
    /// delay starts at the repeated call.
    pub(crate) async fn defer_checkouts(&self, all: Vec<CheckoutDeferral>) -> StoreResult<usize> {
        let shared = Arc::clone(self.shared());
        shared.check_accepting()?;
        self.run_to_completion(async move {
            let mut tries = RetryState::new();
            loop {
                let failure = match put_off(&shared, &all).await {
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

    pub(crate) async fn sandbox_get(&self, key: &str) -> StoreResult<Option<String>> {
        self.one("SELECT value FROM sandbox WHERE key = $1", &[&key], |row| Ok(row.try_get(0)?))
            .await
    }

    /// If the outcome is unknown, the caller must read the document. A second run would find the
    /// document of the first run.
    pub(crate) async fn sandbox_swap(
        &self,
        key: String,
        old: Option<String>,
        new: String,
    ) -> StoreResult<bool> {
        let swap = move |ledger: &mut PostgresLedger<'_>| {
            let changed = match &old {
                None => {
                    let sql =
                        "INSERT INTO sandbox (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
                    ledger.run(sql, &[&key, &new])?
                }
                Some(old) => ledger.run(
                    "UPDATE sandbox SET value = $3 WHERE key = $1 AND value = $2",
                    &[&key, old, &new],
                )?,
            };
            Ok(changed == 1)
        };
        self.job(RetryUnknown::Never, swap).await
    }

    pub(crate) async fn sandbox_delete(
        &self,
        documents: Vec<(String, String)>,
    ) -> StoreResult<usize> {
        let (keys, values): (Vec<String>, Vec<String>) = documents.into_iter().unzip();
        let forget = move |ledger: &mut PostgresLedger<'_>| {
            let sql = "DELETE FROM sandbox s USING unnest($1::text[], $2::text[]) AS t (key, value)
                 WHERE s.key = t.key AND s.value = t.value";
            ledger.run(sql, &[&keys, &values])
        };
        let deleted = self.job(RetryUnknown::Allowed, forget).await?;
        Ok(usize::try_from(deleted).unwrap_or(usize::MAX))
    }

    pub(crate) async fn sandbox_list(
        &self,
        prefix: String,
        after: String,
        limit: usize,
    ) -> StoreResult<Vec<(String, String)>> {
        let sql = "SELECT key, value FROM sandbox WHERE key >= $1 AND key > $2
                   AND starts_with(key, $1) ORDER BY key LIMIT $3";
        let limit = as_limit(limit.min(PAGE_ROWS_MAX));
        self.all(sql, &[&prefix, &after, &limit], |row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .await
    }
}

/// Postpones many checkouts at once. It reads them after it locked their orders, applies the rules,
/// and writes them together.
async fn put_off(
    shared: &Shared,
    all: &[CheckoutDeferral],
) -> Result<CommittedResult<usize>, Failure> {
    let object = connect::get(&shared.writes).await?;
    let outcome = async {
        let parts = all.iter().filter_map(|it| it.order.parts());
        let due: Vec<DueOrder> =
            parts.map(|parts| DueOrder { grant: parts.grant, n: parts.n, item: None }).collect();
        let (cache, publish) = await_answer(prefetch::orders(&object, &due)).await?;
        let mut ledger = PostgresLedger::prefetched(cache, shared.clock.for_transaction(publish));
        let mut later = Vec::with_capacity(all.len());
        for it in all {
            let Some(parts) = it.order.parts().filter(|_| is_open(&ledger, it)) else { continue };
            let now = ledger.now;
            if it.no_answer {
                money::record_unanswered_check(&mut ledger, &it.order, &it.session, now)?;
            }
            // If the payment window of an order was extended meanwhile, the order is not due before
            // its new end.
            let waits = ledger
                .cache
                .orders
                .get(&it.order)
                .filter(|order| order.state == OrderState::Reserved);
            let due = waits.map_or(now, |order| order.pay_by).max(now.plus(it.ms));
            later.push((parts.grant, parts.n, due));
        }
        let writer = shared.writer();
        let mut queries = flush::queries(shared, &ledger.cache, ledger.now, false);
        // This write comes after the write of the checkout, which sets `due` to the order's due
        // time.
        queries.push(Query::put_off(&later));
        let transaction_id =
            await_commit(flush::commit(&object, &queries, ledger.cache.commit_notice(writer)))
                .await?;
        Ok(CommittedResult {
            value: later.len(),
            orders: Vec::new(),
            events: false,
            transaction_id,
        })
    }
    .await;
    if let Err(failure) = &outcome {
        return_connection(object, failure).await;
    }
    outcome
}

/// Returns whether this is the order's checkout, and the checkout is open.
fn is_open(ledger: &PostgresLedger<'_>, it: &CheckoutDeferral) -> bool {
    let kept = ledger.cache.checkouts.get(&it.order);
    kept.is_some_and(|kept| kept.row.open && kept.row.session == it.session)
}
