//! Checks all rows in one snapshot, with queries over whole tables.
use tokio_postgres::Client;

use doorbuster_core::money::{Money, PaymentId, RefundCause};
use doorbuster_core::{ItemId, Millis};

use crate::contract::StoreResult;
use crate::contract::{Check, Finding, RefundNotice};
use crate::failure::{Done, Failure};
use crate::limits::{FINDINGS_MAX, NOTICES_MAX, PG_CHECK_WAIT};
use crate::rows::money::notices;
use crate::sql::{Row, Value, as_limit, postgres_params};
use crate::waitlist;

use super::shared::Shared;
use super::transaction::{end_transaction, retry};
use super::{Postgres, connect};

/// Each query finds the violations of one rule of docs/protocol.md. Its columns are the item, and a
/// text with the numbers that differ.
const QUERIES: &[(&str, &str)] = &[
    (
        "I4",
        // The findings are logged, and the log must not contain a buyer's id. So the finding names
        // the buyer's newest order.
        "SELECT item_id,
                format('the buyer of %s has %s units in active orders, a quota of %s '
                       'and a limit of %s',
                                coalesce((SELECT x.id FROM orders x
                                WHERE x.buyer = coalesce(o.buyer, q.buyer)
                                              AND x.item_id = coalesce(o.item_id, q.item_id)
                                              ORDER BY x.seq DESC LIMIT 1), 'no order'),
                                              coalesce(held, 0),
                                coalesce(used, 0), coalesce(limit_per_buyer, 0))
         FROM (SELECT buyer, item_id, sum(units) AS held FROM orders
         WHERE state IN ('reserved', 'paid') GROUP BY buyer, item_id) o
              FULL JOIN quota q USING (buyer, item_id)
              LEFT JOIN item i ON i.id = item_id
         WHERE coalesce(held, 0) <> coalesce(used, 0) OR coalesce(held,
         0) > coalesce(limit_per_buyer, 0)",
    ),
    (
        "I2",
        "SELECT item_id, format('grant %s settled %s units, but its orders have %s', coalesce(g.id,
         o.grant_id), g.settled, coalesce(sold, 0))
         FROM slot_grant g FULL JOIN (SELECT grant_id, sum(units) AS sold FROM orders
         GROUP BY grant_id) o ON o.grant_id = g.id
         WHERE g.settled IS DISTINCT FROM coalesce(sold, 0)",
    ),
    (
        "I1",
        "SELECT item_id, format('grant %s settled %s units, but has only %s', id, settled,
         granted)
         FROM slot_grant WHERE counted AND settled > granted",
    ),
    (
        "I6",
        "SELECT item_id, format('grant %s says that its feed has %s rows, but it has %s, '
         'the last with number %s', id, feed_len, coalesce(rows, 0), coalesce(last, 0))
         FROM slot_grant g LEFT JOIN (SELECT grant_id, count(*) AS rows, max(seq) AS last FROM feed
         GROUP BY grant_id) f ON f.grant_id = g.id
         WHERE (coalesce(rows, 0), coalesce(last, 0)) <> (feed_len, feed_len)",
    ),
    (
        "I2",
        "SELECT coalesce(i.id, o.item_id),
         format('the item''s counters say %s units paid and %s ended, '
                'but its orders add up to %s and %s',
                i.paid, i.ended, coalesce(o.paid, 0), coalesce(o.ended, 0))
         FROM item i FULL JOIN (SELECT item_id, sum(units) FILTER (WHERE state = 'paid') AS paid,
                                       sum(units) FILTER (WHERE state NOT IN ('reserved',
                                       'paid')) AS ended
                                FROM orders GROUP BY item_id) o ON o.item_id = i.id
         WHERE (i.paid, i.ended) IS DISTINCT FROM (coalesce(o.paid, 0)::bigint, coalesce(o.ended,
         0)::bigint)",
    ),
    (
        // Expiry would never find an order without a due time, so the order would hold its units
        // for ever.
        "I2",
        "SELECT coalesce(o.item_id, d.item_id),
         format('order %s is reserved until %s, but expiry would look for it at %s',
                coalesce(o.id, 'none'), o.pay_by + o.ask_ms, d.at)
         FROM (SELECT * FROM orders WHERE state = 'reserved') o FULL JOIN order_due d
              ON d.seq = o.seq
         WHERE (o.pay_by + o.ask_ms, o.grant_id, o.n, o.item_id)
               IS DISTINCT FROM (d.at, d.grant_id, d.n, d.item_id)",
    ),
    (
        "I1",
        "SELECT i.id, format('active orders have %s units, but the total is %s', active,
         total)
         FROM item i JOIN (SELECT item_id, sum(units) AS active FROM orders
         WHERE state IN ('reserved', 'paid') GROUP BY item_id) o
              ON o.item_id = i.id
         WHERE active > total",
    ),
    (
        "I2",
        "SELECT i.id, format('total %s is not pool %s + in slots %s + active %s', total, pool,
         coalesce(in_slots, 0), coalesce(active, 0))
         FROM item i
              LEFT JOIN (SELECT item_id, sum(units) AS active FROM orders
              WHERE state IN ('reserved', 'paid') GROUP BY item_id) o
                   ON o.item_id = i.id
              LEFT JOIN (SELECT item_id, sum(granted - settled) AS in_slots FROM slot_grant
              WHERE open AND counted GROUP BY item_id) g
                   ON g.item_id = i.id
         WHERE total IS NOT NULL AND pool + coalesce(in_slots, 0) + coalesce(active, 0) <> total",
    ),
    (
        "I5",
        "SELECT o.item_id, format('payment %s is captured, but its order %s is %s', p.id,
         p.order_id, coalesce(o.state, 'missing'))
         FROM payment p LEFT JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n
         WHERE p.state = 'captured' AND o.state IS DISTINCT FROM 'paid'",
    ),
    (
        "I5",
        "SELECT o.item_id, format('order %s is paid by %s payments', o.id, count(*))
         FROM payment p JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n
         WHERE p.state = 'captured' GROUP BY o.item_id, o.id HAVING count(*) > 1",
    ),
    (
        "I5",
        "SELECT o.item_id, format('payment %s is %s %s, but its order costs %s %s', p.id,
         p.amount_minor, p.currency, o.units * i.price_minor, i.currency)
         FROM payment p JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n JOIN item i
         ON i.id = o.item_id
         WHERE p.state = 'captured' AND (p.amount_minor, p.currency) <> (o.units * i.price_minor,
         i.currency)",
    ),
    (
        "I5",
        "SELECT o.item_id, format('order %s is paid, but has no captured payment', o.id)
         FROM event e JOIN orders o ON o.grant_id = e.grant_id AND o.n = e.n
              LEFT JOIN payment p ON p.grant_id = o.grant_id AND p.n = o.n AND p.state = 'captured'
         WHERE e.type = 'order.paid' AND e.actor LIKE 'provider:%' AND o.state = 'paid'
         AND p.id IS NULL",
    ),
    (
        "I5",
        "SELECT o.item_id, format('payment %s of %s %s is %s, but its refund %s of %s %s', p.id,
         p.amount_minor, p.currency, p.state,
                                 coalesce(r.id, 'is missing,'), r.amount_minor, r.currency)
         FROM payment p LEFT JOIN refund r ON r.payment_id = p.id LEFT JOIN orders o
         ON o.grant_id = p.grant_id AND o.n = p.n
         WHERE (p.state = 'refunded') <> (r.id IS NOT NULL)
               OR (r.amount_minor, r.currency, r.provider) <> (p.amount_minor, p.currency,
               p.provider)",
    ),
];

