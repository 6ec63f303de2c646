//! Payments and refunds.
use doorbuster_core::money::{
    Capture, CaptureOutcome, Payment, Refund, RefundId, RefundMessageOutcome, RefundUpdate,
};
use doorbuster_core::{Millis, money};

use crate::contract::{MoneyQuery, Page};
use crate::failure::Done;
use crate::limits::PAGE_ROWS_MAX;
use crate::rows::money::{notices, payment, payment_columns, refund, refund_columns};
use crate::sql::{Row, Statement, Value, as_limit, locking, statement, values};
use crate::transaction::RetryUnknown;

use super::{Store, StoreResult};

const DISCARD: Statement = statement(
    "UPDATE refund SET discarded = $2 WHERE id = $1 AND state = 'failed' AND discarded IS NULL",
);
const FAILED: Statement = locking!(
    "SELECT 1 FROM refund WHERE id = $1 AND state = 'failed' AND discarded IS NULL",
    "FOR NO KEY UPDATE"
);
const DUE: Statement = statement(concat!(
    "SELECT ",
    refund_columns!(),
    " FROM refund r WHERE r.state = 'pending' AND r.next_at <= $1 ORDER BY r.next_at, r.seq
      LIMIT $2"
));
const NEXT_DUE: Statement = statement("SELECT min(next_at) FROM refund WHERE state = 'pending'");
const PENDING: Statement = statement("SELECT count(*) FROM refund WHERE state = 'pending'");

/// The parts of a list query that differ between payments and refunds.
struct MoneyTable<T> {
    /// `SELECT` with the columns of the row, followed by `seq`.
    select: &'static str,
    /// The alias of the table.
    table: &'static str,
    /// The beginning of a subquery that finds the row's order, with the alias `o`. The list query
    /// appends a condition on the order's item.
    of_order: &'static str,
    /// The SQL condition that selects irregular refunds (`RefundCause::is_irregular`), or in the
    /// table of payments, the payments with such a refund.
    of_notices: &'static str,
    read: fn(Row<'_>) -> Done<T>,
    seq: usize,
}

const PAYMENTS: MoneyTable<Payment> = MoneyTable {
    select: concat!("SELECT ", payment_columns!(), ", p.seq FROM payment p"),
    table: "p",
    of_order: "SELECT 1 FROM orders o WHERE o.grant_id = p.grant_id AND o.n = p.n",
    of_notices: concat!("p.id IN (SELECT r.payment_id FROM refund r WHERE ", notices!(), ")"),
    read: payment,
    seq: 7,
};
const REFUNDS: MoneyTable<Refund> = MoneyTable {
    select: concat!("SELECT ", refund_columns!(), ", r.seq FROM refund r"),
    table: "r",
    of_order: "SELECT 1 FROM payment p JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n
               WHERE p.id = r.payment_id",
    of_notices: notices!(),
    read: refund,
    seq: 14,
};

impl Store {
    /// Handles a captured payment (see [`doorbuster_core::money::capture`], which describes
    /// `last`). If the outcome is [`CaptureOutcome::UnitsMissing`] or [`CaptureOutcome::TooEarly`],
    /// the call wrote nothing.
    pub async fn capture(&self, report: Capture, last: bool) -> StoreResult<CaptureOutcome> {
        self.job(RetryUnknown::Allowed, move |tx| {
            tx.lock_order_named(&report.order)?;
            let now = tx.now();
            money::capture(tx.ledger(), &report, now, last)
        })
        .await
    }

    /// Records a failed payment (see [`doorbuster_core::money::record_failure`]).
    pub async fn fail_payment(&self, report: Capture) -> StoreResult<bool> {
        self.job(RetryUnknown::Allowed, move |tx| {
            let now = tx.now();
            money::record_failure(tx.ledger(), &report, now)
        })
        .await
    }

    /// Applies a provider's message about a refund (see
    /// [`doorbuster_core::money::apply_refund_message`]).
    pub async fn settle_refund(
        &self,
        provider: String,
        event: String,
        id: RefundId,
        update: RefundUpdate,
    ) -> StoreResult<RefundMessageOutcome> {
        self.job(RetryUnknown::Allowed, move |tx| {
            let now = tx.now();
            money::apply_refund_message(tx.ledger(), &provider, &event, &id, &update, now)
        })
        .await
    }

