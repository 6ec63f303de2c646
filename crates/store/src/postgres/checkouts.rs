//! Checkouts in PostgreSQL, and the documents of the built-in provider.
//!
//! Whether a checkout is open stands in its order as well (`ask_ms`), so that expiry need not pass by the orders that wait for their provider. When an open
//! one is to be closed (`due`) follows its order: whatever changes orders writes it too (`flush`).
use doorbuster_core::money::{self, Checkout, CheckoutKept};
use doorbuster_core::{Order, TicketId};

use crate::limits::PAGE_ROWS_MAX;
use crate::store::StoreResult;

use super::Postgres;
use super::read::as_limit;
use super::rows::money::{checkout as row, checkout_at, checkout_columns};
use super::rows::{self, int};
use super::run::Again;

impl Postgres {
    pub(crate) async fn keep_checkout(&self, checkout: Checkout) -> StoreResult<CheckoutKept> {
        self.job(Again::Safe, move |ledger| money::keep_checkout(ledger, &checkout)).await
    }

    pub(crate) async fn checkout(&self, order: TicketId) -> StoreResult<Option<Checkout>> {
        let Some(parts) = order.parts() else { return Ok(None) };
        const SQL: &str =
            concat!("SELECT ", checkout_columns!(), " FROM checkout c WHERE c.grant_id = $1 AND c.n = $2");
        let found = self.one(SQL, &[&int(parts.grant.0), &int(parts.n.0)], row).await?;
        Ok(found.filter(|checkout| checkout.order == order))
    }

    pub(crate) async fn close_checkout(&self, order: TicketId, session: String) -> StoreResult<bool> {
        self.job(Again::Safe, move |ledger| money::close_checkout(ledger, &order, &session)).await
    }

    pub(crate) async fn checkouts_to_close(&self, limit: usize) -> StoreResult<Vec<(Checkout, Order)>> {
        const SQL: &str = concat!(
            "SELECT ",
            rows::order_columns!(),
            ", ",
            checkout_columns!(),
            " FROM checkout c JOIN orders o ON o.grant_id = c.grant_id AND o.n = c.n
              WHERE c.open AND c.due <= $1 ORDER BY o.state <> 'reserved', c.due LIMIT $2"
        );
        let limit = as_limit(limit.min(PAGE_ROWS_MAX));
        self.all(SQL, &[&self.now().0, &limit], |row| Ok((checkout_at(row, 12)?, rows::order(row)?))).await
    }

    pub(crate) async fn put_off_checkout(&self, order: TicketId, session: String, ms: i64) -> StoreResult<bool> {
        let Some(parts) = order.parts() else { return Ok(false) };
        let sql =
            "UPDATE checkout SET due = $5 WHERE grant_id = $1 AND n = $2 AND order_id = $3 AND session = $4 AND open";
        let put_off = move |ledger: &mut super::PostgresLedger<'_>| {
            let until = ledger.now.plus(ms).0;
            let id = order.text();
            Ok(ledger.run(sql, &[&int(parts.grant.0), &int(parts.n.0), &id.as_str(), &session, &until])? == 1)
        };
        self.job(Again::Safe, put_off).await
    }

    pub(crate) async fn sandbox_get(&self, key: &str) -> StoreResult<Option<String>> {
        self.one("SELECT value FROM sandbox WHERE key = $1", &[&key], |row| Ok(row.try_get(0)?)).await
    }

    /// Whoever does not learn what came of it has to look: the same again would find its own document.
    pub(crate) async fn sandbox_swap(&self, key: String, old: Option<String>, new: String) -> StoreResult<bool> {
        let swap = move |ledger: &mut super::PostgresLedger<'_>| {
            let changed = match &old {
                None => {
                    let sql = "INSERT INTO sandbox (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
                    ledger.run(sql, &[&key, &new])?
                }
                Some(old) => {
                    ledger.run("UPDATE sandbox SET value = $3 WHERE key = $1 AND value = $2", &[&key, old, &new])?
                }
            };
            Ok(changed == 1)
        };
        self.job(Again::Never, swap).await
    }

    pub(crate) async fn sandbox_forget(&self, documents: Vec<(String, String)>) -> StoreResult<usize> {
        let (keys, values): (Vec<String>, Vec<String>) = documents.into_iter().unzip();
        let forget = move |ledger: &mut super::PostgresLedger<'_>| {
            let sql = "DELETE FROM sandbox s USING unnest($1::text[], $2::text[]) AS t (key, value)
                 WHERE s.key = t.key AND s.value = t.value";
            ledger.run(sql, &[&keys, &values])
        };
        let gone = self.job(Again::Safe, forget).await?;
        Ok(usize::try_from(gone).unwrap_or(usize::MAX))
    }

    pub(crate) async fn sandbox_list(
        &self,
        prefix: String,
        after: String,
        limit: usize,
    ) -> StoreResult<Vec<(String, String)>> {
        let sql = "SELECT key, value FROM sandbox WHERE key >= $1 AND key > $2 AND starts_with(key, $1) ORDER BY key LIMIT $3";
        let limit = as_limit(limit.min(PAGE_ROWS_MAX));
        self.all(sql, &[&prefix, &after, &limit], |row| Ok((row.try_get(0)?, row.try_get(1)?))).await
    }
}
