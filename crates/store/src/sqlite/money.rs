//! Payments and refunds in SQLite: the rows of the rules, and the store's methods.
use rusqlite::types::Value;
use rusqlite::{Row, params, params_from_iter};

use doorbuster_core::money::{
    self, Capture, CaptureOutcome, Money, Payment, PaymentId, PaymentState, Refund, RefundCause,
    RefundId, RefundMessageOutcome, RefundState, RefundUpdate,
};
use doorbuster_core::{ItemId, Millis, TicketId};

use crate::contract::{MoneyPage, MoneyQuery, StoredEvent};
use crate::limits::PAGE_ROWS_MAX;
use crate::store::StoreResult;

use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::read::{Reader, as_limit};
use super::rows::parse_text;
use super::statements::Statements;
use super::{Sqlite, events};

type Done<T> = Result<T, Failure>;

// The columns in the order in which the functions below read them. They are macros, because
// `concat!` accepts macros but not constants.
macro_rules! payment_columns {
    () => {
        "id, provider, order_id, amount_minor, currency, state, at"
    };
}
macro_rules! refund_columns {
    () => {
        "id, payment_id, provider, order_id, amount_minor, currency, cause, state, accepted, \
         tries, next_at, error, at, settled_at"
    };
}
/// The condition for refunds that a provider or a buyer caused by mistake
/// ([`RefundCause::is_notice`]).
macro_rules! notices {
    () => {
        "cause IN ('mismatch', 'second', 'unknown_order')"
    };
}
pub(super) use {notices, payment_columns, refund_columns};

pub(super) fn payment_row(row: &Row<'_>) -> Done<Payment> {
    Ok(Payment {
        id: PaymentId(row.get(0)?),
        provider: row.get(1)?,
        order: row.get(2)?,
        money: Money { minor: row.get(3)?, currency: row.get(4)? },
        state: parse_text(row, 5, "state", PaymentState::parse)?,
        at: Millis(row.get(6)?),
    })
}

pub(super) fn refund_row(row: &Row<'_>) -> Done<Refund> {
    Ok(Refund {
        id: RefundId(row.get(0)?),
        payment: PaymentId(row.get(1)?),
        provider: row.get(2)?,
        order: row.get(3)?,
        money: Money { minor: row.get(4)?, currency: row.get(5)? },
        cause: parse_text(row, 6, "cause", RefundCause::parse)?,
        state: parse_text(row, 7, "state", RefundState::parse)?,
        accepted: row.get(8)?,
        tries: row.get(9)?,
        next_at: Millis(row.get(10)?),
        error: row.get(11)?,
        at: Millis(row.get(12)?),
        settled_at: row.get::<_, Option<i64>>(13)?.map(Millis),
    })
}

pub(super) fn price(sql: &mut Statements<'_>, item: ItemId) -> Done<Option<Money>> {
    sql.one("SELECT price_minor, currency FROM item WHERE id = ?1", params![item.0], |row| {
        Ok(Money { minor: row.get(0)?, currency: row.get(1)? })
    })
}

pub(super) fn inbox(sql: &mut Statements<'_>, provider: &str, event: &str) -> Done<bool> {
    let taken = "SELECT 1 FROM inbox WHERE provider = ?1 AND event_id = ?2";
    Ok(sql.one(taken, params![provider, event], |_| Ok(()))?.is_some())
}

pub(super) fn insert_inbox(
    sql: &mut Statements<'_>,
    provider: &str,
    event: &str,
    at: Millis,
) -> Done<()> {
    sql.run(
        "INSERT INTO inbox (provider, event_id, at) VALUES (?1, ?2, ?3)",
        params![provider, event, at.0],
    )?;
    Ok(())
}

pub(super) fn payment(sql: &mut Statements<'_>, id: &PaymentId) -> Done<Option<Payment>> {
    sql.one(
        concat!("SELECT ", payment_columns!(), " FROM payment WHERE id = ?1"),
        params![id.0],
        payment_row,
    )
}

pub(super) fn payments_of(sql: &mut Statements<'_>, order: &TicketId) -> Done<Vec<Payment>> {
    sql.all(
        concat!("SELECT ", payment_columns!(), " FROM payment WHERE order_id = ?1 ORDER BY id"),
        params![order.text().as_str()],
        payment_row,
    )
}

pub(super) fn put_payment(ledger: &mut SqliteLedger<'_>, payment: &Payment) -> Done<()> {
    let named = events::order_numbers(ledger, &payment.order)?;
    ledger.sql.run(
        "INSERT INTO payment (id, provider, order_id, grant_id, n, amount_minor, currency, state,
         at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (id) DO UPDATE SET provider = excluded.provider, order_id = excluded.order_id,
         grant_id = excluded.grant_id,
                                        n = excluded.n, amount_minor = excluded.amount_minor,
                                        currency = excluded.currency,
                                        state = excluded.state, at = excluded.at",
        params![
            payment.id.0,
            payment.provider,
            payment.order,
            named.map(|o| o.0),
            named.map(|o| o.1),
            payment.money.minor,
            payment.money.currency,
            payment.state.as_str(),
            payment.at.0
        ],
    )?;
    Ok(())
}

