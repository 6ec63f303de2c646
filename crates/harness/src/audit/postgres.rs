//! Reads the rows from PostgreSQL, read-only and in one snapshot. Nodes may run at the same time.

use doorbuster_postgres_tls::Address;
use tokio_postgres::{Client, Row};

use super::AuditError;
use super::limits::CONNECT_TIMEOUT;
use super::primary::{UNKNOWN_ADDRESS, address_text, error_text, open_newest};
use super::snapshot::{
    Adjustment, DeadLetter, Event, FeedRow, Grant, Item, Order, Payment, Quota, Recall, Refund,
    Resolution, Reversal, Sale, Snapshot, SnapshotIndex, WaitlistEntry,
};

/// Reads the store on a separate thread, because the caller's thread may already run an event loop.
/// An error never shows the URL, because the URL may contain a password.
pub(super) fn read(url: &str) -> Result<Snapshot, AuditError> {
    let failed = |shown: String| move |reason: String| AuditError::Store { store: shown, reason };
    let mut address =
        Address::parse(url).map_err(|error| failed(UNKNOWN_ADDRESS.into())(error.to_string()))?;
    address.config.connect_timeout(CONNECT_TIMEOUT).application_name("doorbuster-audit");
    let read = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(connect_and_read(&address))
    };
    let read = std::thread::scope(|scope| scope.spawn(read).join());
    read.unwrap_or_else(|_| Err("the thread that reads the store panicked".into()))
        .map_err(failed(address_text(&address.config)))
}

async fn connect_and_read(address: &Address) -> Result<Snapshot, String> {
    let (primary, unknown_hosts) = open_newest(address).await?;
    let snapshot = read_rows(&primary.client).await.map_err(|error| error_text(&error));
    primary.close().await;
    Ok(Snapshot { unknown_hosts, ..snapshot? })
}

async fn read_rows(db: &Client) -> Result<Snapshot, tokio_postgres::Error> {
    db.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let mut snapshot = Snapshot {
        sales: query_all(db, "SELECT id, phase, opened_at, closed_at FROM sale", sale)
            .await?
            .into_iter()
            .collect(),
        items: query_all(db, ITEMS, item).await?.into_iter().map(|item| (item.id, item)).collect(),
        grants: query_all(db, GRANTS, grant)
            .await?
            .into_iter()
            .map(|grant| (grant.id, grant))
            .collect(),
        feed: query_all(db, FEED, feed).await?,
        resolutions: query_all(
            db,
            "SELECT ticket, grant_id, n, verdict, order_id FROM resolution",
            resolution,
        )
        .await?,
        orders: query_all(db, ORDERS, order).await?,
        quotas: query_all(db, "SELECT buyer, item_id, used FROM quota", quota).await?,
        recalls: query_all(
            db,
            "SELECT id, grant_id, target_grant, asked, taken, done FROM recall",
            recall,
        )
        .await?,
        adjustments: query_all(
            db,
            "SELECT item_id, units, total_after FROM adjustment ORDER BY seq",
            adjustment,
        )
        .await?,
        dead_letters: query_all(db, "SELECT ticket, item_id FROM dead_letter", dead_letter).await?,
        damage: Vec::new(),
        unknown_hosts: Vec::new(),
        events: query_all(db, EVENTS, event).await?,
        payments: query_all(db, PAYMENTS, payment).await?,
        refunds: query_all(db, REFUNDS, refund).await?,
        reversals: query_all(db, REVERSALS, reversal).await?,
        waitlist: query_all(db, WAITLIST_ENTRIES, waitlist_entry).await?,
        index: SnapshotIndex::default(),
    };
    db.batch_execute("ROLLBACK").await?;
    snapshot.build_index();
    Ok(snapshot)
}

async fn query_all<T>(
    db: &Client,
    sql: &str,
    read: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
) -> Result<Vec<T>, tokio_postgres::Error> {
    db.query(sql, &[]).await?.iter().map(read).collect()
}

fn sale(row: &Row) -> Result<(String, Sale), tokio_postgres::Error> {
    Ok((
        row.try_get(0)?,
        Sale { phase: row.try_get(1)?, opened_at: row.try_get(2)?, closed_at: row.try_get(3)? },
    ))
}

const ITEMS: &str = "SELECT id, sale_id, name, limit_per_buyer, hold_ms, initial_total, total, \
                     pool, ended, paid, price_minor, currency, waiting FROM item";

fn item(row: &Row) -> Result<Item, tokio_postgres::Error> {
    Ok(Item {
        id: row.try_get(0)?,
        sale: row.try_get(1)?,
        name: row.try_get(2)?,
        limit: row.try_get(3)?,
        hold_ms: row.try_get(4)?,
        initial_total: row.try_get(5)?,
        total: row.try_get(6)?,
        pool: row.try_get(7)?,
        ended: row.try_get(8)?,
        paid: row.try_get(9)?,
        price: row.try_get(10)?,
        currency: row.try_get(11)?,
        waiting: row.try_get(12)?,
    })
}

const GRANTS: &str = "SELECT id, item_id, slot, epoch, granted, settled, counted, open, max_n, \
                      resolved, feed_len, closed_cause, opened_at, closed_at FROM slot_grant";

fn grant(row: &Row) -> Result<Grant, tokio_postgres::Error> {
    Ok(Grant {
        id: row.try_get(0)?,
        item: row.try_get(1)?,
        slot: row.try_get(2)?,
        epoch: row.try_get(3)?,
        granted: row.try_get(4)?,
        settled: row.try_get(5)?,
        counted: row.try_get(6)?,
        open: row.try_get(7)?,
        max_n: row.try_get(8)?,
        resolved: row.try_get(9)?,
        feed_len: row.try_get(10)?,
        closed_cause: row.try_get(11)?,
        opened_at: row.try_get(12)?,
        closed_at: row.try_get(13)?,
    })
}

