//! Money that went back at a provider without having been asked to, in SQLite.
use rusqlite::params;

use doorbuster_core::money::{Money, PaymentId};
use doorbuster_core::{ItemId, Ledger, Millis};

use crate::contract::{Reversal, ReversalKind, Reversed, Reversing};
use crate::limits::NOTICES_MAX;
use crate::store::StoreResult;

use super::Sqlite;
use super::read::as_limit;
use super::rows::word;

/// What came to nothing takes back what is known to have gone, and no more: a refund that failed says nothing of another one, nor a dispute that was won.
/// What was taken back counts for nothing afterwards.
const PUT: &str = "INSERT INTO reversal (payment_id, kind, amount_minor, currency, stands, at)
     SELECT p.id, ?2, coalesce(?3, p.amount_minor), coalesce(?4, p.currency), ?5, ?6 FROM payment p
     WHERE p.id = ?1 AND p.provider = ?7 AND p.state <> 'failed'
       AND (?2 = 'disputed' OR NOT EXISTS (SELECT 1 FROM refund f WHERE f.payment_id = p.id))
     ON CONFLICT (payment_id, kind) DO UPDATE
     SET amount_minor = CASE WHEN reversal.stands AND reversal.amount_minor > excluded.amount_minor
                             THEN reversal.amount_minor ELSE excluded.amount_minor END,
         stands = excluded.stands
     WHERE CASE WHEN excluded.stands THEN NOT reversal.stands OR reversal.amount_minor < excluded.amount_minor
                ELSE reversal.stands AND reversal.amount_minor = excluded.amount_minor END";
const PUT_AS: &str =
    "SELECT p.order_id, r.amount_minor, r.currency FROM reversal r JOIN payment p ON p.id = r.payment_id
     WHERE r.payment_id = ?1 AND r.kind = ?2";
const LIST: &str = "SELECT r.kind, o.item_id, p.id, p.order_id, r.amount_minor, r.currency, r.at
     FROM reversal r JOIN payment p ON p.id = r.payment_id LEFT JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n
     WHERE r.stands = 1 AND (p.state = 'captured' OR r.kind = 'disputed') ORDER BY r.at DESC, p.id LIMIT ?1";

impl Sqlite {
    pub(crate) async fn reverse(&self, told: Reversal) -> StoreResult<Reversing> {
        self.job(move |ledger| {
            if let Some(nothing) = told.take(ledger, ledger.now)? {
                return Ok(nothing);
            }
            let (minor, currency) = told.money.as_ref().map(|money| (money.minor, money.currency.as_str())).unzip();
            let (kind, now) = (told.kind.as_str(), ledger.now.0);
            let values = params![told.payment.0, kind, minor, currency, told.stands, now, told.provider];
            if ledger.sql.run(PUT, values)? != 1 {
                return Ok(Reversing::Known);
            }
            let written = ledger.sql.one(PUT_AS, params![told.payment.0, kind], |row| {
                Ok((row.get::<_, String>(0)?, Money { minor: row.get(1)?, currency: row.get(2)? }))
            })?;
            if let Some((order, money)) = written {
                let at = ledger.now;
                ledger.append_event(&told.event(order, money, at))?;
            }
            Ok(Reversing::Noted)
        })
        .await
    }

    pub(crate) async fn reversals(&self) -> StoreResult<Vec<Reversed>> {
        self.read(|sql| {
            sql.all(LIST, params![as_limit(NOTICES_MAX)], |row| {
                Ok(Reversed {
                    kind: word(row, 0, "kind", ReversalKind::parse)?,
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
