//! One transaction on the writer's connection. Several independent jobs share the transaction.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use rusqlite::params;

use doorbuster_core::Millis;

use crate::contract::{Committed, ItemCounts};
use crate::counts::COUNTS_OF_ITEM;
use crate::failure::{Failure, panic_message};
use crate::limits::{CHECKPOINT_WITHIN, LOG_PAUSE};
use crate::rows;

use super::ledger::SqliteLedger;
use super::statement_cache::Statements;

/// The writer's transaction. Jobs run in it one after another. If a job fails, only that job is
/// undone.
pub(super) struct Txn<'c> {
    ledger: SqliteLedger<'c>,
    /// True if nothing was written since BEGIN. Then an undo needs no savepoint.
    is_clean: bool,
}

impl<'c> Txn<'c> {
    pub(super) fn new(sql: Statements<'c>) -> Self {
        Self { ledger: SqliteLedger::new(sql), is_clean: true }
    }

    pub(super) fn now(&self) -> Millis {
        self.ledger.now
    }

    pub(super) fn set_now(&mut self, now: Millis) {
        self.ledger.now = now;
    }

    pub(super) fn begin(&mut self) -> Result<(), Failure> {
        self.is_clean = true;
        self.ledger.sql.run("BEGIN IMMEDIATE", [])?;
        Ok(())
    }

    /// Runs `work` completely or not at all. A failure does not undo earlier work of this
    /// transaction.
    pub(super) fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteLedger<'c>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let savepoint = !self.is_clean;
        if savepoint {
            self.ledger.sql.run("SAVEPOINT job", [])?;
        }
        self.is_clean = false;
        let orders_before = self.ledger.orders.len();
        // After a panic, the code below drops the incomplete cached rows, and rolls back the
        // tables.
        let result = catch_unwind(AssertUnwindSafe(|| {
            let value = work(&mut self.ledger)?;
            self.ledger.flush()?;
            Ok(value)
        }));
        self.ledger.action = None;
        let result = result.unwrap_or_else(|panic| Err(Failure::Panicked(panic_message(&*panic))));
        match result {
            Ok(value) => {
                if savepoint {
                    self.ledger.sql.run("RELEASE job", [])?;
                }
                Ok(value)
            }
            Err(failure) if failure.is_fatal() => Err(failure),
            Err(failure) => {
                self.ledger.reset();
                self.ledger.orders.truncate(orders_before);
                self.roll_back(savepoint, &failure)?;
                Err(failure)
            }
        }
    }

    fn roll_back(&mut self, savepoint: bool, failure: &Failure) -> Result<(), Failure> {
        // In autocommit mode, no transaction is open: the error made SQLite roll back the whole
        // transaction. So the writes of the group's earlier jobs are lost.
        if self.ledger.sql.conn().is_autocommit() {
            return Err(Failure::Lost(failure.to_string()));
        }
        if savepoint {
            self.ledger.sql.run("ROLLBACK TO job", [])?;
            self.ledger.sql.run("RELEASE job", [])?;
        } else {
            self.ledger.sql.run("ROLLBACK", [])?;
            // Without a new transaction, each statement of the group's next jobs would be committed
            // alone.
            self.begin().map_err(|failure| Failure::Lost(failure.to_string()))?;
        }
        Ok(())
    }

    /// Commits the transaction, and returns the changes to publish. After an error, no further
    /// write is allowed.
    pub(super) fn commit(&mut self) -> Result<Committed, Failure> {
        let touched = std::mem::take(&mut self.ledger.touched);
        let mut counts: Vec<ItemCounts> = Vec::with_capacity(touched.len());
        for item in touched {
            counts.extend(self.ledger.sql.one(
                COUNTS_OF_ITEM.sqlite,
                params![item.0],
                rows::counts,
            )?);
        }
        self.ledger.sql.run("COMMIT", [])?;
        self.ledger.reset();
        let orders = std::mem::take(&mut self.ledger.orders);
        let events = std::mem::take(&mut self.ledger.events);
        Ok(Committed { counts, orders, events, ..Committed::default() })
    }

    /// Returns the number of pages in the write-ahead log, and how many of them are checkpointed.
    pub(super) fn log_pages(&mut self) -> Result<(i64, i64), Failure> {
        let pages = self
            .ledger
            .sql
            .one("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        Ok(pages.unwrap_or((0, 0)))
    }

    /// Checkpoints as many pages as possible without waiting for other connections.
    pub(super) fn checkpoint(&mut self) -> Result<(), Failure> {
        self.ledger.sql.one("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Checkpoints the whole log, so that the file is complete without the log. Returns false if
    /// the time limit passes first, because another connection runs a checkpoint or reads an old
    /// snapshot.
    pub(super) fn checkpoint_all(&mut self) -> Result<bool, Failure> {
        let until = Instant::now() + CHECKPOINT_WITHIN;
        loop {
            let done = self.ledger.sql.one("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                let [busy, pages, carried]: [i64; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
                Ok(busy == 0 && pages == carried)
            })?;
            let is_done = done == Some(true);
            if is_done || Instant::now() >= until {
                return Ok(is_done);
            }
            std::thread::sleep(LOG_PAUSE);
        }
    }
}
