//! Payments and refunds in PostgreSQL. A transaction that captures money locks its order first, as
//! every change of an order does.
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use doorbuster_core::money::{
    self, Capture, CaptureOutcome, Payment, Refund, RefundId, RefundMessageOutcome, RefundUpdate,
};
use doorbuster_core::{GrantId, Ledger, Millis, OrderState, TicketId};

use crate::contract::{MoneyPage, MoneyQuery};
use crate::limits::PAGE_ROWS_MAX;
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::read::as_limit;
use super::rows;
use super::rows::money::{payment, payment_columns, refund, refund_columns};
use super::transaction::RetryUnknown;

type Done<T> = Result<T, Failure>;

/// The condition for refunds that a provider or a buyer caused by mistake
/// ([`money::RefundCause::is_notice`]).
macro_rules! notices {
    () => {
        "r.cause IN ('mismatch', 'second', 'unknown_order')"
    };
}
pub(super) use notices;

/// The differences between lists of payments and lists of refunds.
struct MoneyTable<T> {
    /// `SELECT` with the row's columns and, last, its `seq`.
    select: &'static str,
    /// The alias of the table.
    table: &'static str,
    /// The condition that a row is about an order of these items. The next parameter has the items'
    /// numbers.
    of_items: &'static str,
    of_notices: &'static str,
    read: fn(&Row) -> Done<T>,
    /// The column of `seq`.
    seq: usize,
}

const PAYMENTS: MoneyTable<Payment> = MoneyTable {
    select: concat!("SELECT ", payment_columns!(), ", p.seq FROM payment p"),
    table: "p",
    of_items: "EXISTS (SELECT FROM orders o WHERE o.grant_id = p.grant_id AND o.n = p.n
               AND o.item_id = ANY(",
    of_notices: concat!(
        "EXISTS (SELECT FROM refund r WHERE r.payment_id = p.id AND ",
        notices!(),
        ")"
    ),
    read: payment,
    seq: 7,
};
const REFUNDS: MoneyTable<Refund> = MoneyTable {
    select: concat!("SELECT ", refund_columns!(), ", r.seq FROM refund r"),
    table: "r",
    of_items: "EXISTS (SELECT FROM payment p JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n
                       WHERE p.id = r.payment_id AND o.item_id = ANY(",
    of_notices: notices!(),
    read: refund,
    seq: 14,
};

impl Postgres {
    pub(crate) async fn capture(&self, report: Capture, last: bool) -> StoreResult<CaptureOutcome> {
        let capture = move |ledger: &mut PostgresLedger<'_>| {
            lock_order_named(ledger, &report.order)?;
            let now = ledger.now;
            money::capture(ledger, &report, now, last)
        };
        self.job(RetryUnknown::Allowed, capture).await
    }

    pub(crate) async fn fail_payment(&self, report: Capture) -> StoreResult<bool> {
        let fail = move |ledger: &mut PostgresLedger<'_>| {
            let now = ledger.now;
            money::record_failure(ledger, &report, now)
        };
        self.job(RetryUnknown::Allowed, fail).await
    }

    pub(crate) async fn settle_refund(
        &self,
        provider: String,
        event: String,
        id: RefundId,
        news: RefundUpdate,
    ) -> StoreResult<RefundMessageOutcome> {
        let settle = move |ledger: &mut PostgresLedger<'_>| {
            let now = ledger.now;
            money::settle_refund(ledger, &provider, &event, &id, &news, now)
        };
        self.job(RetryUnknown::Allowed, settle).await
    }

    pub(crate) async fn apply_refund_update(
        &self,
        id: RefundId,
        news: RefundUpdate,
    ) -> StoreResult<Option<Refund>> {
        // If an attempt is recorded twice, only the pause becomes longer.
        let note = move |ledger: &mut PostgresLedger<'_>| {
            let now = ledger.now;
            money::apply_refund_update(ledger, &id, &news, now)
        };
        self.job(RetryUnknown::Allowed, note).await
    }

    pub(crate) async fn answer_refund(
        &self,
        requested: Refund,
        news: RefundUpdate,
    ) -> StoreResult<Option<Refund>> {
        let answer = move |ledger: &mut PostgresLedger<'_>| {
            let now = ledger.now;
            money::answer_refund(ledger, &requested, &news, now)
        };
        self.job(RetryUnknown::Allowed, answer).await
    }

    pub(crate) async fn retry_refund(&self, id: RefundId) -> StoreResult<Option<Refund>> {
        let retry = move |ledger: &mut PostgresLedger<'_>| {
            let now = ledger.now;
            let retried = money::retry_refund(ledger, &id, now)?;
            ledger.record_if(retried.is_some())?;
            Ok(retried)
        };
        self.job(RetryUnknown::Never, retry).await
    }

    pub(crate) async fn discard_refund(&self, id: RefundId, why: String) -> StoreResult<bool> {
        let sql = "UPDATE refund SET discarded = $2 WHERE id = $1 AND state = 'failed'
                   AND discarded IS NULL";
        let discard = move |ledger: &mut PostgresLedger<'_>| {
            let discarded = ledger.run(sql, &[&id.0, &why])? == 1;
            ledger.record_if(discarded)
        };
        self.job(RetryUnknown::Never, discard).await
    }

    pub(crate) async fn refunds_due(&self, limit: usize) -> StoreResult<Vec<Refund>> {
        const SQL: &str = concat!(
            "SELECT ",
            refund_columns!(),
            " FROM refund r WHERE r.state = 'pending' AND r.next_at <= $1 ORDER BY r.next_at, \
             r.seq LIMIT $2"
        );
        self.all(SQL, &[&self.now().0, &as_limit(limit.min(PAGE_ROWS_MAX))], refund).await
    }

    pub(crate) async fn next_refund_due(&self) -> StoreResult<Option<Millis>> {
        let sql = "SELECT min(next_at) FROM refund WHERE state = 'pending'";
        Ok(self.one(sql, &[], |row| rows::time(row, 0)).await?.flatten())
    }

    pub(crate) async fn refunds_pending(&self) -> StoreResult<u64> {
        let sql = "SELECT count(*) FROM refund WHERE state = 'pending'";
        Ok(self.one(sql, &[], |row| rows::number(row, 0)).await?.unwrap_or(0))
    }

    pub(crate) async fn payments(&self, query: MoneyQuery) -> StoreResult<MoneyPage<Payment>> {
        self.money(&PAYMENTS, &query).await
    }

    pub(crate) async fn refunds(&self, query: MoneyQuery) -> StoreResult<MoneyPage<Refund>> {
        self.money(&REFUNDS, &query).await
    }

    async fn money<T>(
        &self,
        list: &MoneyTable<T>,
        query: &MoneyQuery,
    ) -> StoreResult<MoneyPage<T>> {
        let limit = query.limit.min(PAGE_ROWS_MAX);
        let (beyond, start, direction) = match query.oldest_first {
            true => (">", 0, "ASC"),
            false => ("<", i64::MAX, "DESC"),
        };
        let MoneyTable { select, table, of_items, of_notices, read, seq } = list;
        let after = query.after.unwrap_or(start);
        let items: Option<Vec<i64>> =
            query.items.as_ref().map(|items| items.iter().map(|item| item.0).collect());
        // Unused conditions are left out, so that PostgreSQL makes a separate plan for each kind of
        // list.
        let mut sql = format!("{select} WHERE {table}.seq {beyond} $1");
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&after];
        if let Some(order) = &query.order {
            params.push(order);
            sql.push_str(&format!(" AND {table}.order_id = ${}", params.len()));
        }
        if let Some(items) = &items {
            params.push(items);
            sql.push_str(&format!(" AND {of_items}${}))", params.len()));
        }
        if query.notices {
            sql.push_str(&format!(" AND {of_notices}"));
        }
        // One row more than the limit shows whether there is a next page.
        let most = as_limit(limit + 1);
        params.push(&most);
        sql.push_str(&format!(" ORDER BY {table}.seq {direction} LIMIT ${}", params.len()));
        let mut found =
            self.all(&sql, &params, |row| Ok((read(row)?, row.try_get::<_, i64>(*seq)?))).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(_, seq)| *seq);
        Ok(MoneyPage { rows: found.into_iter().map(|(row, _)| row).collect(), next })
    }
}

