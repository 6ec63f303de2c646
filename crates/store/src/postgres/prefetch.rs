//! Reads and locks all rows for a batch of tickets or orders in one round trip.
use std::collections::BTreeSet;
use std::sync::Arc;

use deadpool_postgres::Object;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use doorbuster_core::{BuyerId, GrantId, IdKey, ItemId, Millis, Ticket, TicketN};

use crate::failure::{Done, Failure};
use crate::rows;
use crate::rows::money;
use crate::sql::{Row, to_i64};

use super::row_cache::{CachedQuota, RowCache};

pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
/// The store's time, read after all locks were taken.
pub(super) const NOW: &str = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
pub(super) const GRANTS: &str = concat!(
    "SELECT ",
    rows::grant_columns!(),
    " FROM slot_grant WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE"
);
pub(super) const RECALLS: &str = concat!(
    "SELECT ",
    rows::recall_columns!(),
    " FROM recall WHERE grant_id = ANY($1) AND NOT done"
);
const ITEMS: &str = concat!("SELECT ", rows::item_columns!(), " FROM item WHERE id = ANY($1)");
/// For buyers without a quota row, inserts such rows in the sequence in which transactions lock
/// them.
const NEW_QUOTAS: &str = "INSERT INTO quota (buyer, item_id, used) SELECT buyer, item, 0
                          FROM unnest($1::text[], $2::bigint[]) AS t (buyer, item)
     ON CONFLICT DO NOTHING";
pub(super) const QUOTAS: &str =
    "SELECT q.buyer, q.item_id, q.used FROM unnest($1::text[], $2::bigint[]) AS t (buyer, item)
     JOIN quota q ON q.buyer = t.buyer AND q.item_id = t.item
     ORDER BY q.buyer, q.item_id FOR NO KEY UPDATE OF q";
/// Selects the orders that have the buyer and the request key of a ticket. Also selects the orders
/// that have the grant and the number of a ticket. A ticket whose number is above `max_n` of its
/// grant has no order yet.
///
/// `OFFSET 0` keeps the planner from merging the lookups of the orders. A merged plan, made for a
/// nearly empty table, could later read all orders of a grant.
const ORDERS: &str = concat!(
    "SELECT ",
    rows::order_columns!(),
    " FROM unnest($1::text[], $2::text[]) AS t (buyer, key)
      CROSS JOIN LATERAL (SELECT * FROM orders o WHERE o.buyer = t.buyer
      AND o.request_key = t.key OFFSET 0) o
      UNION ALL SELECT ",
    rows::order_columns!(),
    " FROM unnest($3::bigint[], $4::bigint[]) AS t (grant_id, n)
      JOIN slot_grant g ON g.id = t.grant_id AND t.n <= g.max_n
      CROSS JOIN LATERAL (SELECT * FROM orders o WHERE o.grant_id = t.grant_id
      AND o.n = t.n OFFSET 0) o"
);
const RESOLUTIONS: &str = concat!(
    "SELECT ",
    rows::resolution_columns!(),
    " FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS t (ticket, grant_id, n)
      JOIN slot_grant g ON g.id = t.grant_id AND t.n <= g.max_n
      CROSS JOIN LATERAL (SELECT * FROM resolution r WHERE r.ticket = t.ticket OFFSET 0) r
      UNION ALL SELECT ",
    rows::resolution_columns!(),
    " FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS t (ticket, grant_id, n)
      JOIN slot_grant g ON g.id = t.grant_id AND t.n <= g.max_n
      CROSS JOIN LATERAL (SELECT * FROM resolution r WHERE r.grant_id = t.grant_id
      AND r.n = t.n OFFSET 0) r"
);
/// Looks up each checkout separately, for the same reason as the orders in [`ORDERS`].
const CHECKOUTS: &str = concat!(
    "SELECT ",
    money::checkout_columns!(),
    " FROM unnest($1::bigint[], $2::bigint[]) AS t (grant_id, n)
      CROSS JOIN LATERAL (SELECT * FROM checkout c WHERE c.grant_id = t.grant_id AND c.n = t.n
      LIMIT 1) c"
);
const ORDERS_BY_NUMBER: &str = concat!(
    "SELECT ",
    rows::order_columns!(),
    " FROM unnest($1::bigint[], $2::bigint[]) AS t (grant_id, n)
      CROSS JOIN LATERAL (SELECT * FROM orders o WHERE o.grant_id = t.grant_id
      AND o.n = t.n OFFSET 0) o"
);

