//! Readers: a few threads, each with its own read-only connection, and the queries that they run.
//!
//! A read sees one snapshot, which includes every commit that was published before the call.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Row, params};

use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{
    BuyerId, CloseCause, FeedRow, Grant, GrantId, ItemId, Millis, Order, Recall, RequestKey, Seq,
    SlotKey, Stock, TicketId, Verdict,
};

use crate::contract::{GrantTransfers, ItemCounts, StoreError};
use crate::limits::STATEMENTS_MAX;

use super::failure::Failure;
use super::rows::{self, int};
use super::statements::Statements;

type Done<T> = Result<T, Failure>;
/// A reader's connection.
pub(super) type Reader<'c> = Statements<'c>;
/// Runs a query and answers its caller, or receives the error that prevents the query.
pub(super) type ReadCall = Box<dyn FnOnce(Result<&mut Reader<'_>, StoreError>) + Send>;

/// A message from a handle to the readers.
pub(super) enum ReadJob {
    /// A query.
    Read(ReadCall),
    /// Ends one reader.
    Stop,
}

/// Runs a reader's thread.
pub(super) fn work(conn: Connection, jobs: &Arc<Mutex<Receiver<ReadJob>>>) {
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let mut reader = Statements::new(&conn);
    loop {
        // One reader waits in `recv`, and the others wait for the lock. If a reader panics, the
        // receiver is still intact.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(ReadJob::Read(run)) = job else { return };
        match reader.run("BEGIN", []) {
            Ok(_) => {
                // A panic affects only one read. Its caller gets the error of a dropped job, and
                // the statements reset themselves.
                if catch_unwind(AssertUnwindSafe(|| run(Ok(&mut reader)))).is_err() {
                    tracing::error!(event = "store.read_panicked", "a read panicked");
                }
            }
            Err(failure) => run(Err(failure.into())),
        }
        // The transaction only read rows. So either this statement or the end of the connection may
        // close the snapshot.
        let _ = reader.run("ROLLBACK", []);
    }
}

macro_rules! counts {
    () => {
        "SELECT item.id, total, pool, ended, paid,
                (SELECT coalesce(sum(granted - settled), 0) FROM slot_grant WHERE item_id = item.id
                AND open = 1 AND counted = 1),
                (SELECT coalesce(sum(settled), 0) FROM slot_grant WHERE item_id = item.id), waiting
         FROM item"
    };
}
pub(super) const COUNTS_OF_ITEM: &str = concat!(counts!(), " WHERE item.id = ?1");
const COUNTS_OF_ALL: &str = concat!(counts!(), " ORDER BY item.id");

pub(super) fn counts_row(row: &Row<'_>) -> Done<ItemCounts> {
    let at = |i: usize| row.get::<_, i64>(i).map(i64::cast_unsigned);
    let total = row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned);
    let (pool, ended, paid, settled, waiting) = (at(2)?, at(3)?, at(4)?, at(6)?, at(7)?);
    Ok(ItemCounts {
        item: ItemId(row.get(0)?),
        total: total.map_or(Stock::Unlimited, Stock::Counted),
        pool,
        kept: pool.min(waiting),
        in_slots: at(5)?,
        // If the rows do not add up, `check` finds them and pauses their item. An error here would
        // fail every commit that changes the item.
        held: settled.saturating_sub(ended).saturating_sub(paid),
        paid,
        waiting,
    })
}

pub(super) fn counts(sql: &mut Reader<'_>, items: Option<&[ItemId]>) -> Done<Vec<ItemCounts>> {
    let Some(items) = items else { return sql.all(COUNTS_OF_ALL, [], counts_row) };
    let mut ids: Vec<ItemId> = items.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let mut counts = Vec::with_capacity(ids.len());
    for id in ids {
        counts.extend(sql.one(COUNTS_OF_ITEM, params![id.0], counts_row)?);
    }
    Ok(counts)
}

pub(super) fn grant(sql: &mut Reader<'_>, id: GrantId) -> Done<Option<Grant>> {
    sql.one(
        concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant WHERE id = ?1"),
        params![int(id.0)],
        rows::grant,
    )
}

pub(super) fn grants(sql: &mut Reader<'_>, item: ItemId) -> Done<Vec<Grant>> {
    sql.all(
        concat!(
            "SELECT ",
            rows::grant_columns!(),
            " FROM slot_grant WHERE item_id = ?1 AND slot <> ?2 ORDER BY slot, epoch DESC"
        ),
        params![item.0, SlotKey::WAITLIST],
        rows::grant,
    )
}

pub(super) fn open_grants(sql: &mut Reader<'_>) -> Done<Vec<Grant>> {
    sql.all(
        concat!(
            "SELECT ",
            rows::grant_columns!(),
            " FROM slot_grant WHERE open = 1 ORDER BY item_id, slot"
        ),
        [],
        rows::grant,
    )
}