const FEED: &str = "SELECT grant_id, seq, ticket, buyer, units, quota_delta, cause FROM feed \
                    ORDER BY grant_id, seq";

fn feed(row: &Row) -> Result<FeedRow, tokio_postgres::Error> {
    Ok(FeedRow {
        grant: row.try_get(0)?,
        seq: row.try_get(1)?,
        ticket: row.try_get(2)?,
        buyer: row.try_get(3)?,
        units: row.try_get(4)?,
        quota_delta: row.try_get(5)?,
        cause: row.try_get(6)?,
    })
}

fn resolution(row: &Row) -> Result<Resolution, tokio_postgres::Error> {
    Ok(Resolution {
        ticket: row.try_get(0)?,
        grant: row.try_get(1)?,
        n: row.try_get(2)?,
        verdict: row.try_get(3)?,
        order: row.try_get(4)?,
    })
}

/// Selects the orders, sorted by time. `seq` does not have the sequence of the commits, because
/// several nodes commit concurrently. So `seq` only sorts orders with the same time.
const ORDERS: &str = "SELECT id, buyer, request_key, item_id, units, state, grant_id, n, \
                      reserved_at, pay_by, paid_at, ended_at FROM orders ORDER BY reserved_at, seq";

fn order(row: &Row) -> Result<Order, tokio_postgres::Error> {
    Ok(Order {
        id: row.try_get(0)?,
        buyer: row.try_get(1)?,
        key: row.try_get(2)?,
        item: row.try_get(3)?,
        units: row.try_get(4)?,
        state: row.try_get(5)?,
        grant: row.try_get(6)?,
        n: row.try_get(7)?,
        reserved_at: row.try_get(8)?,
        pay_by: row.try_get(9)?,
        paid_at: row.try_get(10)?,
        ended_at: row.try_get(11)?,
    })
}

fn quota(row: &Row) -> Result<Quota, tokio_postgres::Error> {
    Ok(Quota { buyer: row.try_get(0)?, item: row.try_get(1)?, used: row.try_get(2)? })
}

fn recall(row: &Row) -> Result<Recall, tokio_postgres::Error> {
    Ok(Recall {
        id: row.try_get(0)?,
        grant: row.try_get(1)?,
        target: row.try_get(2)?,
        asked: row.try_get(3)?,
        taken: row.try_get(4)?,
        done: row.try_get(5)?,
    })
}

fn adjustment(row: &Row) -> Result<Adjustment, tokio_postgres::Error> {
    Ok(Adjustment { item: row.try_get(0)?, units: row.try_get(1)?, total_after: row.try_get(2)? })
}

fn dead_letter(row: &Row) -> Result<DeadLetter, tokio_postgres::Error> {
    Ok(DeadLetter { ticket: row.try_get(0)?, item: row.try_get(1)? })
}

const EVENTS: &str = "SELECT seq, type, grant_id, n, at, actor, pay_by, paid_at, ended_at, sale_id \
                      FROM event ORDER BY seq";

fn event(row: &Row) -> Result<Event, tokio_postgres::Error> {
    let (grant, n): (Option<i64>, Option<i64>) = (row.try_get(2)?, row.try_get(3)?);
    Ok(Event {
        seq: row.try_get(0)?,
        kind: row.try_get(1)?,
        order: grant.zip(n),
        at: row.try_get(4)?,
        actor: row.try_get(5)?,
        pay_by: row.try_get(6)?,
        paid_at: row.try_get(7)?,
        ended_at: row.try_get(8)?,
        sale: row.try_get(9)?,
    })
}

const PAYMENTS: &str = "SELECT id, provider, order_id, grant_id, n, amount_minor, currency, state \
                        FROM payment ORDER BY seq";

fn payment(row: &Row) -> Result<Payment, tokio_postgres::Error> {
    let (grant, n): (Option<i64>, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
    Ok(Payment {
        id: row.try_get(0)?,
        provider: row.try_get(1)?,
        order_text: row.try_get(2)?,
        order: grant.zip(n),
        amount_minor: row.try_get(5)?,
        currency: row.try_get(6)?,
        state: row.try_get(7)?,
    })
}

const REFUNDS: &str = "SELECT id, payment_id, provider, order_id, amount_minor, currency, cause, \
                       state, discarded IS NOT NULL FROM refund ORDER BY seq";

fn refund(row: &Row) -> Result<Refund, tokio_postgres::Error> {
    Ok(Refund {
        id: row.try_get(0)?,
        payment: row.try_get(1)?,
        provider: row.try_get(2)?,
        order_text: row.try_get(3)?,
        amount_minor: row.try_get(4)?,
        currency: row.try_get(5)?,
        cause: row.try_get(6)?,
        state: row.try_get(7)?,
        is_discarded: row.try_get(8)?,
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

fn reversal(row: &Row) -> Result<Reversal, tokio_postgres::Error> {
    Ok(Reversal {
        payment: row.try_get(0)?,
        kind: row.try_get(1)?,
        amount_minor: row.try_get(2)?,
        currency: row.try_get(3)?,
    })
}

const WAITLIST_ENTRIES: &str =
    "SELECT item_id, n, id, buyer, request_key, state, ended_at FROM waitlist ORDER BY item_id, n";

fn waitlist_entry(row: &Row) -> Result<WaitlistEntry, tokio_postgres::Error> {
    Ok(WaitlistEntry {
        item: row.try_get(0)?,
        n: row.try_get(1)?,
        id: row.try_get(2)?,
        buyer: row.try_get(3)?,
        key: row.try_get(4)?,
        state: row.try_get(5)?,
        ended_at: row.try_get(6)?,
    })
}
