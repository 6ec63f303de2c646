//! Postpones checkouts in PostgreSQL.
//!
//! Each open checkout stores when it must be closed (`due`). `due` depends on the order, so `flush`
//! writes `due` whenever it writes the order.
use std::sync::Arc;

use doorbuster_core::{OrderState, money};

use crate::contract::CheckoutDeferral;
use crate::contract::StoreResult;
use crate::failure::Failure;

use super::answer_wait::{await_answer, await_commit};
use super::flush::Query;
use super::ledger::PostgresLedger;
use super::prefetch::DueOrder;
use super::shared::Shared;
use super::transaction::{CommittedResult, end_transaction, retry};
use super::{Postgres, connect, flush, prefetch};

impl Postgres {
    /// Postpones the checks of the checkouts that are still open, and returns their number. If the
    /// outcome of the commit is unknown, the transaction runs again, and each delay starts at this
    /// second run.
    pub(crate) async fn defer_checkouts(&self, all: Vec<CheckoutDeferral>) -> StoreResult<usize> {
        let shared = Arc::clone(self.shared());
        shared.state.check_accepting()?;
        self.run_to_completion(async move {
            let (done, tries) = retry(&shared, || put_off(&shared, &all)).await?;
            Ok(done.publish(&shared, &tries).await)
        })
        .await
    }
}

/// Makes one attempt of the transaction. Locks the orders before it reads their checkouts. Every
/// transaction locks an order's grant before it changes the order's checkout. So no other
/// transaction changes these checkouts after this read.
async fn put_off(
    shared: &Shared,
    all: &[CheckoutDeferral],
) -> Result<CommittedResult<usize>, Failure> {
    let object = connect::get_for_transaction(&shared.writes).await?;
    let outcome = async {
        let parts = all.iter().filter_map(|it| it.order.parts());
        let due: Vec<DueOrder> =
            parts.map(|parts| DueOrder { grant: parts.grant, n: parts.n, item: None }).collect();
        let (cache, publish) = await_answer(prefetch::orders(&object, &due)).await?;
        let mut ledger = PostgresLedger::prefetched(cache, shared.clock.for_transaction(publish));
        let mut later = Vec::with_capacity(all.len());
        for it in all {
            let Some(parts) = it.order.parts().filter(|_| is_open(&ledger, it)) else { continue };
            // Expiry and the next read of due checkouts use the monotonic time, so this code also
            // uses the monotonic time.
            let now = shared.clock.monotonic();
            if it.unanswered {
                money::record_unanswered_check(&mut ledger, &it.order, &it.session, now)?;
            }
            // The checkout of an order that waits for payment is closed only after the payment
            // window. Another transaction may have extended the window, so the end of the window is
            // read from the locked order.
            let waits = ledger
                .cache
                .orders
                .get(&it.order)
                .filter(|order| order.state == OrderState::Reserved);
            let due = waits.map_or(now, |order| order.pay_by).max(now.plus(it.ms));
            later.push((parts.grant, parts.n, due));
        }
        let mut queries = flush::queries(shared, &ledger.cache, ledger.now, false);
        // If `queries` write a checkout, these queries also set the checkout's `due`. So this
        // statement must come last.
        queries.push(Query::put_off(&later));
        let transaction_id =
            await_commit(flush::commit(&object, &queries, ledger.cache.has_changes())).await?;
        Ok(CommittedResult {
            value: later.len(),
            orders: Vec::new(),
            events: false,
            only_settled: false,
            transaction_id,
        })
    }
    .await;
    end_transaction(object, outcome.as_ref().err()).await;
    outcome
}

fn is_open(ledger: &PostgresLedger<'_>, it: &CheckoutDeferral) -> bool {
    let kept = ledger.cache.checkouts.get(&it.order);
    kept.is_some_and(|kept| kept.open && kept.session == it.session)
}
