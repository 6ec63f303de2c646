//! Money that a provider reversed without a request by this server.
use doorbuster_core::money::{Money, PaymentId};
use doorbuster_core::{ItemId, Millis, TicketId};

use crate::contract::{Reversal, ReversalKind, ReversalOutcome, ReversedPayment};
use crate::failure::Done;
use crate::limits::NOTICES_MAX;
use crate::sql::{Row, Statement, as_limit, dialects, statement, values};
use crate::transaction::{RetryUnknown, Transaction};

use super::{Store, StoreResult};

/// This statement decides which report of a returned payment counts:
/// - A report that a refund failed cancels the recorded reversal only if the amounts are equal.
///   Another amount may belong to another refund.
/// - Of two reports of one amount, the newer counts. If both have the same time, the report of the
///   failure counts. A report without a time counts as the newest.
///
/// `at` is the time of the report that counts, even if it only confirmed the stored state.
const RETURNED: Statement = statement(
    "INSERT INTO reversal (payment_id, kind, amount_minor, currency, stands, at)
     SELECT p.id, 'returned', coalesce($3, p.amount_minor), coalesce($4, p.currency),
            CAST($5 AS boolean), coalesce(CAST($7 AS bigint), CAST($6 AS bigint))
     FROM payment p
     WHERE p.id = $1 AND p.provider = $2 AND p.state <> 'failed'
     AND NOT EXISTS (SELECT 1 FROM refund f WHERE f.payment_id = p.id)
     ON CONFLICT (payment_id, kind) DO UPDATE
     SET amount_minor = CASE WHEN reversal.stands AND reversal.amount_minor > excluded.amount_minor
                             THEN reversal.amount_minor ELSE excluded.amount_minor END,
         stands = excluded.stands, at = excluded.at
     WHERE CASE WHEN reversal.amount_minor = excluded.amount_minor
                THEN CAST($7 AS bigint) IS NULL OR reversal.at < excluded.at
                     OR reversal.at = excluded.at AND NOT excluded.stands
                ELSE excluded.stands
                     AND (NOT reversal.stands OR reversal.amount_minor < excluded.amount_minor) END
     RETURNING amount_minor, currency",
);
/// The newest report counts. If two reports have the same time, the report about the dispute's end
/// counts. If the dispute has no id, the last report to arrive counts, whatever its time is.
const DISPUTED: Statement = statement(
    "INSERT INTO dispute (payment_id, id, amount_minor, currency, stands, at, said_at)
     SELECT p.id, CAST($7 AS text), coalesce($3, p.amount_minor), coalesce($4, p.currency),
            CAST($5 AS boolean), CAST($6 AS bigint), CAST($8 AS bigint)
     FROM payment p
     WHERE p.id = $1 AND p.provider = $2 AND p.state <> 'failed'
     ON CONFLICT (payment_id, id) DO UPDATE
     SET amount_minor = excluded.amount_minor, currency = excluded.currency,
         stands = excluded.stands, said_at = excluded.said_at
     WHERE dispute.id = '' OR dispute.said_at < excluded.said_at
        OR dispute.said_at = excluded.said_at AND (dispute.stands OR NOT excluded.stands)
     RETURNING amount_minor, currency",
);
const KNOWN_RETURNED: Statement = statement(
    "SELECT amount_minor, currency, stands FROM reversal
     WHERE payment_id = $1 AND kind = 'returned'",
);
const KNOWN_DISPUTE: Statement = statement(
    "SELECT amount_minor, currency, stands FROM dispute WHERE payment_id = $1 AND id = $2",
);
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

fn money(row: Row<'_>) -> Done<Money> {
    Ok(Money { minor: row.get(0)?, currency: row.get(1)? })
}

fn known(row: Row<'_>) -> Done<(Money, bool)> {
    Ok((money(row)?, row.get(2)?))
}

/// Writes a reversal. Returns the amount that is stored now, or `None` if this call did not change
/// the stored reversal ([`Reversal::is_change`]).
fn write(tx: &mut Transaction<'_, '_>, reversal: &Reversal) -> Done<Option<Money>> {
    let Reversal { payment, provider, stands, reported_at, .. } = reversal;
    let (minor, currency) =
        reversal.money.as_ref().map(|money| (money.minor, &money.currency)).unzip();
    let now = tx.now();
    let (before, written) = if let Some((id, said_at)) = reversal.dispute(now) {
        let before = tx.one(KNOWN_DISPUTE, &values![&payment.0, &id], known)?;
        let values = values![&payment.0, provider, minor, currency, *stands, now, id, said_at];
        (before, tx.one(DISPUTED, &values, money)?)
    } else {
        let before = tx.one(KNOWN_RETURNED, &values![&payment.0], known)?;
        let values = values![&payment.0, provider, minor, currency, *stands, now, *reported_at];
        (before, tx.one(RETURNED, &values, money)?)
    };
    Ok(written.filter(|written| reversal.is_change(before, written)))
}

fn record(tx: &mut Transaction<'_, '_>, reversal: &Reversal) -> Done<ReversalOutcome> {
    let now = tx.now();
    let payment = match reversal.record_message(tx.ledger(), now)? {
        Ok(payment) => payment,
        Err(nothing) => return Ok(nothing),
    };
    let Some(money) = write(tx, reversal)? else { return Ok(ReversalOutcome::Known) };
    // The event needs only the order's number, which never changes. So the cached row is enough,
    // and no row of the order is locked or written here.
    if let (Transaction::Postgres(ledger), Some(id)) = (&mut *tx, TicketId::parse(&payment.order)) {
        ledger.remember_order(&id)?;
    }
    tx.ledger().append_event(&reversal.event(payment.order, money, now))?;
    Ok(ReversalOutcome::Noted)
}

impl Store {
    /// Records a provider's report that a captured payment was reversed. The payment and its order
    /// do not change. A refund by this server is not a reversal.
    pub async fn record_reversal(&self, reversal: Reversal) -> StoreResult<ReversalOutcome> {
        self.job(RetryUnknown::Allowed, move |tx| record(tx, &reversal)).await
    }

    /// Returns the reversals that an operator should see, newest first. Returns at most
    /// [`crate::limits::NOTICES_MAX`].
    pub async fn reversals(&self) -> StoreResult<Vec<ReversedPayment>> {
        self.all(LIST, values![as_limit(NOTICES_MAX)], reversed).await
    }
}