/// Locks the rows of an order that a payment names, in lock order, because the rules read the item
/// before the quota.
///
/// If the order has ended, the rules read all slots of its item, to find out whether units can be
/// recalled. So the grants of those slots are locked as well.
fn lock_order_named(ledger: &mut PostgresLedger<'_>, order: &str) -> Done<()> {
    let Some(id) = TicketId::parse(order) else { return Ok(()) };
    let Some(seen) = ledger.order(&id)? else { return Ok(()) };
    let mut grants = vec![seen.grant];
    if matches!(seen.state, OrderState::Cancelled | OrderState::Expired) {
        let open = "SELECT id FROM slot_grant WHERE item_id = $1 AND open";
        grants.extend(ledger.all(open, &[&seen.item.0], |row| Ok(GrantId(rows::number(row, 0)?)))?);
    }
    ledger.lock_grants(&grants)?;
    ledger.quota(seen.item, &seen.buyer)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use doorbuster_core::money::RefundCause;

    #[test]
    fn rows_know_the_notices_that_the_rules_know() {
        let notices = RefundCause::ALL.iter().filter(|cause| cause.is_irregular());
        let notices: Vec<_> = notices.map(|cause| format!("'{}'", cause.as_str())).collect();
        let expected = format!("cause IN ({})", notices.join(", "));
        assert_eq!(notices!(), format!("r.{expected}"));
        let schema = include_str!("../../migrations/postgres/0005_money.sql");
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
