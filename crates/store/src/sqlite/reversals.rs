//! Money that a provider reversed without a request by this server, in SQLite.
use rusqlite::{Row, params};

use doorbuster_core::money::{Money, PaymentId};
use doorbuster_core::{ItemId, Ledger, Millis};

use crate::contract::{Reversal, ReversalKind, ReversalOutcome, ReversedPayment};
use crate::limits::NOTICES_MAX;
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::read::as_limit;
use super::rows::parse_text;

/// A failed reversal cancels only the recorded amount, because the failure of one refund says
/// nothing about another. A cancelled amount no longer counts.
const RETURNED: &str = "INSERT INTO reversal (payment_id, kind, amount_minor, currency, stands, at)
     SELECT p.id, 'returned', coalesce(?3, p.amount_minor), coalesce(?4, p.currency), ?5, ?6
     FROM payment p
     WHERE p.id = ?1 AND p.provider = ?2 AND p.state <> 'failed' AND NOT EXISTS (SELECT 1
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
     SELECT p.id, ?7, coalesce(?3, p.amount_minor), coalesce(?4, p.currency), ?5, ?6, ?8
     FROM payment p
     WHERE p.id = ?1 AND p.provider = ?2 AND p.state <> 'failed'
     ON CONFLICT (payment_id, id) DO UPDATE
     SET amount_minor = excluded.amount_minor, currency = excluded.currency,
     stands = excluded.stands, said_at = excluded.said_at
     WHERE dispute.id = '' OR dispute.said_at < excluded.said_at
        OR dispute.said_at = excluded.said_at AND (dispute.stands OR NOT excluded.stands)
     RETURNING amount_minor, currency";
const KNOWN: &str =
    "SELECT amount_minor, currency, stands FROM dispute WHERE payment_id = ?1 AND id = ?2";
const LIST: &str = "SELECT r.kind, o.item_id, p.id, p.order_id, r.amount_minor, r.currency, r.at
     FROM went_back r JOIN payment p ON p.id = r.payment_id LEFT JOIN orders o
     ON o.grant_id = p.grant_id AND o.n = p.n
     WHERE r.stands = 1 AND (p.state = 'captured' OR r.kind = 'disputed') ORDER BY r.at DESC, p.id
     LIMIT ?1";

fn money(row: &Row<'_>) -> Result<Money, Failure> {
    Ok(Money { minor: row.get(0)?, currency: row.get(1)? })
}

/// Records a reversal. Returns its current amount if the reversal is new.
fn write(ledger: &mut SqliteLedger<'_>, reversal: &Reversal) -> Result<Option<Money>, Failure> {
    let Reversal { payment, provider, stands, .. } = reversal;
    let (minor, currency) =
        reversal.money.as_ref().map(|money| (money.minor, money.currency.as_str())).unzip();
    let Some((id, reported_at)) = reversal.dispute(ledger.now) else {
        return ledger.sql.one(
            RETURNED,
            params![payment.0, provider, minor, currency, stands, ledger.now.0],
            money,
        );
    };
    let before =
        ledger.sql.one(KNOWN, params![payment.0, id], |row| Ok((money(row)?, row.get(2)?)))?;
    let values =
        params![payment.0, provider, minor, currency, stands, ledger.now.0, id, reported_at.0];
    let written = ledger.sql.one(DISPUTED, values, money)?;
    Ok(written.filter(|written| reversal.is_change(before, written)))
}

impl Sqlite {
    pub(crate) async fn record_reversal(&self, reversal: Reversal) -> StoreResult<ReversalOutcome> {
        self.job(move |ledger| {
            let payment = match reversal.take(ledger, ledger.now)? {
                Ok(payment) => payment,
                Err(nothing) => return Ok(nothing),
            };
            let now = ledger.now;
            let Some(money) = write(ledger, &reversal)? else { return Ok(ReversalOutcome::Known) };
            ledger.append_event(&reversal.event(payment.order, money, now))?;
            Ok(ReversalOutcome::Noted)
        })
        .await
    }

    pub(crate) async fn reversals(&self) -> StoreResult<Vec<ReversedPayment>> {
        self.read(|sql| {
            sql.all(LIST, params![as_limit(NOTICES_MAX)], |row| {
                Ok(ReversedPayment {
                    kind: parse_text(row, 0, "kind", ReversalKind::parse)?,
                    item: row.get::<_, Option<i64>>(1)?.map(ItemId),
                    payment: PaymentId(row.get(2)?),
                    order: row.get(3)?,
                    money: Money { minor: row.get(4)?, currency: row.get(5)? },
                    at: Millis(row.get(6)?),
                })
            })
        })
        .await
    }
}
