//! Reconciliation in PostgreSQL, from one snapshot.
use crate::contract::StoreResult;
use crate::contract::{DifferenceKind, Reconciliation};
use crate::failure::Done;
use crate::limits::{DIFFERENCES_MAX, PG_CHECK_WAIT};
use crate::reconciliation;
use crate::reconciliation::{ITEMS, MONEY};
use crate::rows::reconciliation::{item, keyed_difference, money};
use crate::sql::as_limit;

use super::Postgres;
use super::check::snapshot;
use super::shared::Shared;
use super::transaction::retry;

async fn reconcile(
    shared: &Shared,
    sale: &Option<String>,
    after: Option<&[(DifferenceKind, i64)]>,
) -> Done<Reconciliation> {
    snapshot(shared, async |client| {
        client
            .batch_execute(&format!("SET LOCAL statement_timeout = {}", PG_CHECK_WAIT.as_millis()))
            .await?;
        let items = client
            .query(ITEMS, &[sale])
            .await?
            .iter()
            .map(|row| item(row.into()))
            .collect::<Done<Vec<_>>>()?;
        let sums = client
            .query(MONEY, &[sale])
            .await?
            .iter()
            .map(|row| money(row.into()))
            .collect::<Done<Vec<_>>>()?;
        let (mut found, mut more) = (Vec::new(), Vec::new());
        for (kind, text, place) in reconciliation::kinds_to_read(after) {
            let rows = client.query(text, &[sale, &place, &as_limit(DIFFERENCES_MAX + 1)]).await?;
            let rows = rows
                .iter()
                .map(|row| keyed_difference(kind, row.into()))
                .collect::<Done<Vec<_>>>()?;
            let (named, on) = reconciliation::cut_page(rows);
            found.extend(named);
            more.extend(on.map(|place| (kind, place)));
        }
        Ok(reconciliation::assemble(items, sums, found, more, after.is_none()))
    })
    .await
}

impl Postgres {
    pub(crate) async fn reconcile(
        &self,
        sale: Option<String>,
        after: Option<Vec<(DifferenceKind, i64)>>,
    ) -> StoreResult<Reconciliation> {
        let shared = self.shared();
        shared.state.check_accepting()?;
        let (sale, after) = (&sale, after.as_deref());
        let (books, _) = retry(shared, move || reconcile(shared, sale, after)).await?;
        Ok(books)
    }
}
