//! SQLite as a peer. It inserts rows that a server's store wrote, and does nothing else.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

/// The settings of the server's store. One thing differs: here SQLite itself runs checkpoints, but
/// in the server a separate thread runs them.
const SETTINGS: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
     PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;";
const SUFFIX: &str = ".sqlite3";

/// Returns the store's file in a directory.
///
/// # Errors
/// Fails if the directory has no such file.
pub fn file_in(dir: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files
        .find(|file| file.to_string_lossy().ends_with(SUFFIX))
        .with_context(|| format!("no file *{SUFFIX} in {}", dir.display()))
}

/// What the peer inserts: the schema of a store, and the orders, quotas and events that the store
/// has after all tickets are settled.
#[derive(Debug)]
pub struct Rows {
    schema: Vec<String>,
    orders: Vec<Order>,
    quotas: Vec<Quota>,
    events: Vec<Event>,
}

/// The buyer, the item and the units of a quota.
type Quota = (String, i64, i64);
/// An event: its type, its actor, and four numbers. The numbers are the order's grant, the order's
/// number in this grant, the time of the event, and the order's `pay_by`.
type Event = (String, String, [i64; 4]);

#[derive(Debug)]
struct Order {
    id: String,
    buyer: String,
    request_key: String,
    numbers: [i64; 6],
    state: String,
}

impl Rows {
    /// Reads the rows of a store.
    ///
    /// # Errors
    /// Fails if SQLite fails.
    pub fn read(file: &Path) -> Result<Self> {
        let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let schema = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid";
        let schema = db
            .prepare(schema)?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let orders = "SELECT id, buyer, request_key, item_id, units, grant_id, n, reserved_at, pay_by, state FROM orders ORDER BY seq";
        let orders = db
            .prepare(orders)?
            .query_map([], |row| {
                let number = |at| row.get::<_, i64>(at);
                Ok(Order {
                    id: row.get(0)?,
                    buyer: row.get(1)?,
                    request_key: row.get(2)?,
                    numbers: [
                        number(3)?,
                        number(4)?,
                        number(5)?,
                        number(6)?,
                        number(7)?,
                        number(8)?,
                    ],
                    state: row.get(9)?,
                })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let quotas = "SELECT q.buyer, q.item_id, q.used FROM orders o JOIN quota q ON q.buyer = o.buyer AND q.item_id = o.item_id ORDER BY o.seq";
        let quotas = db
            .prepare(quotas)?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let events = "SELECT type, actor, grant_id, n, at, pay_by FROM event WHERE type = 'order.reserved' ORDER BY seq";
        let events = db
            .prepare(events)?
            .query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?]))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let rows = (orders.len(), quotas.len(), events.len());
        ensure!(
            rows.0 > 0 && rows.1 == rows.0 && rows.2 == rows.0,
            "the store must have equal numbers of orders, quotas and events: {rows:?}"
        );
        Ok(Self { schema, orders, quotas, events })
    }

    /// Inserts the rows into a new file and returns the duration. Each transaction inserts `batch`
    /// orders with their quotas and events. Each transaction is durable before the next transaction
    /// begins.
    ///
    /// # Errors
    ///
    /// Fails if SQLite fails, or a row is missing afterwards.
    pub fn insert(&self, file: &Path, batch: usize) -> Result<Duration> {
        let mut db = Connection::open(file)?;
        db.execute_batch(SETTINGS)?;
        for statement in &self.schema {
            db.execute_batch(statement)?;
        }
        let start = Instant::now();
        for ((orders, quotas), events) in
            self.orders.chunks(batch).zip(self.quotas.chunks(batch)).zip(self.events.chunks(batch))
        {
            insert(&mut db, orders, quotas, events)?;
        }
        let time = start.elapsed();
        let count = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM quota) + (SELECT count(*) FROM event)";
        let rows: i64 = db.query_row(count, [], |r| r.get(0))?;
        ensure!(rows as usize == self.orders.len() * 3, "the peer inserted {rows} rows");
        Ok(time)
    }
}

fn insert(
    db: &mut Connection,
    orders: &[Order],
    quotas: &[Quota],
    events: &[Event],
) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut order = transaction.prepare_cached(
            "INSERT INTO orders (id, buyer, request_key, item_id, units, grant_id, n, reserved_at, pay_by, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        let mut quota = transaction
            .prepare_cached("INSERT INTO quota (buyer, item_id, used) VALUES (?1, ?2, ?3)")?;
        let mut event = transaction.prepare_cached(
            "INSERT INTO event (type, actor, grant_id, n, at, pay_by) VALUES (?1, ?2, ?3, ?4, ?5, \
             ?6)",
        )?;
        for ((o, (buyer, item, used)), (what, actor, [grant_id, number, at, due])) in
            orders.iter().zip(quotas).zip(events)
        {
            let [item_id, units, grant, n, reserved_at, pay_by] = o.numbers;
            order.execute(params![
                o.id,
                o.buyer,
                o.request_key,
                item_id,
                units,
                grant,
                n,
                reserved_at,
                pay_by,
                o.state
            ])?;
            quota.execute(params![buyer, item, used])?;
            event.execute(params![what, actor, grant_id, number, at, due])?;
        }
    }
    transaction.commit()
}
