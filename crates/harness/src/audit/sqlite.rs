//! Reads the rows from a SQLite file, read-only and in one snapshot. The server may run at the same
//! time.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Row};

use super::AuditError;
use super::limits::BUSY_TIMEOUT;
use super::snapshot::{
    Adjustment, DeadLetter, Event, FeedRow, Grant, Item, Order, Payment, Quota, Recall, Refund,
    Resolution, Reversal, Sale, Snapshot, SnapshotIndex, WaitlistEntry,
};

/// The SQLite application id of a Doorbuster store ("DbrM").
const APPLICATION_ID: i64 = 1_147_302_477;
/// The SQLite application id of a backup of a store ("DbrB").
const BACKUP_ID: i64 = 1_147_302_466;

/// Finds the store in a directory. Opens each file whose name ends in `.db`, `.sqlite` or
/// `.sqlite3`, and checks its application id. Fails if the directory has no store, or more than
/// one.
pub(super) fn find_store_file(dir: &Path) -> Result<PathBuf, AuditError> {
    let failed = |reason: String| AuditError::Store { store: dir.display().to_string(), reason };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| failed(error.to_string()))? {
        let path = entry.map_err(|error| failed(error.to_string()))?.path();
        let is_database =
            path.extension().is_some_and(|end| end == "db" || end == "sqlite" || end == "sqlite3");
        if is_database && open(&path).is_ok() {
            found.push(path);
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(path), true) => Ok(path),
        (Some(_), false) => {
            Err(failed("the directory contains several stores; give the path of one file".into()))
        }
        (None, _) => Err(failed("the directory contains no store of Doorbuster".into())),
    }
}

pub(super) fn read(path: &Path) -> Result<Snapshot, AuditError> {
    let failed = |reason: String| AuditError::Store { store: path.display().to_string(), reason };
    if !path.exists() {
        let reason = "the path does not exist; give a database file or the server's data directory";
        return Err(failed(reason.into()));
    }
    let mut db = open(path).map_err(&failed)?;
    read_rows(&mut db).map_err(|error| failed(error.to_string()))
}

fn open(path: &Path) -> Result<Connection, String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(|error| error.to_string())?;
    // A server that is starting or stopping locks the file for a moment. The connection waits for
    // the lock instead of failing.
    db.busy_timeout(BUSY_TIMEOUT).map_err(|error| error.to_string())?;
    let application: i64 = db
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(|error| error.to_string())?;
    if ![APPLICATION_ID, BACKUP_ID].contains(&application) {
        return Err("the file is not a store of Doorbuster".into());
    }
    Ok(db)
}

fn read_rows(db: &mut Connection) -> rusqlite::Result<Snapshot> {
    // The transaction is deferred: its first SELECT takes the snapshot, and all further queries
    // read the same snapshot.
    let transaction = db.transaction()?;
    let mut snapshot = Snapshot {
        sales: query_all(&transaction, "SELECT id, phase, opened_at, closed_at FROM sale", sale)?
            .into_iter()
            .collect(),
        items: query_all(&transaction, ITEMS, item)?
            .into_iter()
            .map(|item| (item.id, item))
            .collect(),
        grants: query_all(&transaction, GRANTS, grant)?
            .into_iter()
            .map(|grant| (grant.id, grant))
            .collect(),
        feed: query_all(&transaction, FEED, feed)?,
        resolutions: query_all(
            &transaction,
            "SELECT ticket, grant_id, n, verdict, order_id FROM resolution",
            resolution,
        )?,
        orders: query_all(&transaction, ORDERS, order)?,
        quotas: query_all(&transaction, "SELECT buyer, item_id, used FROM quota", quota)?,
        recalls: query_all(
            &transaction,
            "SELECT id, grant_id, target_grant, asked, taken, done FROM recall",
            recall,
        )?,
        adjustments: query_all(
            &transaction,
            "SELECT item_id, units, total_after FROM adjustment ORDER BY seq",
            adjustment,
        )?,
        dead_letters: query_all(
            &transaction,
            "SELECT ticket, item_id FROM dead_letter",
            dead_letter,
        )?,
        damage: query_all(&transaction, "PRAGMA quick_check", |row| row.get(0))?,
        unknown_hosts: Vec::new(),
        events: query_all(&transaction, EVENTS, event)?,
        payments: query_all(&transaction, PAYMENTS, payment)?,
        refunds: query_all(&transaction, REFUNDS, refund)?,
        reversals: query_all(&transaction, REVERSALS, reversal)?,
        waitlist: query_all(&transaction, WAITLIST_ENTRIES, waitlist_entry)?,
        index: SnapshotIndex::default(),
    };
    snapshot.damage.retain(|line: &String| line != "ok");
    snapshot.build_index();
    Ok(snapshot)
}

