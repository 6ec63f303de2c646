//! Checkouts in SQLite.
//!
//! Each open checkout stores when it must be closed (`due`). `due` depends on the order, so a
//! trigger on the order updates `due`.
use rusqlite::params;

use doorbuster_core::money::Checkout;
use doorbuster_core::{Millis, money};

use crate::contract::CheckoutDeferral;
use crate::contract::StoreResult;
use crate::failure::{Done, Failure};
use crate::sql::to_i64;

use super::Sqlite;
use super::ledger::SqliteLedger;
use super::statement_cache::Statements;

pub(super) fn put_checkout(sql: &mut Statements<'_>, checkout: &Checkout) -> Done<()> {
    let parts = checkout
        .order
        .parts()
        .ok_or_else(|| Failure::Row("a checkout names no order".to_owned()))?;
    let (grant, n) = (to_i64(parts.grant.0), to_i64(parts.n.0));
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
        |row| row.get(0),
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

fn put_off(ledger: &mut SqliteLedger<'_>, it: &CheckoutDeferral) -> Done<usize> {
    let (now, Some(parts)) = (ledger.now, it.order.parts()) else { return Ok(0) };
    if it.unanswered {
        money::record_unanswered_check(ledger, &it.order, &it.session, now)?;
    }
    ledger.sql.run(
        "UPDATE checkout SET due = max(?5, coalesce((SELECT pay_by FROM orders WHERE grant_id = ?1
         AND n = ?2 AND state = 'reserved'), 0))
         WHERE grant_id = ?1 AND n = ?2 AND order_id = ?3 AND session = ?4 AND open = 1",
        params![
            to_i64(parts.grant.0),
            to_i64(parts.n.0),
            it.order.text().as_str(),
            it.session,
            now.plus(it.ms).0
        ],
    )
}

impl Sqlite {
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
}
