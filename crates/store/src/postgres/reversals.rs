//! Money that went back at a provider without having been asked to, in PostgreSQL.
use tokio_postgres::Row;

use doorbuster_core::money::{Money, PaymentId};
use doorbuster_core::{ItemId, Ledger, Millis, TicketId};

use crate::contract::{Reversal, ReversalKind, Reversed, Reversing};
use crate::limits::NOTICES_MAX;
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::read::as_limit;
use super::rows::word;
use super::run::Again;

/// What came to nothing takes back what is known to have gone, and no more: a refund that failed says nothing of another one, nor a dispute that was won.
/// What was taken back counts for nothing afterwards.
const PUT: &str = "INSERT INTO reversal (payment_id, kind, amount_minor, currency, stands, at)
     SELECT p.id, $2::text, coalesce($3::bigint, p.amount_minor), coalesce($4::text, p.currency), $5::boolean, $6::bigint FROM payment p
     WHERE p.id = $1 AND p.provider = $7 AND p.state <> 'failed'
       AND ($2::text = 'disputed' OR NOT EXISTS (SELECT 1 FROM refund f WHERE f.payment_id = p.id))
     ON CONFLICT (payment_id, kind) DO UPDATE
     SET amount_minor = CASE WHEN reversal.stands AND reversal.amount_minor > excluded.amount_minor
                             THEN reversal.amount_minor ELSE excluded.amount_minor END,
         stands = excluded.stands
     WHERE CASE WHEN excluded.stands THEN NOT reversal.stands OR reversal.amount_minor < excluded.amount_minor
                ELSE reversal.stands AND reversal.amount_minor = excluded.amount_minor END";
const PUT_AS: &str =
    "SELECT p.order_id, r.amount_minor, r.currency FROM reversal r JOIN payment p ON p.id = r.payment_id
     WHERE r.payment_id = $1 AND r.kind = $2";
const LIST: &str = "SELECT r.kind, o.item_id, p.id, p.order_id, r.amount_minor, r.currency, r.at
     FROM reversal r JOIN payment p ON p.id = r.payment_id LEFT JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n
     WHERE r.stands AND (p.state = 'captured' OR r.kind = 'disputed') ORDER BY r.at DESC, p.id LIMIT $1";

fn reversed(row: &Row) -> Result<Reversed, Failure> {
    Ok(Reversed {
        kind: word(row, 0, "kind of a reversal", ReversalKind::parse)?,
        item: row.try_get::<_, Option<i64>>(1)?.map(ItemId),
        payment: PaymentId(row.try_get(2)?),
        order: row.try_get(3)?,
        money: Money { minor: row.try_get(4)?, currency: row.try_get(5)? },
        at: Millis(row.try_get(6)?),
    })
}

impl Postgres {
    pub(crate) async fn reverse(&self, told: Reversal) -> StoreResult<Reversing> {
        let put = move |ledger: &mut PostgresLedger<'_>| {
            if let Some(nothing) = told.take(ledger, ledger.now)? {
                return Ok(nothing);
            }
            let (minor, currency) = told.money.as_ref().map(|money| (money.minor, &money.currency)).unzip();
            let (kind, now) = (told.kind.as_str(), ledger.now.0);
            let changed =
                ledger.run(PUT, &[&told.payment.0, &kind, &minor, &currency, &told.stands, &now, &told.provider])?;
            if changed != 1 {
                return Ok(Reversing::Known);
            }
            let written = ledger.one(PUT_AS, &[&told.payment.0, &kind], |row| {
                Ok((row.try_get::<_, String>(0)?, Money { minor: row.try_get(1)?, currency: row.try_get(2)? }))
            })?;
            let Some((order, money)) = written else { return Ok(Reversing::Noted) };
            // An event takes its order's number, which never changes, from the row in hand: nothing of the order is locked or written here.
            if let Some(id) = TicketId::parse(&order)
                && let Some(order) = ledger.order(&id)?
            {
                ledger.held.keep_order(order);
            }
            let at = ledger.now;
            ledger.append_event(&told.event(order, money, at))?;
            Ok(Reversing::Noted)
        };
        self.job(Again::Safe, put).await
    }

    pub(crate) async fn reversals(&self) -> StoreResult<Vec<Reversed>> {
        self.all(LIST, &[&as_limit(NOTICES_MAX)], reversed).await
    }
}
