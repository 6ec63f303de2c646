//! Checkouts in SQLite, and the documents of the built-in provider.
//!
//! The order also stores how long it waits for its provider (`provider_wait_ms`), so that expiry
//! need not read orders that still wait. Each open checkout stores when it must be closed (`due`).
//! The time depends on the order, and a trigger updates `due`.
use rusqlite::{Row, params};

use doorbuster_core::money::{self, Checkout, CheckoutOutcome};
use doorbuster_core::{Millis, Order, TicketId};

use crate::contract::CheckoutDeferral;
use crate::limits::PAGE_ROWS_MAX;
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::read::{Reader, as_limit};
use super::rows::{self, int};
use super::statements::Statements;

type Done<T> = Result<T, Failure>;

// The columns in the order in which `row` reads them.
macro_rules! checkout_columns {
    () => {
        "c.order_id, c.provider, c.session, c.url, c.expires_at, c.open, c.at, c.asked_at"
    };
}
pub(super) use checkout_columns;

/// Returns a checkout whose columns begin at `from`.
fn row_at(row: &Row<'_>, from: usize) -> Done<Checkout> {
    Ok(Checkout {
        order: rows::ticket(row, from)?,
        provider: row.get(from + 1)?,
        session: row.get(from + 2)?,
        url: row.get(from + 3)?,
        expires_at: Millis(row.get(from + 4)?),
        open: row.get(from + 5)?,
        at: Millis(row.get(from + 6)?),
        asked_at: row.get::<_, Option<i64>>(from + 7)?.map(Millis),
    })
}

pub(super) fn row(row: &Row<'_>) -> Done<Checkout> {
    row_at(row, 0)
}

pub(super) fn checkout(sql: &mut Statements<'_>, id: &TicketId) -> Done<Option<Checkout>> {
    let Some(parts) = id.parts() else { return Ok(None) };
    let found = sql.one(
        concat!("SELECT ", checkout_columns!(), " FROM checkout c WHERE grant_id = ?1 AND n = ?2"),
        params![int(parts.grant.0), int(parts.n.0)],
        row,
    )?;
    Ok(found.filter(|checkout| checkout.order == *id))
}

pub(super) fn put_checkout(sql: &mut Statements<'_>, checkout: &Checkout) -> Done<()> {
    let parts = checkout
        .order
        .parts()
        .ok_or_else(|| Failure::Row("a checkout names no order".to_owned()))?;
    let (grant, n) = (int(parts.grant.0), int(parts.n.0));
    sql.run(
        "INSERT INTO checkout (grant_id, n, order_id, provider, session, url, expires_at, open, at,
         asked_at, due)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
                 coalesce((SELECT pay_by FROM orders WHERE grant_id = ?1 AND n = ?2
                 AND state = 'reserved'), 0))
         ON CONFLICT (grant_id, n) DO UPDATE SET order_id = excluded.order_id,
         provider = excluded.provider, session = excluded.session,
                                                 url = excluded.url, expires_at =
                                                 excluded.expires_at, open = excluded.open,
                                                 at = excluded.at, asked_at = excluded.asked_at,
                                                 due = excluded.due",
        params![
            grant,
            n,
            checkout.order.text().as_str(),
            checkout.provider,
            checkout.session,
            checkout.url,
            checkout.expires_at.0,
            checkout.open,
            checkout.at.0,
            checkout.asked_at.map(|at| at.0)
        ],
    )?;
    let pay_by = sql.one(
        "SELECT pay_by FROM orders WHERE grant_id = ?1 AND n = ?2",
        params![grant, n],
        |row| Ok(row.get(0)?),
    )?;
    if let Some(pay_by) = pay_by {
        let ask_ms = checkout.provider_wait_ms(Millis(pay_by));
        sql.run(
            "UPDATE orders SET ask_ms = ?3 WHERE grant_id = ?1 AND n = ?2",
            params![grant, n, ask_ms],
        )?;
    }
    Ok(())
}

fn to_close(sql: &mut Reader<'_>, now: Millis, limit: usize) -> Done<Vec<(Checkout, Order)>> {
    sql.all(
        concat!(
            "SELECT o.id, o.item_id, o.buyer, o.request_key, o.units, o.state, o.grant_id, o.n,
             o.reserved_at, o.pay_by, o.paid_at,
                    o.ended_at, ",
            checkout_columns!(),
            " FROM checkout c JOIN orders o ON o.grant_id = c.grant_id AND o.n = c.n
             WHERE c.open = 1 AND c.due <= ?1 ORDER BY o.state <> 'reserved', c.due LIMIT ?2"
        ),
        params![now.0, as_limit(limit)],
        |row| Ok((row_at(row, 12)?, rows::order(row)?)),
    )
}