/// Selects the refunded payments that a provider or a buyer caused by mistake, newest first.
const NOTICES: &str = concat!(
    "SELECT r.cause, o.item_id, r.payment_id, r.order_id, r.amount_minor, r.currency, p.at
     FROM refund r JOIN payment p ON p.id = r.payment_id LEFT JOIN orders o
     ON o.grant_id = p.grant_id AND o.n = p.n
     WHERE ",
    notices!(),
    " ORDER BY r.seq DESC LIMIT $1"
);

impl Postgres {
    pub(crate) async fn check(&self) -> StoreResult<Check> {
        let shared = self.shared();
        shared.state.check_accepting()?;
        let checked_at = self.now();
        let ((findings, notices), _) = retry(shared, move || check(shared)).await?;
        Ok(Check { checked_at, findings, notices })
    }
}

async fn check(shared: &Shared) -> Result<(Vec<Finding>, Vec<RefundNotice>), Failure> {
    snapshot(shared, async |client| {
        let mut findings = Vec::new();
        for (rule, sql) in QUERIES.iter().chain(waitlist::CHECKS) {
            let found = client.query(&format!("{sql} LIMIT {FINDINGS_MAX}"), &[]).await?;
            for row in found.iter().take(FINDINGS_MAX - findings.len()) {
                findings.push(finding(rule, row.into())?);
            }
        }
        let notices = client.query(NOTICES, &[&as_limit(NOTICES_MAX)]).await?;
        Ok((findings, notices.iter().map(|row| notice(row.into())).collect::<Result<_, _>>()?))
    })
    .await
}

