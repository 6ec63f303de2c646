//! Runs the statements and transactions of the store's methods, in either database.
use doorbuster_core::IdKey;

use crate::failure::Done;
use crate::postgres::PostgresLedger;
use crate::sql::{Row, Statement, Value};
use crate::sqlite::SqliteLedger;
use crate::transaction::{RetryUnknown, Transaction};

use super::{Store, StoreResult};

impl Store {
    /// Runs `work` as one transaction. In PostgreSQL `work` may run several times, each time with
    /// the current rows.
    pub(super) async fn job<T: Send + 'static>(
        &self,
        again: RetryUnknown,
        work: impl Fn(&mut Transaction<'_, '_>) -> Done<T> + Send + Sync + 'static,
    ) -> StoreResult<T> {
        self.weighed_job(1, again, work).await
    }

    /// Runs `work` like [`Store::job`]. `weight` is the number of tickets or visitors that the job
    /// handles, at least 1. In SQLite, the total weight of the jobs in one commit is bounded.
    pub(super) async fn weighed_job<T: Send + 'static>(
        &self,
        weight: usize,
        again: RetryUnknown,
        work: impl Fn(&mut Transaction<'_, '_>) -> Done<T> + Send + Sync + 'static,
    ) -> StoreResult<T> {
        match self {
            Self::Sqlite(s) => {
                let work =
                    move |ledger: &mut SqliteLedger<'_>| work(&mut Transaction::Sqlite(ledger));
                s.weighed_job(weight, work).await
            }
            Self::Postgres(s) => {
                let work =
                    move |ledger: &mut PostgresLedger<'_>| work(&mut Transaction::Postgres(ledger));
                Box::pin(s.job(again, work)).await
            }
        }
    }

    /// Renews a lease with `work`. In PostgreSQL, the limits on the number of waiting and running
    /// transactions do not apply to this renewal.
    pub(super) async fn lease_job<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Transaction<'_, '_>) -> Done<T> + Send + Sync + 'static,
    ) -> StoreResult<T> {
        match self {
            Self::Sqlite(_) => self.job(RetryUnknown::Allowed, work).await,
            Self::Postgres(s) => {
                let work =
                    move |ledger: &mut PostgresLedger<'_>| work(&mut Transaction::Postgres(ledger));
                Box::pin(s.lease_job(work)).await
            }
        }
    }

    /// Returns every row of a query, from a new snapshot.
    pub(super) async fn all<T: Send + 'static, const N: usize>(
        &self,
        sql: Statement,
        values: [Value<'static>; N],
        read: impl Fn(Row<'_>) -> Done<T> + Send + 'static,
    ) -> StoreResult<Vec<T>> {
        match self {
            Self::Sqlite(s) => s.read(move |r| r.query(sql.sqlite, &values, read)).await,
            Self::Postgres(s) => Box::pin(s.query(sql.postgres, &values, read)).await,
        }
    }

    /// Returns the first row of a query, from a new snapshot.
    pub(super) async fn one<T: Send + 'static, const N: usize>(
        &self,
        sql: Statement,
        values: [Value<'static>; N],
        read: impl Fn(Row<'_>) -> Done<T> + Send + 'static,
    ) -> StoreResult<Option<T>> {
        match self {
            Self::Sqlite(s) => s.read(move |r| r.first(sql.sqlite, &values, read)).await,
            Self::Postgres(s) => {
                Ok(Box::pin(s.query(sql.postgres, &values, read)).await?.into_iter().next())
            }
        }
    }

    /// Runs these queries in one snapshot. `add` gets each row with the index of its query, and
    /// adds the row to the result.
    pub(crate) async fn in_snapshot<T: Default + Send + 'static>(
        &self,
        queries: Vec<(&'static str, Vec<Value<'static>>)>,
        add: impl Fn(&mut T, usize, Row<'_>) -> Done<()> + Send + Sync + 'static,
    ) -> StoreResult<T> {
        match self {
            Self::Sqlite(s) => {
                s.read(move |reader| {
                    let mut result = T::default();
                    for (at, &(sql, ref values)) in queries.iter().enumerate() {
                        reader.query(sql, values, |row| add(&mut result, at, row))?;
                    }
                    Ok(result)
                })
                .await
            }
            Self::Postgres(s) => Box::pin(s.in_snapshot(&queries, &add)).await,
        }
    }

    /// Returns every row of a query whose text was made for this call. The text contains only the
    /// conditions that the call uses, so that PostgreSQL makes a separate plan for each kind of
    /// list.
    pub(super) async fn list<T: Send + 'static>(
        &self,
        text: String,
        values: Vec<Value<'static>>,
        read: impl Fn(Row<'_>) -> Done<T> + Send + 'static,
    ) -> StoreResult<Vec<T>> {
        match self {
            Self::Sqlite(s) => s.read(move |r| r.query_text(&text, &values, read)).await,
            Self::Postgres(s) => Box::pin(s.query(&text, &values, read)).await,
        }
    }

    /// Returns the SQL condition that `column` is in the list that the caller binds to this
    /// parameter.
    pub(super) fn in_list(&self, column: &str, parameter: usize) -> String {
        match self {
            Self::Sqlite(_) => format!("{column} IN (SELECT value FROM json_each(${parameter}))"),
            Self::Postgres(_) => format!("{column} = ANY(${parameter})"),
        }
    }

    pub(super) fn id_key(&self) -> IdKey {
        match self {
            Self::Sqlite(s) => s.id_key().clone(),
            Self::Postgres(s) => s.shared().id_key.clone(),
        }
    }
}