fn put_off(ledger: &mut SqliteLedger<'_>, it: &CheckoutDeferral) -> Done<usize> {
    let (now, Some(parts)) = (ledger.now, it.order.parts()) else { return Ok(0) };
    if it.no_answer {
        money::record_unanswered_check(ledger, &it.order, &it.session, now)?;
    }
    ledger.sql.run(
        "UPDATE checkout SET due = max(?5, coalesce((SELECT pay_by FROM orders WHERE grant_id = ?1
         AND n = ?2 AND state = 'reserved'), 0))
         WHERE grant_id = ?1 AND n = ?2 AND order_id = ?3 AND session = ?4 AND open = 1",
        params![
            int(parts.grant.0),
            int(parts.n.0),
            it.order.text().as_str(),
            it.session,
            now.plus(it.ms).0
        ],
    )
}

fn swap(sql: &mut Statements<'_>, key: &str, old: Option<&str>, new: &str) -> Done<bool> {
    let changed = match old {
        None => sql.run(
            "INSERT INTO sandbox (key, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![key, new],
        )?,
        Some(old) => sql.run(
            "UPDATE sandbox SET value = ?3 WHERE key = ?1 AND value = ?2",
            params![key, old, new],
        )?,
    };
    Ok(changed == 1)
}

impl Sqlite {
    pub(crate) async fn keep_checkout(&self, checkout: Checkout) -> StoreResult<CheckoutOutcome> {
        self.job(move |ledger| money::keep_checkout(ledger, &checkout)).await
    }

    pub(crate) async fn checkout(&self, order: TicketId) -> StoreResult<Option<Checkout>> {
        self.read(move |sql| checkout(sql, &order)).await
    }

    pub(crate) async fn close_checkout(
        &self,
        order: TicketId,
        session: String,
    ) -> StoreResult<bool> {
        self.job(move |ledger| money::close_checkout(ledger, &order, &session)).await
    }

    pub(crate) async fn checkouts_to_close(
        &self,
        limit: usize,
    ) -> StoreResult<Vec<(Checkout, Order)>> {
        let now = self.now();
        self.read(move |sql| to_close(sql, now, limit)).await
    }

    pub(crate) async fn defer_checkouts(&self, all: Vec<CheckoutDeferral>) -> StoreResult<usize> {
        self.job(move |ledger| {
            let mut open = 0;
            for it in &all {
                open += put_off(ledger, it)?;
            }
            Ok(open)
        })
        .await
    }

    pub(crate) async fn sandbox_get(&self, key: &str) -> StoreResult<Option<String>> {
        let key = key.to_owned();
        self.read(move |sql| {
            sql.one("SELECT value FROM sandbox WHERE key = ?1", params![key], |row| Ok(row.get(0)?))
        })
        .await
    }

    pub(crate) async fn sandbox_swap(
        &self,
        key: String,
        old: Option<String>,
        new: String,
    ) -> StoreResult<bool> {
        self.job(move |ledger| swap(&mut ledger.sql, &key, old.as_deref(), &new)).await
    }

    pub(crate) async fn sandbox_delete(
        &self,
        documents: Vec<(String, String)>,
    ) -> StoreResult<usize> {
        self.job(move |ledger| {
            let mut deleted = 0;
            for (key, value) in &documents {
                deleted += ledger.sql.run(
                    "DELETE FROM sandbox WHERE key = ?1 AND value = ?2",
                    params![key, value],
                )?;
            }
            Ok(deleted)
        })
        .await
    }

    pub(crate) async fn sandbox_list(
        &self,
        prefix: String,
        after: String,
        limit: usize,
    ) -> StoreResult<Vec<(String, String)>> {
        self.read(move |sql| {
            sql.all(
                "SELECT key, value FROM sandbox WHERE key >= ?1 AND key > ?2 AND substr(key, 1, \
                 length(?1)) = ?1 ORDER BY key LIMIT ?3",
                params![prefix, after, as_limit(limit.min(PAGE_ROWS_MAX))],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })
        .await
    }
}
