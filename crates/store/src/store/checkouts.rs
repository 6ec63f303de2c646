//! Checkouts. Each open checkout stores when it must be closed (`due`). The row of an order stores
//! how long the order waits for its provider (`ask_ms`), so that expiry skips the order during this
//! wait.
use doorbuster_core::money::{Checkout, CheckoutOutcome};
use doorbuster_core::{Order, TicketId, money};

use crate::contract::CheckoutDeferral;
use crate::limits::PAGE_ROWS_MAX;
use crate::rows::money::{checkout, checkout_at, checkout_columns};
use crate::sql::{Row, Statement, as_limit, dialects, values};
use crate::transaction::RetryUnknown;
use crate::{queries, rows};

use super::{Store, StoreResult};

/// Selects due checkouts by a condition on the order's state. The index on `due` sorts the
/// checkouts, so a read stops after `$2` rows.
macro_rules! to_close {
    ($condition:literal) => {
        dialects!(
            concat!(
                "SELECT ",
                rows::order_columns!(),
                ", ",
                checkout_columns!(),
                " FROM checkout c JOIN orders o ON o.grant_id = c.grant_id AND o.n = c.n WHERE "
            ),
            "c.open = 1" | "c.open",
            concat!(" AND c.due <= $1 AND ", $condition, " ORDER BY c.due LIMIT $2")
        )
    };
}
/// Selects due checkouts of reserved orders. When an order leaves this state, its checkout's due
/// time becomes 0. So this read skips the checkout without reading the order.
const WAITING_TO_CLOSE: Statement = to_close!("c.due > 0 AND o.state = 'reserved'");
/// Selects all due checkouts that [`WAITING_TO_CLOSE`] does not select.
const ENDED_TO_CLOSE: Statement = to_close!("(c.due <= 0 OR o.state <> 'reserved')");

impl Store {
    /// Stores an order's checkout (see [`doorbuster_core::money::keep_checkout`]).
    pub async fn keep_checkout(&self, checkout: Checkout) -> StoreResult<CheckoutOutcome> {
        self.job(RetryUnknown::Allowed, move |tx| money::keep_checkout(tx.ledger(), &checkout))
            .await
    }

    /// Returns the order's checkout, open or closed.
    pub async fn checkout(&self, order: TicketId) -> StoreResult<Option<Checkout>> {
        let Some(parts) = order.parts() else { return Ok(None) };
        let found = self.one(queries::CHECKOUT, values![parts.grant, parts.n], checkout).await?;
        Ok(found.filter(|checkout| checkout.order == order))
    }

    /// Records that a checkout is closed (see [`doorbuster_core::money::close_checkout`]).
    pub async fn close_checkout(&self, order: TicketId, session: String) -> StoreResult<bool> {
        self.job(RetryUnknown::Allowed, move |tx| {
            money::close_checkout(tx.ledger(), &order, &session)
        })
        .await
    }

    /// Returns at most `limit` open checkouts that must be closed at their provider, each with its
    /// order. A checkout must be closed if its order no longer waits for a payment, or if the time
    /// `pay_by` is over according to the monotonic time. Checkouts of reserved orders come before
    /// all others. In both groups, the checkout that has been due longest comes first.
    pub async fn checkouts_to_close(&self, limit: usize) -> StoreResult<Vec<(Checkout, Order)>> {
        let (limit, now) = (limit.min(PAGE_ROWS_MAX), self.monotonic_now());
        let row = |row: Row<'_>| Ok((checkout_at(row, 12)?, rows::order(row)?));
        let mut found = self.all(WAITING_TO_CLOSE, values![now, as_limit(limit)], row).await?;
        let rest = limit - found.len();
        if rest > 0 {
            // The first read returned fewer than `limit` checkouts, so it found all due checkouts
            // of reserved orders. The second read finds the due checkouts of all other orders.
            let ended = self.all(ENDED_TO_CLOSE, values![now, as_limit(rest)], row).await?;
            // If an order ended between the two reads, both reads return its checkout. Only the
            // newer result is kept.
            found.retain(|(checkout, _)| {
                ended.iter().all(|(one, _)| one.session != checkout.session)
            });
            found.extend(ended);
        }
        Ok(found)
    }

    /// Postpones checkouts in one transaction, and returns how many of them are still open.
    /// [`Store::checkouts_to_close`] leaves out a postponed checkout until its delay has passed and
    /// its order is due. A change of the order ends the delay. The call also records the queries to
    /// which the provider sent no answer.
    pub async fn defer_checkouts(&self, all: Vec<CheckoutDeferral>) -> StoreResult<usize> {
        match self {
            Self::Sqlite(s) => s.defer_checkouts(all).await,
            Self::Postgres(s) => Box::pin(s.defer_checkouts(all)).await,
        }
    }
}