/// Says when a batch inserts missing quota rows.
///
/// Most buyers are new, and most batches do not conflict with another batch. So the first attempt
/// of a batch inserts these rows with its other writes. If another transaction inserted one of
/// these rows meanwhile, the batch runs again. In this second attempt, the batch inserts the
/// missing rows before its reads, so that the reads can lock these rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewBuyerInsert {
    WithCommit,
    First,
}

/// Begins a transaction and reads the rows for settling these tickets, in one round trip.
///
/// The transaction locks grants, then locks quotas, then reads orders. So a transaction that sees
/// the quota of a request also sees the order of this request.
pub(super) async fn tickets(
    client: &Object,
    key: &IdKey,
    tickets: &[Arc<Ticket>],
    new: NewBuyerInsert,
) -> Done<(RowCache, Millis)> {
    let columns = TicketColumns::from_tickets(key, tickets);
    let statements = [GRANTS, NEW_QUOTAS, QUOTAS, ORDERS, RESOLUTIONS, ITEMS, RECALLS, NOW];
    let [grants, new_quotas, quotas, orders, resolutions, items, recalls, now] =
        prepare(client, statements).await?;
    let buyers: [&(dyn ToSql + Sync); 2] = [&columns.quota_buyers, &columns.quota_items];
    let of_orders: [&(dyn ToSql + Sync); 4] =
        [&columns.buyers, &columns.keys, &columns.grants, &columns.numbers];
    let of_resolutions: [&(dyn ToSql + Sync); 3] =
        [&columns.ids, &columns.grants, &columns.numbers];
    let locked: [&(dyn ToSql + Sync); 1] = [&columns.locked];
    let of_items: [&(dyn ToSql + Sync); 1] = [&columns.items];
    // The first poll of `join!` polls these futures in this order. Each query is sent when its
    // future is first polled. So the queries are sent in this order.
    let (begun, grants, made, quotas, orders, resolutions, items, recalls, now) = tokio::join!(
        client.batch_execute(BEGIN),
        client.query(&grants, &locked),
        async {
            match new {
                NewBuyerInsert::First => client.execute(&new_quotas, &buyers).await,
                NewBuyerInsert::WithCommit => Ok(0),
            }
        },
        client.query(&quotas, &buyers),
        client.query(&orders, &of_orders),
        client.query(&resolutions, &of_resolutions),
        client.query(&items, &of_items),
        client.query(&recalls, &locked),
        client.query_one(&now, &[]),
    );
    // The first failure is returned, because it is the cause. The later failures report only that
    // the transaction is aborted.
    begun?;
    let mut cache = RowCache::default();
    for_each_row(&grants?, |row| rows::grant(row).map(|found| _ = cache.grants.read(found)))?;
    made?;
    for_each_row(&quotas?, |row| cache_quota(&mut cache, row))?;
    for_each_row(&orders?, |row| rows::order(row).map(|order| cache.cache_order(order)))?;
    for_each_row(&resolutions?, |row| {
        rows::resolution(row).map(|found| cache.cache_resolution(found))
    })?;
    for_each_row(&items?, |row| rows::item(row).map(|found| _ = cache.items.read(found)))?;
    for_each_row(&recalls?, |row| rows::recall(row).map(|found| _ = cache.recalls.read(found)))?;
    Ok((cache, Millis(now?.try_get(0)?)))
}

/// An order that the transaction ends, or whose checkout the transaction postpones. `n` is the
/// order's number in the grant. `item` is `None` if the transaction does not need the item's row.
#[derive(Clone, Copy, Debug)]
pub(super) struct DueOrder {
    pub(super) grant: GrantId,
    pub(super) n: TicketN,
    pub(super) item: Option<ItemId>,
}