pub(super) fn feed_after(
    sql: &mut Reader<'_>,
    id: GrantId,
    seq: Seq,
    limit: usize,
) -> Done<Vec<FeedRow>> {
    sql.all(
        concat!(
            "SELECT ",
            rows::feed_columns!(),
            " FROM feed WHERE grant_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"
        ),
        params![int(id.0), int(seq.0), as_limit(limit)],
        rows::feed,
    )
}

pub(super) fn grant_transfers(sql: &mut Reader<'_>, item: ItemId) -> Done<Vec<GrantTransfers>> {
    sql.all(
        "SELECT g.id, coalesce(f.times, 0), coalesce(r.times, 0) FROM slot_grant g
         LEFT JOIN (SELECT grant_id, count(*) AS times FROM feed
                    WHERE cause = 'refill' AND grant_id IN (SELECT id FROM slot_grant
                    WHERE item_id = ?1)
                    GROUP BY grant_id) f ON f.grant_id = g.id
         LEFT JOIN (SELECT grant_id, count(*) AS times FROM recall WHERE done = 1
         GROUP BY grant_id) r
                   ON r.grant_id = g.id
         WHERE g.item_id = ?1",
        params![item.0],
        |row| {
            let grant = GrantId(row.get::<_, i64>(0)?.cast_unsigned());
            Ok(GrantTransfers {
                grant,
                refills: rows::number(row, 1)?,
                recalls: rows::number(row, 2)?,
            })
        },
    )
}

pub(super) fn pending_recalls(sql: &mut Reader<'_>) -> Done<Vec<Recall>> {
    sql.all(
        concat!("SELECT ", rows::recall_columns!(), " FROM recall WHERE done = 0 ORDER BY id"),
        [],
        rows::recall,
    )
}

pub(super) fn closings(sql: &mut Reader<'_>) -> Done<Vec<(CloseCause, u64)>> {
    sql.all(
        "SELECT closed_cause, count(*) FROM slot_grant WHERE open = 0 AND slot <> ?1 GROUP BY \
         closed_cause ORDER BY closed_cause",
        params![SlotKey::WAITLIST],
        |row| Ok((rows::closing(row, 0)?, row.get::<_, i64>(1)?.cast_unsigned())),
    )
}

pub(super) fn order(sql: &mut Reader<'_>, id: &TicketId) -> Done<Option<Order>> {
    // The id contains the grant and the number, which identify an order. The rest of the id must
    // match as well.
    let Some(parts) = id.parts() else { return Ok(None) };
    let found = sql.one(
        concat!("SELECT ", rows::order_columns!(), " FROM orders WHERE grant_id = ?1 AND n = ?2"),
        params![int(parts.grant.0), int(parts.n.0)],
        rows::order,
    )?;
    Ok(found.filter(|order| order.id == *id))
}

pub(super) fn order_of(
    sql: &mut Reader<'_>,
    buyer: &BuyerId,
    key: &RequestKey,
) -> Done<Option<Order>> {
    sql.one(
        concat!(
            "SELECT ",
            rows::order_columns!(),
            " FROM orders WHERE buyer = ?1 AND request_key = ?2"
        ),
        params![buyer.as_str(), key.as_str()],
        rows::order,
    )
}

pub(super) fn verdict(sql: &mut Reader<'_>, id: &TicketId) -> Done<Option<TicketVerdict>> {
    if let Some(order) = order(sql, id)? {
        return Ok(Some(TicketVerdict {
            id: *id,
            verdict: Verdict::Reserved,
            order: Some(order),
            fresh: false,
        }));
    }
    let found = sql.one(
        concat!("SELECT ", rows::resolution_columns!(), " FROM resolution WHERE ticket = ?1"),
        params![id.text().as_str()],
        rows::resolution,
    )?;
    let Some(found) = found else { return Ok(None) };
    let order = match found.verdict {
        Verdict::Order(id) => order(sql, &id)?,
        _ => None,
    };
    Ok(Some(TicketVerdict { id: *id, verdict: found.verdict, order, fresh: false }))
}

pub(super) fn next_due(sql: &mut Reader<'_>) -> Done<Option<Millis>> {
    let due = "SELECT pay_by + ask_ms FROM orders WHERE state = 'reserved' ORDER BY pay_by + ask_ms
               LIMIT 1";
    sql.one(due, [], |row| Ok(Millis(row.get(0)?)))
}

pub(super) fn quota(sql: &mut Reader<'_>, item: ItemId, buyer: &BuyerId) -> Done<u32> {
    let used = sql.one(
        "SELECT used FROM quota WHERE buyer = ?1 AND item_id = ?2",
        params![buyer.as_str(), item.0],
        |row| Ok(row.get(0)?),
    )?;
    Ok(used.unwrap_or(0))
}

/// Returns a limit as a SQL parameter.
pub(super) fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
