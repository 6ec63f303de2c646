//! Money that a provider reversed without a request by this server.
use doorbuster_core::money::{Money, PaymentId, ReversalKind, ReversalOutcome, ReversalReport};
use doorbuster_core::{ItemId, Millis, money};

use crate::contract::ReversedPayment;
use crate::failure::Done;
use crate::limits::NOTICES_MAX;
use crate::sql::{Row, Statement, as_limit, dialects, values};
use crate::transaction::RetryUnknown;

use super::{Store, StoreResult};

const LIST: Statement = dialects!(
    "SELECT r.kind, o.item_id, p.id, p.order_id, r.amount_minor, r.currency, r.at
     FROM went_back r JOIN payment p ON p.id = r.payment_id
     LEFT JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n WHERE ",
    "r.stands = 1" | "r.stands",
    " AND (p.state = 'captured' OR r.kind = 'disputed') ORDER BY r.at DESC, p.id LIMIT $1"
);

fn reversed(row: Row<'_>) -> Done<ReversedPayment> {
    Ok(ReversedPayment {
        kind: row.parse(0, "kind of a reversal", ReversalKind::parse)?,
        item: row.get::<Option<i64>>(1)?.map(ItemId),
        payment: PaymentId(row.get(2)?),
        order: row.get(3)?,
        money: Money { minor: row.get(4)?, currency: row.get(5)? },
        at: Millis(row.get(6)?),
    })
}

impl Store {
    /// Records a provider's report that a captured payment was reversed (see
    /// [`doorbuster_core::money::record_reversal`]).
    pub async fn record_reversal(&self, report: ReversalReport) -> StoreResult<ReversalOutcome> {
        self.job(RetryUnknown::Allowed, move |tx| {
            let now = tx.now();
            money::record_reversal(tx.ledger(), &report, now)
        })
        .await
    }

    /// Returns the reversals that an operator should see, newest first. Returns at most
    /// [`crate::limits::NOTICES_MAX`].
    pub async fn reversals(&self) -> StoreResult<Vec<ReversedPayment>> {
        self.all(LIST, values![as_limit(NOTICES_MAX)], reversed).await
    }
}
