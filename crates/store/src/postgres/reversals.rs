//! Money that a provider reversed without a request by this server, in PostgreSQL.
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use doorbuster_core::money::{Money, PaymentId};
use doorbuster_core::{ItemId, Ledger, Millis, TicketId};

use crate::contract::{Reversal, ReversalKind, ReversalOutcome, ReversedPayment};
use crate::limits::NOTICES_MAX;
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::read::as_limit;
use super::rows::parse_text;
use super::transaction::RetryUnknown;

/// A failed reversal cancels only the recorded amount, because the failure of one refund says
/// nothing about another. A cancelled amount no longer counts.
const RETURNED: &str = "INSERT INTO reversal (payment_id, kind, amount_minor, currency, stands, at)
     SELECT p.id, 'returned', coalesce($3::bigint, p.amount_minor), coalesce($4::text, p.currency),
     $5::boolean, $6::bigint FROM payment p
     WHERE p.id = $1 AND p.provider = $2 AND p.state <> 'failed' AND NOT EXISTS (SELECT 1
     FROM refund f WHERE f.payment_id = p.id)
     ON CONFLICT (payment_id, kind) DO UPDATE
     SET amount_minor = CASE WHEN reversal.stands AND reversal.amount_minor > excluded.amount_minor
                             THEN reversal.amount_minor ELSE excluded.amount_minor END,
         stands = excluded.stands
     WHERE CASE WHEN excluded.stands THEN NOT reversal.stands
     OR reversal.amount_minor < excluded.amount_minor
                ELSE reversal.stands AND reversal.amount_minor = excluded.amount_minor END
     RETURNING amount_minor, currency";
/// The newest report counts. If reports have the same time, a report that the dispute ended counts.
/// If the dispute has no id, the last report to arrive counts, whatever its time is.
const DISPUTED: &str = "INSERT INTO dispute (payment_id, id, amount_minor, currency, stands, at,
                        said_at)
     SELECT p.id, $7::text, coalesce($3::bigint, p.amount_minor), coalesce($4::text, p.currency),
     $5::boolean, $6::bigint, $8::bigint FROM payment p
     WHERE p.id = $1 AND p.provider = $2 AND p.state <> 'failed'
     ON CONFLICT (payment_id, id) DO UPDATE
     SET amount_minor = excluded.amount_minor, currency = excluded.currency,
     stands = excluded.stands, said_at = excluded.said_at
     WHERE dispute.id = '' OR dispute.said_at < excluded.said_at
        OR dispute.said_at = excluded.said_at AND (dispute.stands OR NOT excluded.stands)
     RETURNING amount_minor, currency";
const KNOWN: &str =
    "SELECT amount_minor, currency, stands FROM dispute WHERE payment_id = $1 AND id = $2";
const LIST: &str = "SELECT r.kind, o.item_id, p.id, p.order_id, r.amount_minor, r.currency, r.at
     FROM went_back r JOIN payment p ON p.id = r.payment_id LEFT JOIN orders o
     ON o.grant_id = p.grant_id AND o.n = p.n
     WHERE r.stands AND (p.state = 'captured' OR r.kind = 'disputed') ORDER BY r.at DESC, p.id
     LIMIT $1";

fn reversed(row: &Row) -> Result<ReversedPayment, Failure> {
    Ok(ReversedPayment {
        kind: parse_text(row, 0, "kind of a reversal", ReversalKind::parse)?,
        item: row.try_get::<_, Option<i64>>(1)?.map(ItemId),
        payment: PaymentId(row.try_get(2)?),
        order: row.try_get(3)?,
        money: Money { minor: row.try_get(4)?, currency: row.try_get(5)? },
        at: Millis(row.try_get(6)?),
    })
}

fn money(row: &Row) -> Result<Money, Failure> {
    Ok(Money { minor: row.try_get(0)?, currency: row.try_get(1)? })
}

/// Records a reversal. Returns its current amount if the reversal is new.
fn write(ledger: &PostgresLedger<'_>, reversal: &Reversal) -> Result<Option<Money>, Failure> {
    let Reversal { payment, provider, stands, .. } = reversal;
    let (minor, currency) =
        reversal.money.as_ref().map(|money| (money.minor, &money.currency)).unzip();
    let Some((id, reported_at)) = reversal.dispute(ledger.now) else {
        return ledger.one(
            RETURNED,
            &[&payment.0, provider, &minor, &currency, stands, &ledger.now.0],
            money,
        );
    };
    let before = ledger.one(KNOWN, &[&payment.0, &id], |row| Ok((money(row)?, row.try_get(2)?)))?;
    let values: [&(dyn ToSql + Sync); 8] =
        [&payment.0, provider, &minor, &currency, stands, &ledger.now.0, &id, &reported_at.0];
    let written = ledger.one(DISPUTED, &values, money)?;
    Ok(written.filter(|written| reversal.is_change(before, written)))
}

impl Postgres {
    pub(crate) async fn record_reversal(&self, reversal: Reversal) -> StoreResult<ReversalOutcome> {
        let put = move |ledger: &mut PostgresLedger<'_>| {
            let payment = match reversal.take(ledger, ledger.now)? {
                Ok(payment) => payment,
                Err(nothing) => return Ok(nothing),
            };
            let Some(money) = write(ledger, &reversal)? else { return Ok(ReversalOutcome::Known) };
            // The event takes its order's number from the cached row, because that number never
            // changes. So no row of the order is locked or written here.
            if let Some(id) = TicketId::parse(&payment.order)
                && let Some(order) = ledger.order(&id)?
            {
                ledger.cache.cache_order(order);
            }
            let at = ledger.now;
            ledger.append_event(&reversal.event(payment.order, money, at))?;
            Ok(ReversalOutcome::Noted)
        };
        self.job(RetryUnknown::Allowed, put).await
    }

    pub(crate) async fn reversals(&self) -> StoreResult<Vec<ReversedPayment>> {
        self.all(LIST, &[&as_limit(NOTICES_MAX)], reversed).await
    }
}