    /// Applies a report about a refund (see [`doorbuster_core::money::apply_refund_update`]).
    pub async fn apply_refund_update(
        &self,
        id: RefundId,
        update: RefundUpdate,
    ) -> StoreResult<Option<Refund>> {
        // A second run may record one attempt twice. The double record has one effect: the next
        // pause is longer.
        self.job(RetryUnknown::Allowed, move |tx| {
            let now = tx.now();
            money::apply_refund_update(tx.ledger(), &id, &update, now)
        })
        .await
    }

    /// Applies an answer to a query about a refund (see
    /// [`doorbuster_core::money::apply_refund_answer`]).
    pub async fn answer_refund(
        &self,
        requested: Refund,
        update: RefundUpdate,
    ) -> StoreResult<Option<Refund>> {
        self.job(RetryUnknown::Allowed, move |tx| {
            let now = tx.now();
            money::apply_refund_answer(tx.ledger(), &requested, &update, now)
        })
        .await
    }

    /// Requests a failed refund again (see [`doorbuster_core::money::retry_refund`]). Returns
    /// `None` if there is no such failed refund, or an operator has discarded it.
    pub async fn retry_refund(&self, id: RefundId) -> StoreResult<Option<Refund>> {
        self.job(RetryUnknown::Never, move |tx| {
            if !tx.exists(FAILED, &values![&id.0])? {
                return Ok(None);
            }
            let now = tx.now();
            let retried = money::retry_refund(tx.ledger(), &id, now)?;
            tx.record_if(retried.is_some())?;
            Ok(retried)
        })
        .await
    }

    /// Discards a failed refund that an operator has resolved, and stores the operator's reason.
    /// Returns false if there is no such failed refund, or if this refund was discarded before.
    pub async fn discard_refund(&self, id: RefundId, why: String) -> StoreResult<bool> {
        self.job(RetryUnknown::Never, move |tx| {
            let discarded = tx.run(DISCARD, &values![&id.0, &why])? == 1;
            tx.record_if(discarded)
        })
        .await
    }

    /// Returns at most `limit` pending refunds that are due for a request to the provider. The
    /// refund that has been due longest comes first.
    pub async fn refunds_due(&self, limit: usize) -> StoreResult<Vec<Refund>> {
        let limit = as_limit(limit.min(PAGE_ROWS_MAX));
        self.all(DUE, values![self.now(), limit], refund).await
    }

    /// Returns when the next pending refund is due, or `None` if no refund is pending.
    pub async fn next_refund_due(&self) -> StoreResult<Option<Millis>> {
        Ok(self.one(NEXT_DUE, [], |row| row.time(0)).await?.flatten())
    }

    /// Returns the number of pending refunds.
    pub async fn refunds_pending(&self) -> StoreResult<u64> {
        Ok(self.one(PENDING, [], |row| row.number(0)).await?.unwrap_or(0))
    }

    /// Returns a page of payments. If the query's `notices` is true, the page has only payments
    /// that a provider or a buyer caused by mistake.
    pub async fn payments(&self, query: MoneyQuery) -> StoreResult<Page<Payment>> {
        self.money_page(&PAYMENTS, query).await
    }

    /// Returns a page of refunds.
    pub async fn refunds(&self, query: MoneyQuery) -> StoreResult<Page<Refund>> {
        self.money_page(&REFUNDS, query).await
    }

    async fn money_page<T: Send + 'static>(
        &self,
        list: &MoneyTable<T>,
        query: MoneyQuery,
    ) -> StoreResult<Page<T>> {
        let limit = query.limit.min(PAGE_ROWS_MAX);
        let (beyond, start, direction) = match query.oldest_first {
            true => (">", 0, "ASC"),
            false => ("<", i64::MAX, "DESC"),
        };
        let MoneyTable { select, table, of_order, of_notices, read, seq } = *list;
        let mut text = format!("{select} WHERE {table}.seq {beyond} $1");
        let mut values = vec![Value::from(query.after.unwrap_or(start))];
        if let Some(order) = query.order {
            values.push(Value::from(order));
            text.push_str(&format!(" AND {table}.order_id = ${}", values.len()));
        }
        if let Some(items) = &query.items {
            values.push(Value::from(items.as_slice()));
            let in_items = self.in_list("o.item_id", values.len());
            text.push_str(&format!(" AND EXISTS ({of_order} AND {in_items})"));
        }
        if query.notices {
            text.push_str(&format!(" AND {of_notices}"));
        }
        values.push(Value::from(as_limit(limit + 1)));
        text.push_str(&format!(" ORDER BY {table}.seq {direction} LIMIT ${}", values.len()));
        let row = move |row: Row<'_>| Ok((read(row)?, row.get(seq)?));
        Ok(Page::of_pairs(self.list(text, values, row).await?, limit))
    }
}