fn query_all<T>(
    db: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare(sql)?.query_map([], |row| read(row))?.collect()
}

fn sale(row: &Row<'_>) -> rusqlite::Result<(String, Sale)> {
    Ok((row.get(0)?, Sale { phase: row.get(1)?, opened_at: row.get(2)?, closed_at: row.get(3)? }))
}

const ITEMS: &str = "SELECT id, sale_id, name, limit_per_buyer, hold_ms, initial_total, total, \
                     pool, ended, paid, price_minor, currency, waiting FROM item";

fn item(row: &Row<'_>) -> rusqlite::Result<Item> {
    Ok(Item {
        id: row.get(0)?,
        sale: row.get(1)?,
        name: row.get(2)?,
        limit: row.get(3)?,
        hold_ms: row.get(4)?,
        initial_total: row.get(5)?,
        total: row.get(6)?,
        pool: row.get(7)?,
        ended: row.get(8)?,
        paid: row.get(9)?,
        price: row.get(10)?,
        currency: row.get(11)?,
        waiting: row.get(12)?,
    })
}

const GRANTS: &str = "SELECT id, item_id, slot, epoch, granted, settled, counted, open, max_n, \
                      resolved, feed_len, closed_cause, opened_at, closed_at FROM slot_grant";

fn grant(row: &Row<'_>) -> rusqlite::Result<Grant> {
    Ok(Grant {
        id: row.get(0)?,
        item: row.get(1)?,
        slot: row.get(2)?,
        epoch: row.get(3)?,
        granted: row.get(4)?,
        settled: row.get(5)?,
        counted: row.get(6)?,
        open: row.get(7)?,
        max_n: row.get(8)?,
        resolved: row.get(9)?,
        feed_len: row.get(10)?,
        closed_cause: row.get(11)?,
        opened_at: row.get(12)?,
        closed_at: row.get(13)?,
    })
}

const FEED: &str = "SELECT grant_id, seq, ticket, buyer, units, quota_delta, cause FROM feed \
                    ORDER BY grant_id, seq";

fn feed(row: &Row<'_>) -> rusqlite::Result<FeedRow> {
    Ok(FeedRow {
        grant: row.get(0)?,
        seq: row.get(1)?,
        ticket: row.get(2)?,
        buyer: row.get(3)?,
        units: row.get(4)?,
        quota_delta: row.get(5)?,
        cause: row.get(6)?,
    })
}

fn resolution(row: &Row<'_>) -> rusqlite::Result<Resolution> {
    Ok(Resolution {
        ticket: row.get(0)?,
        grant: row.get(1)?,
        n: row.get(2)?,
        verdict: row.get(3)?,
        order: row.get(4)?,
    })
}

const ORDERS: &str = "SELECT id, buyer, request_key, item_id, units, state, grant_id, n, \
                      reserved_at, pay_by, paid_at, ended_at FROM orders ORDER BY seq";

fn order(row: &Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order {
        id: row.get(0)?,
        buyer: row.get(1)?,
        key: row.get(2)?,
        item: row.get(3)?,
        units: row.get(4)?,
        state: row.get(5)?,
        grant: row.get(6)?,
        n: row.get(7)?,
        reserved_at: row.get(8)?,
        pay_by: row.get(9)?,
        paid_at: row.get(10)?,
        ended_at: row.get(11)?,
    })
}