/// Begins a transaction and reads the rows for ending these orders, or for postponing their
/// checkouts. The orders are read after their grants are locked.
pub(super) async fn orders(client: &Object, orders: &[DueOrder]) -> Done<(RowCache, Millis)> {
    let statements = [GRANTS, ORDERS_BY_NUMBER, CHECKOUTS, ITEMS, NOW];
    let [grants, by_number, checkouts, items, now] = prepare(client, statements).await?;
    let locked: BTreeSet<i64> = orders.iter().map(|o| to_i64(o.grant.0)).collect();
    let locked: Vec<i64> = locked.into_iter().collect();
    let of_items: BTreeSet<i64> = orders.iter().filter_map(|o| o.item).map(|item| item.0).collect();
    let of_items: Vec<i64> = of_items.into_iter().collect();
    let (from_tickets, numbers): (Vec<i64>, Vec<i64>) =
        orders.iter().map(|o| (to_i64(o.grant.0), to_i64(o.n.0))).unzip();
    let locked: [&(dyn ToSql + Sync); 1] = [&locked];
    let of_orders: [&(dyn ToSql + Sync); 2] = [&from_tickets, &numbers];
    let of_items: [&(dyn ToSql + Sync); 1] = [&of_items];
    let (begun, grants, found, checkouts, items, now) = tokio::join!(
        client.batch_execute(BEGIN),
        client.query(&grants, &locked),
        client.query(&by_number, &of_orders),
        client.query(&checkouts, &of_orders),
        client.query(&items, &of_items),
        client.query_one(&now, &[]),
    );
    begun?;
    let mut cache = RowCache::default();
    for_each_row(&grants?, |row| rows::grant(row).map(|found| _ = cache.grants.read(found)))?;
    for_each_row(&found?, |row| rows::order(row).map(|order| cache.cache_order(order)))?;
    for_each_row(&checkouts?, |row| {
        money::checkout(row).map(|found| _ = cache.checkouts.read(found))
    })?;
    cache.has_every_checkout = true;
    cache.only_returns_quota = true;
    for_each_row(&items?, |row| rows::item(row).map(|found| _ = cache.items.read(found)))?;
    Ok((cache, Millis(now?.try_get(0)?)))
}

/// The values of a batch of tickets, as one array for each parameter.
#[derive(Default)]
struct TicketColumns<'a> {
    ids: Vec<String>,
    buyers: Vec<&'a str>,
    keys: Vec<&'a str>,
    grants: Vec<i64>,
    numbers: Vec<i64>,
    /// The buyers of the quotas to lock. Each quota occurs once, and the quotas are in lock order.
    quota_buyers: Vec<&'a str>,
    quota_items: Vec<i64>,
    locked: Vec<i64>,
    items: Vec<i64>,
}

impl<'a> TicketColumns<'a> {
    fn from_tickets(key: &IdKey, tickets: &'a [Arc<Ticket>]) -> Self {
        let mut columns = Self::default();
        let (mut quotas, mut grants, mut items) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for ticket in tickets {
            columns.ids.push(key.id_of(ticket).to_string());
            columns.buyers.push(ticket.buyer.as_str());
            columns.keys.push(ticket.key.as_str());
            columns.grants.push(to_i64(ticket.grant.0));
            columns.numbers.push(to_i64(ticket.n.0));
            quotas.insert((ticket.buyer.as_str(), ticket.item.0));
            grants.insert(to_i64(ticket.grant.0));
            items.insert(ticket.item.0);
        }
        (columns.quota_buyers, columns.quota_items) = quotas.into_iter().unzip();
        (columns.locked, columns.items) =
            (grants.into_iter().collect(), items.into_iter().collect());
        columns
    }
}

async fn prepare<const N: usize>(client: &Object, texts: [&str; N]) -> Done<[Statement; N]> {
    let mut statements = Vec::with_capacity(N);
    for text in texts {
        statements.push(client.prepare_cached(text).await?);
    }
    statements.try_into().map_err(|_| Failure::Row("wrong number of statements".to_owned()))
}

fn for_each_row(
    rows: &[tokio_postgres::Row],
    mut read: impl FnMut(Row<'_>) -> Done<()>,
) -> Done<()> {
    rows.iter().try_for_each(|row| read(row.into()))
}

fn cache_quota(cache: &mut RowCache, row: Row<'_>) -> Done<()> {
    let buyer = row.parse(0, "buyer", BuyerId::new)?;
    let used = row.number_u32(2, "quota")?;
    cache.quotas.insert((buyer, ItemId(row.get(1)?)), CachedQuota { used, read: Some(used) });
    Ok(())
}
