//! One commit on the writer's connection, and the jobs that share it without harming each other.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use doorbuster_core::Millis;
use rusqlite::params;

use crate::contract::{Committed, ItemCounts};
use crate::limits::{CHECKPOINT_WITHIN, LOG_PAUSE};

use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::read;
use super::statements::Statements;

/// The writer's transaction. Jobs run in it one after another; each that fails is undone alone.
pub(super) struct Txn<'c> {
    ledger: SqliteLedger<'c>,
    /// Nothing was written since BEGIN, so that undoing needs no savepoint.
    is_clean: bool,
}

impl<'c> Txn<'c> {
    pub(super) fn new(sql: Statements<'c>) -> Self {
        Self { ledger: SqliteLedger::new(sql), is_clean: true }
    }

    /// Store time, as the job that runs now was given it.
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

    /// Runs `work` whole or not at all, and leaves what was done before it in this transaction as
    /// it was.
    pub(super) fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteLedger<'c>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let savepoint = !self.is_clean;
        if savepoint {
            self.ledger.sql.run("SAVEPOINT job", [])?;
        }
        self.is_clean = false;
        let told = self.ledger.orders.len();
        // A panic leaves half-made copies behind; they are forgotten below, and the rows are rolled
        // back.
        let result = catch_unwind(AssertUnwindSafe(|| {
            let value = work(&mut self.ledger)?;
            self.ledger.flush()?;
            Ok(value)
        }));
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
                self.ledger.orders.truncate(told);
                self.roll_back(savepoint, &failure)?;
                Err(failure)
            }
        }
    }

    fn roll_back(&mut self, savepoint: bool, failure: &Failure) -> Result<(), Failure> {
        // Some errors make SQLite roll everything back by itself: then earlier jobs of the group
        // are lost as well.
        if self.ledger.sql.conn().is_autocommit() {
            return Err(Failure::Lost(failure.to_string()));
        }
        if savepoint {
            self.ledger.sql.run("ROLLBACK TO job", [])?;
            self.ledger.sql.run("RELEASE job", [])?;
        } else {
            self.ledger.sql.run("ROLLBACK", [])?;
            self.begin()?;
        }
        Ok(())
    }

    /// Commits, and says what changed. After an error nothing more may be written.
    pub(super) fn commit(&mut self) -> Result<Committed, Failure> {
        let touched = std::mem::take(&mut self.ledger.touched);
        let mut counts: Vec<ItemCounts> = Vec::with_capacity(touched.len());
        for item in touched {
            counts.extend(self.ledger.sql.one(
                read::COUNTS_OF_ITEM,
                params![item.0],
                read::counts_row,
            )?);
        }
        self.ledger.sql.run("COMMIT", [])?;
        self.ledger.reset();
        let orders = std::mem::take(&mut self.ledger.orders);
        let events = std::mem::take(&mut self.ledger.events);
        Ok(Committed { counts, orders, events, ..Committed::default() })
    }

    /// Pages in the write-ahead log, and how many of them are carried into the database.
    pub(super) fn log_pages(&mut self) -> Result<(i64, i64), Failure> {
        let pages = self
            .ledger
            .sql
            .one("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        Ok(pages.unwrap_or((0, 0)))
    }

    /// Carries pages of the write-ahead log into the database, as many as can be without waiting
    /// for anybody.
    pub(super) fn checkpoint(&mut self) -> Result<(), Failure> {
        self.ledger.sql.one("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Carries all of the log into the file, so that the file is whole without it. False: somebody
    /// else carries it, or reads what is old, all the time.
    pub(super) fn checkpoint_all(&mut self) -> Result<bool, Failure> {
        let until = Instant::now() + CHECKPOINT_WITHIN;
        loop {
            // Nobody is waited for inside of it: neither who carries at the same time nor who
            // reads.
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

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a word".to_owned())
}