fn quota(row: &Row<'_>) -> rusqlite::Result<Quota> {
    Ok(Quota { buyer: row.get(0)?, item: row.get(1)?, used: row.get(2)? })
}

fn recall(row: &Row<'_>) -> rusqlite::Result<Recall> {
    Ok(Recall {
        id: row.get(0)?,
        grant: row.get(1)?,
        target: row.get(2)?,
        asked: row.get(3)?,
        taken: row.get(4)?,
        done: row.get(5)?,
    })
}

fn adjustment(row: &Row<'_>) -> rusqlite::Result<Adjustment> {
    Ok(Adjustment { item: row.get(0)?, units: row.get(1)?, total_after: row.get(2)? })
}

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    Ok(DeadLetter { ticket: row.get(0)?, item: row.get(1)? })
}

const EVENTS: &str = "SELECT seq, type, grant_id, n, at, actor, pay_by, paid_at, ended_at, sale_id \
                      FROM event ORDER BY seq";

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let (grant, n): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
    Ok(Event {
        seq: row.get(0)?,
        kind: row.get(1)?,
        order: grant.zip(n),
        at: row.get(4)?,
        actor: row.get(5)?,
        pay_by: row.get(6)?,
        paid_at: row.get(7)?,
        ended_at: row.get(8)?,
        sale: row.get(9)?,
    })
}

const PAYMENTS: &str = "SELECT id, provider, order_id, grant_id, n, amount_minor, currency, state \
                        FROM payment ORDER BY seq";

fn payment(row: &Row<'_>) -> rusqlite::Result<Payment> {
    let (grant, n): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
    Ok(Payment {
        id: row.get(0)?,
        provider: row.get(1)?,
        order_text: row.get(2)?,
        order: grant.zip(n),
        amount_minor: row.get(5)?,
        currency: row.get(6)?,
        state: row.get(7)?,
    })
}

const REFUNDS: &str = "SELECT id, payment_id, provider, order_id, amount_minor, currency, cause, \
                       state, discarded IS NOT NULL FROM refund ORDER BY seq";

fn refund(row: &Row<'_>) -> rusqlite::Result<Refund> {
    Ok(Refund {
        id: row.get(0)?,
        payment: row.get(1)?,
        provider: row.get(2)?,
        order_text: row.get(3)?,
        amount_minor: row.get(4)?,
        currency: row.get(5)?,
        cause: row.get(6)?,
        state: row.get(7)?,
        is_discarded: row.get(8)?,
    })
}

/// Selects the reversals that are in force. The server stores disputes in the table `dispute`. An
/// older version stored them in `reversal`. A dispute in `reversal` counts only if its payment has
/// no row in `dispute`.
const REVERSALS: &str = "SELECT payment_id, kind, amount_minor, currency FROM
         (SELECT payment_id, kind, amount_minor, currency, stands, at FROM reversal r
          WHERE kind <> 'disputed'
             OR NOT EXISTS (SELECT 1 FROM dispute d WHERE d.payment_id = r.payment_id)
          UNION ALL
          SELECT payment_id, 'disputed', amount_minor, currency, stands, at FROM dispute) reversals
     WHERE stands ORDER BY at DESC, payment_id, kind, amount_minor";

fn reversal(row: &Row<'_>) -> rusqlite::Result<Reversal> {
    Ok(Reversal {
        payment: row.get(0)?,
        kind: row.get(1)?,
        amount_minor: row.get(2)?,
        currency: row.get(3)?,
    })
}

const WAITLIST_ENTRIES: &str =
    "SELECT item_id, n, id, buyer, request_key, state, ended_at FROM waitlist ORDER BY item_id, n";

fn waitlist_entry(row: &Row<'_>) -> rusqlite::Result<WaitlistEntry> {
    Ok(WaitlistEntry {
        item: row.get(0)?,
        n: row.get(1)?,
        id: row.get(2)?,
        buyer: row.get(3)?,
        key: row.get(4)?,
        state: row.get(5)?,
        ended_at: row.get(6)?,
    })
}