pub(super) fn refund(sql: &mut Statements<'_>, id: &RefundId) -> Done<Option<Refund>> {
    sql.one(
        concat!("SELECT ", refund_columns!(), " FROM refund WHERE id = ?1"),
        params![id.0],
        refund_row,
    )
}

// A refund that is requested again no longer counts as discarded.
pub(super) fn put_refund(sql: &mut Statements<'_>, refund: &Refund) -> Done<()> {
    sql.run(
        "INSERT INTO refund (id, payment_id, provider, order_id, amount_minor, currency, cause,
         state, accepted, tries, next_at, error,
                             at, settled_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, accepted = excluded.accepted,
         tries = excluded.tries,
                                        next_at = excluded.next_at, error = excluded.error,
                                        settled_at = excluded.settled_at,
                                        discarded = CASE WHEN excluded.state = 'failed' THEN
                                        discarded END",
        params![
            refund.id.0,
            refund.payment.0,
            refund.provider,
            refund.order,
            refund.money.minor,
            refund.money.currency,
            refund.cause.as_str(),
            refund.state.as_str(),
            refund.accepted,
            refund.tries,
            refund.next_at.0,
            refund.error,
            refund.at.0,
            refund.settled_at.map(|t| t.0)
        ],
    )?;
    Ok(())
}

fn discard(ledger: &mut SqliteLedger<'_>, id: &RefundId, why: &str) -> Done<bool> {
    let text =
        "UPDATE refund SET discarded = ?2 WHERE id = ?1 AND state = 'failed' AND discarded IS NULL";
    let discarded = ledger.sql.run(text, params![id.0, why])? == 1;
    ledger.record_if(discarded)
}

fn due(sql: &mut Reader<'_>, now: Millis, limit: usize) -> Done<Vec<Refund>> {
    sql.all(
        concat!(
            "SELECT ",
            refund_columns!(),
            " FROM refund WHERE state = 'pending' AND next_at <= ?1 ORDER BY next_at, seq LIMIT ?2"
        ),
        params![now.0, as_limit(limit)],
        refund_row,
    )
}

fn next_due(sql: &mut Reader<'_>) -> Done<Option<Millis>> {
    let next = sql.one("SELECT min(next_at) FROM refund WHERE state = 'pending'", [], |row| {
        Ok(row.get(0)?)
    })?;
    Ok(next.flatten().map(Millis))
}

/// The differences between lists of payments and lists of refunds.
struct MoneyTable<T> {
    /// `SELECT` with the row's columns and, last, its `seq`, from the table as `m`.
    select: &'static str,
    /// The condition that a row is about an order of these items. The next parameters are the
    /// items' numbers.
    of_items: &'static str,
    /// The condition that a row is a notice.
    of_notices: &'static str,
    read: fn(&Row<'_>) -> Done<T>,
    /// The column of `seq`.
    seq: usize,
}

const PAYMENTS: MoneyTable<Payment> = MoneyTable {
    select: concat!("SELECT ", payment_columns!(), ", seq FROM payment m"),
    of_items: "EXISTS (SELECT 1 FROM orders o WHERE o.grant_id = m.grant_id AND o.n = m.n
               AND o.item_id IN",
    of_notices: concat!("m.id IN (SELECT payment_id FROM refund WHERE ", notices!(), ")"),
    read: payment_row,
    seq: 7,
};
const REFUNDS: MoneyTable<Refund> = MoneyTable {
    select: concat!("SELECT ", refund_columns!(), ", seq FROM refund m"),
    of_items:
        "EXISTS (SELECT 1 FROM payment p JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n
                       WHERE p.id = m.payment_id AND o.item_id IN",
    of_notices: notices!(),
    read: refund_row,
    seq: 14,
};

fn page<T>(sql: &mut Reader<'_>, list: &MoneyTable<T>, query: &MoneyQuery) -> Done<MoneyPage<T>> {
    let limit = query.limit.min(PAGE_ROWS_MAX);
    let (beyond, start, direction) = match query.oldest_first {
        true => (">", 0, "ASC"),
        false => ("<", i64::MAX, "DESC"),
    };
    let mut text = format!("{} WHERE seq {beyond} ?", list.select);
    let mut values = vec![Value::Integer(query.after.unwrap_or(start))];
    if let Some(order) = &query.order {
        text.push_str(" AND order_id = ?");
        values.push(Value::Text(order.clone()));
    }
    if let Some(items) = &query.items {
        let marks = vec!["?"; items.len()].join(", ");
        text.push_str(&format!(" AND {} ({marks}))", list.of_items));
        values.extend(items.iter().map(|item| Value::Integer(item.0)));
    }
    if query.notices {
        text.push_str(&format!(" AND {}", list.of_notices));
    }
    text.push_str(&format!(" ORDER BY seq {direction} LIMIT ?"));
    // One row more than the limit shows whether there is a next page.
    values.push(Value::Integer(as_limit(limit + 1)));
    let mut statement = sql.conn().prepare_cached(&text)?;
    let mut found = statement.query(params_from_iter(values))?;
    let mut page = MoneyPage { rows: Vec::new(), next: None };
    let mut last = None;
    while let Some(row) = found.next()? {
        if page.rows.len() == limit {
            page.next = last;
            break;
        }
        page.rows.push((list.read)(row)?);
        last = Some(row.get(list.seq)?);
    }
    Ok(page)
}

impl Sqlite {
    pub(crate) async fn capture(&self, report: Capture, last: bool) -> StoreResult<CaptureOutcome> {
        self.job(move |ledger| {
            let now = ledger.now;
            money::capture(ledger, &report, now, last)
        })
        .await
    }

