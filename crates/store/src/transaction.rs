//! One transaction, in either database. An operation whose steps are the same in both databases is
//! a function over a [`Transaction`].
use doorbuster_core::{GrantId, ItemId, Ledger, Millis, RecallId, TicketId};

use crate::actions;
use crate::contract::{FieldChange, NewAction};
use crate::failure::{Done, Failure};
use crate::postgres::PostgresLedger;
use crate::sql::{Row, Statement, Value, postgres_params, statement, values};
use crate::sqlite::SqliteLedger;

/// Whether the store may run a transaction of PostgreSQL again if it does not know the outcome of
/// the first run. For SQLite, the store always knows the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryUnknown {
    /// The transaction may run again. A second run finds the effect of the first run, and returns
    /// the same result.
    Allowed,
    /// The transaction must not run again. The caller must read whether the transaction had its
    /// effect.
    Never,
}

const INSERT_ACTION: Statement = statement(
    "INSERT INTO action (at, actor, action, subject, changes, address, request_id)
               VALUES ($1, $2, $3, $4, $5, $6, $7)",
);

pub(crate) enum Transaction<'t, 'c> {
    Sqlite(&'t mut SqliteLedger<'c>),
    Postgres(&'t mut PostgresLedger<'c>),
}

impl Transaction<'_, '_> {
    pub(crate) fn all<T>(
        &mut self,
        sql: Statement,
        values: &[Value<'_>],
        read: impl Fn(Row<'_>) -> Done<T>,
    ) -> Done<Vec<T>> {
        match self {
            Self::Sqlite(ledger) => ledger.sql.query(sql.sqlite, values, read),
            Self::Postgres(ledger) => ledger.query(sql.postgres, values, read),
        }
    }

    pub(crate) fn one<T>(
        &mut self,
        sql: Statement,
        values: &[Value<'_>],
        read: impl Fn(Row<'_>) -> Done<T>,
    ) -> Done<Option<T>> {
        match self {
            Self::Sqlite(ledger) => ledger.sql.first(sql.sqlite, values, read),
            Self::Postgres(ledger) => ledger.first(sql.postgres, values, read),
        }
    }

    pub(crate) fn exists(&mut self, sql: Statement, values: &[Value<'_>]) -> Done<bool> {
        Ok(self.one(sql, values, |_| Ok(()))?.is_some())
    }

    pub(crate) fn run(&mut self, sql: Statement, values: &[Value<'_>]) -> Done<u64> {
        match self {
            Self::Sqlite(ledger) => ledger.sql.execute(sql.sqlite, values),
            Self::Postgres(ledger) => ledger.execute(sql.postgres, values),
        }
    }
}

impl Transaction<'_, '_> {
    pub(crate) fn now(&self) -> Millis {
        match self {
            Self::Sqlite(ledger) => ledger.now,
            Self::Postgres(ledger) => ledger.now,
        }
    }

    pub(crate) fn ledger(&mut self) -> &mut (dyn Ledger<Error = Failure> + '_) {
        match self {
            Self::Sqlite(ledger) => &mut **ledger,
            Self::Postgres(ledger) => &mut **ledger,
        }
    }

    /// Locks grants in the order of their ids. SQLite has one writer, so it needs no lock.
    pub(crate) fn lock_grants(&mut self, ids: &[GrantId]) -> Done<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(ledger) => ledger.lock_grants(ids),
        }
    }

    pub(crate) fn lock_recall(&mut self, id: RecallId) -> Done<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(ledger) => ledger.lock_recall(id),
        }
    }

    pub(crate) fn lock_order(&mut self, id: &TicketId) -> Done<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(ledger) => ledger.lock_order(id),
        }
    }

    pub(crate) fn lock_order_named(&mut self, order: &str) -> Done<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(ledger) => ledger.lock_order_named(order),
        }
    }

    /// In SQLite, writes and drops the cached rows. Call this function before a statement that
    /// changes the tables of these rows. In PostgreSQL, does nothing, because every transaction has
    /// its own cache.
    pub(crate) fn drop_cached_rows(&mut self) -> Done<()> {
        if let Self::Sqlite(ledger) = self {
            ledger.flush()?;
            ledger.reset();
        }
        Ok(())
    }

    /// Call this function before a change of sales or of the descriptions of items. In SQLite,
    /// drops the cached items, because they have the old limits. In PostgreSQL, the commit tells
    /// other nodes of the change.
    pub(crate) fn change_catalogue(&mut self) -> Done<()> {
        if let Self::Postgres(ledger) = self {
            ledger.catalogue = true;
        }
        self.drop_cached_rows()
    }

    /// Publishes the counts of a new item with the commit. In PostgreSQL, does nothing, because the
    /// next poll finds new items.
    pub(crate) fn publish_counts(&mut self, item: ItemId) {
        if let Self::Sqlite(ledger) = self {
            ledger.touch(item);
        }
    }

    /// Records the caller's action with these changed fields. Does nothing if the caller passed no
    /// action ([`crate::recorded`]).
    pub(crate) fn record(&mut self, changes: &[FieldChange]) -> Done<()> {
        let action = match self {
            Self::Sqlite(ledger) => ledger.action.clone(),
            Self::Postgres(ledger) => ledger.action.clone(),
        };
        let Some(action) = action else { return Ok(()) };
        let NewAction { by, action: name, subject, address, request_id, .. } = &*action;
        let (now, changes) = (self.now(), actions::changes_to_json(changes, &action));
        let (address, request_id) = (address.as_deref(), request_id.as_deref());
        let values = values![now, by, name, subject, changes, address, request_id];
        self.run(INSERT_ACTION, &values).map(drop)
    }

    /// Records the operator's action if the transaction had an effect.
    pub(crate) fn record_if(&mut self, is_effective: bool) -> Done<bool> {
        if is_effective {
            self.record(&[])?;
        }
        Ok(is_effective)
    }

    pub(crate) fn has_action(&self) -> bool {
        match self {
            Self::Sqlite(ledger) => ledger.action.is_some(),
            Self::Postgres(ledger) => ledger.action.is_some(),
        }
    }
}

impl PostgresLedger<'_> {
    pub(crate) fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(Row<'_>) -> Done<T>,
    ) -> Done<Vec<T>> {
        self.all(sql, &postgres_params(values), read)
    }

    pub(crate) fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(Row<'_>) -> Done<T>,
    ) -> Done<Option<T>> {
        self.one(sql, &postgres_params(values), read)
    }

    pub(crate) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Done<u64> {
        self.run(sql, &postgres_params(values))
    }
}