fn notice(row: Row<'_>) -> Result<RefundNotice, Failure> {
    Ok(RefundNotice {
        what: row.parse(0, "cause of a refund", RefundCause::parse)?,
        item: row.get::<Option<i64>>(1)?.map(ItemId),
        payment: PaymentId(row.get(2)?),
        order: row.get(3)?,
        money: Money { minor: row.get(4)?, currency: row.get(5)? },
        at: Millis(row.get(6)?),
    })
}

fn finding(rule: &'static str, row: Row<'_>) -> Result<Finding, Failure> {
    Ok(Finding { rule, item: row.get::<Option<i64>>(0)?.map(ItemId), detail: row.get(1)? })
}

impl Postgres {
    pub(crate) async fn in_snapshot<T: Default>(
        &self,
        queries: &[(&'static str, Vec<Value<'static>>)],
        add: &impl Fn(&mut T, usize, Row<'_>) -> Done<()>,
    ) -> StoreResult<T> {
        let shared = self.shared();
        shared.state.check_accepting()?;
        let (result, _) = retry(shared, move || read_all(shared, queries, add)).await?;
        Ok(result)
    }
}

async fn read_all<T: Default>(
    shared: &Shared,
    queries: &[(&'static str, Vec<Value<'static>>)],
    add: &impl Fn(&mut T, usize, Row<'_>) -> Done<()>,
) -> Done<T> {
    snapshot(shared, async |client| {
        let mut result = T::default();
        for (at, (sql, values)) in queries.iter().enumerate() {
            for row in client.query(*sql, &postgres_params(values)).await? {
                add(&mut result, at, (&row).into())?;
            }
        }
        Ok(result)
    })
    .await
}

/// Runs `read` in one snapshot of the database. If the caller drops this future, the session still
/// has an open transaction, so the session is closed and does not return to the pool.
async fn snapshot<T>(
    shared: &Shared,
    read: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let object = connect::get_for_transaction(&shared.reads).await?;
    let outcome = async {
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {}",
            PG_CHECK_WAIT.as_millis()
        );
        object.batch_execute(&begin).await?;
        let value = read(&object).await?;
        object.batch_execute("COMMIT").await?;
        Ok(value)
    };
    let outcome =
        tokio::time::timeout(PG_CHECK_WAIT, outcome).await.unwrap_or(Err(Failure::TimedOut));
    end_transaction(object, outcome.as_ref().err()).await;
    outcome
}