    pub(crate) async fn fail_payment(&self, report: Capture) -> StoreResult<bool> {
        self.job(move |ledger| {
            let now = ledger.now;
            money::record_failure(ledger, &report, now)
        })
        .await
    }

    pub(crate) async fn settle_refund(
        &self,
        provider: String,
        event: String,
        id: RefundId,
        news: RefundUpdate,
    ) -> StoreResult<RefundMessageOutcome> {
        self.job(move |ledger| {
            let now = ledger.now;
            money::settle_refund(ledger, &provider, &event, &id, &news, now)
        })
        .await
    }

    pub(crate) async fn apply_refund_update(
        &self,
        id: RefundId,
        news: RefundUpdate,
    ) -> StoreResult<Option<Refund>> {
        self.job(move |ledger| {
            let now = ledger.now;
            money::apply_refund_update(ledger, &id, &news, now)
        })
        .await
    }

    pub(crate) async fn answer_refund(
        &self,
        requested: Refund,
        news: RefundUpdate,
    ) -> StoreResult<Option<Refund>> {
        self.job(move |ledger| {
            let now = ledger.now;
            money::answer_refund(ledger, &requested, &news, now)
        })
        .await
    }

    pub(crate) async fn retry_refund(&self, id: RefundId) -> StoreResult<Option<Refund>> {
        self.job(move |ledger| {
            let now = ledger.now;
            let retried = money::retry_refund(ledger, &id, now)?;
            ledger.record_if(retried.is_some())?;
            Ok(retried)
        })
        .await
    }

    pub(crate) async fn discard_refund(&self, id: RefundId, why: String) -> StoreResult<bool> {
        self.job(move |ledger| discard(ledger, &id, &why)).await
    }

    pub(crate) async fn refunds_due(&self, limit: usize) -> StoreResult<Vec<Refund>> {
        let now = self.now();
        self.read(move |sql| due(sql, now, limit)).await
    }

    pub(crate) async fn next_refund_due(&self) -> StoreResult<Option<Millis>> {
        self.read(next_due).await
    }

    pub(crate) async fn refunds_pending(&self) -> StoreResult<u64> {
        self.read(|sql: &mut Reader<'_>| {
            let sql_text = "SELECT count(*) FROM refund WHERE state = 'pending'";
            let found = sql.one(sql_text, [], |row| Ok(row.get::<_, i64>(0)?.cast_unsigned()))?;
            Ok(found.unwrap_or(0))
        })
        .await
    }

    pub(crate) async fn payments(&self, query: MoneyQuery) -> StoreResult<MoneyPage<Payment>> {
        self.read(move |sql| page(sql, &PAYMENTS, &query)).await
    }

    pub(crate) async fn refunds(&self, query: MoneyQuery) -> StoreResult<MoneyPage<Refund>> {
        self.read(move |sql| page(sql, &REFUNDS, &query)).await
    }

    pub(crate) async fn history(&self, id: TicketId) -> StoreResult<Vec<StoredEvent>> {
        self.read(move |sql| events::history(sql, &id)).await
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_core::money::RefundCause;

    #[test]
    fn rows_know_the_notices_that_the_rules_know() {
        let notices = RefundCause::ALL.iter().filter(|cause| cause.is_irregular());
        let notices: Vec<_> = notices.map(|cause| format!("'{}'", cause.as_str())).collect();
        let expected = format!("cause IN ({})", notices.join(", "));
        assert_eq!(notices!(), expected);
        let schema = include_str!("../../migrations/V4__money.sql");
        assert!(
            schema.contains(&format!("refund_notice ON refund (seq) WHERE {expected};")),
            "{expected}"
        );
        let causes: Vec<_> =
            RefundCause::ALL.iter().map(|cause| format!("'{}'", cause.as_str())).collect();
        assert!(
            schema.contains(&format!("CHECK (cause IN ({}))", causes.join(", "))),
            "{causes:?}"
        );
    }
}
