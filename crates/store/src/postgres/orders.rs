//! Expires orders.
use std::sync::Arc;

use doorbuster_core::event::Attribution;
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::{GrantId, ItemId, Order, OrderState, TicketN, order};

use crate::contract::StoreResult;
use crate::failure::Failure;
use crate::sql::{Row, as_limit};

use super::answer_wait::{await_answer, await_commit};
use super::ledger::PostgresLedger;
use super::prefetch::DueOrder;
use super::row_cache::RowCache;
use super::shared::Shared;
use super::transaction::{CommittedResult, end_transaction, retry};
use super::{Postgres, connect, flush, prefetch};

/// Selects only the numbers of due orders, because the orders are read after they are locked.
/// Orders that are due at the same time are sorted by their creation.
const DUE: &str = "SELECT grant_id, n, item_id FROM order_due WHERE at <= $1 ORDER BY at, seq
     LIMIT $2";

impl Postgres {
    pub(crate) async fn expire_due(&self, limit: usize) -> StoreResult<Vec<Order>> {
        let shared = Arc::clone(self.shared());
        shared.state.check_accepting()?;
        self.run_to_completion(async move {
            let (done, tries) = retry(&shared, || expire(&shared, limit)).await?;
            Ok(done.publish(&shared, &tries).await)
        })
        .await
    }
}

async fn expire(shared: &Shared, limit: usize) -> Result<CommittedResult<Vec<Order>>, Failure> {
    let _turn = shared.expiring.lock().await;
    let object = connect::get_for_transaction(&shared.writes).await?;
    let outcome = async {
        let due = await_answer(async {
            // An order may be due by the monotonic clock, but not by the database's clock. The
            // rules then leave the order unchanged.
            let now = shared.clock.monotonic();
            let found = object
                .query(&object.prepare_cached(DUE).await?, &[&now.0, &as_limit(limit)])
                .await?;
            found.iter().map(|row| due(row.into())).collect::<Result<Vec<_>, _>>()
        })
        .await?;
        if due.is_empty() {
            return Ok(CommittedResult::of(Vec::new(), &RowCache::default(), None));
        }
        let (cache, publish) = await_answer(prefetch::orders(&object, &due)).await?;
        let mut ledger = PostgresLedger::prefetched(cache, shared.clock.for_transaction(publish));
        let expired = end(&mut ledger, &due)?;
        let queries = flush::queries(shared, &ledger.cache, ledger.now, false);
        let transaction_id =
            await_commit(flush::commit(&object, &queries, ledger.cache.has_changes())).await?;
        Ok(CommittedResult::of(expired, &ledger.cache, transaction_id))
    }
    .await;
    end_transaction(object, outcome.as_ref().err()).await;
    outcome
}

fn due(row: Row<'_>) -> Result<DueOrder, Failure> {
    let (grant, n) = (GrantId(row.number(0)?), TicketN(row.number(1)?));
    Ok(DueOrder { grant, n, item: Some(ItemId(row.get(2)?)) })
}

fn end(ledger: &mut PostgresLedger<'_>, due: &[DueOrder]) -> Result<Vec<Order>, Failure> {
    let now = ledger.now;
    let mut expired = Vec::with_capacity(due.len());
    for order in due {
        let Some(id) = ledger.cache.numbers.get(&(order.grant, order.n)).copied() else { continue };
        match order::end(ledger, &id, EndReason::Expire, Attribution::ENGINE, now)? {
            ChangeOutcome::Done(order) => expired.push(order),
            // The rules do not allow this order to expire yet. The previous version of the program
            // may have stored too short a wait for the provider (`ask_ms`). So this call computes
            // and writes `ask_ms` again.
            ChangeOutcome::WrongState(order) if order.state == OrderState::Reserved => {
                ledger.cache.checkouts.rewrite(&order.id);
            }
            _ => {}
        }
    }
    Ok(expired)
}
