//! Reconciliation in SQLite, in one snapshot, on a reader's thread.
use rusqlite::params;

use crate::contract::StoreResult;
use crate::contract::{DifferenceKind, Reconciliation};
use crate::failure::Done;
use crate::limits::DIFFERENCES_MAX;
use crate::reconciliation;
use crate::reconciliation::{ITEMS, MONEY};
use crate::rows::reconciliation::{item, keyed_difference, money};
use crate::sql::as_limit;

use super::Sqlite;
use super::read::Reader;

fn reconcile(
    sql: &mut Reader<'_>,
    sale: Option<&str>,
    after: Option<&[(DifferenceKind, i64)]>,
) -> Done<Reconciliation> {
    let items = sql.all(ITEMS, params![sale], item)?;
    let sums = sql.all(MONEY, params![sale], money)?;
    let (mut found, mut more) = (Vec::new(), Vec::new());
    for (kind, text, place) in reconciliation::kinds_to_read(after) {
        let rows = sql.all(text, params![sale, place, as_limit(DIFFERENCES_MAX + 1)], |row| {
            keyed_difference(kind, row)
        })?;
        let (named, on) = reconciliation::cut_page(rows);
        found.extend(named);
        more.extend(on.map(|place| (kind, place)));
    }
    Ok(reconciliation::assemble(items, sums, found, more, after.is_none()))
}

impl Sqlite {
    pub(crate) async fn reconcile(
        &self,
        sale: Option<String>,
        after: Option<Vec<(DifferenceKind, i64)>>,
    ) -> StoreResult<Reconciliation> {
        self.read(move |sql| reconcile(sql, sale.as_deref(), after.as_deref())).await
    }
}
