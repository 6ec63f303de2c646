//! Writes all changes of a transaction in one round trip: the statements for the changed rows,
//! followed by COMMIT.
use deadpool_postgres::Object;
use futures_util::future::join_all;
use tokio_postgres::types::ToSql;

use doorbuster_core::{
    BuyerId, CloseCause, Millis, Order, RecallTarget, RequestKey, Ticket, TicketId,
};

use crate::failure::Failure;
use crate::queries::INSERT_DEAD_LETTER;
use crate::row_cache::CachedRow;
use crate::rows;
use crate::sql::to_i64;

use super::row_cache::{CachedQuota, RowCache};
use super::shared::Shared;

mod digest;
mod events;
mod money;
mod waitlist;

type Value = Box<dyn ToSql + Sync + Send>;

pub(super) struct Query {
    sql: &'static str,
    values: Vec<Value>,
}

impl Query {
    pub(super) fn dead_letter(id: &TicketId, ticket: &Ticket, reason: &str, now: Millis) -> Self {
        let values = vec![
            value(id.to_string()),
            value(ticket.item.0),
            value(ticket.buyer.as_str().to_owned()),
            value(ticket.key.as_str().to_owned()),
            value(i64::from(ticket.units.get())),
            value(reason.to_owned()),
            value(now.0),
        ];
        Self { sql: INSERT_DEAD_LETTER.postgres, values }
    }
}

/// COMMIT has no time limit in the database, because COMMIT may wait for a standby. If the database
/// cancelled the wait, the commit would become visible although the standby lacks the commit.
const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";

fn value(value: impl ToSql + Sync + Send + 'static) -> Value {
    Box::new(value)
}

/// Returns the statements for all changed rows, in the order in which the rows must be written.
pub(super) fn queries(
    shared: &Shared,
    cache: &RowCache,
    now: Millis,
    catalogue: bool,
) -> Vec<Query> {
    let (mut queries, writer) = (Vec::new(), shared.writer);
    orders(cache, writer, &mut queries);
    digest::digest(cache, &shared.id_key, now, &mut queries);
    resolutions(cache, writer, &mut queries);
    feed(cache, &mut queries);
    quotas(cache, &mut queries);
    grants(cache, now, &mut queries);
    recalls(cache, &mut queries);
    waitlist::waitlist(cache, &mut queries);
    money::money(cache, &mut queries);
    events::events(cache, &mut queries);
    items(cache, &mut queries);
    if catalogue {
        let sql = "UPDATE catalogue SET changed = pg_current_xact_id(), writer = $1";
        queries.push(Query { sql, values: vec![value(writer)] });
    }
    queries
}

fn orders(cache: &RowCache, writer: i32, queries: &mut Vec<Query>) {
    let mut inserted: Vec<_> = cache
        .inserted
        .iter()
        .filter_map(|(id, node)| Some((cache.orders.get(id)?, *node)))
        .collect();
    // All transactions insert orders sorted by buyer and request key. So two transactions that
    // insert orders of the same requests never deadlock.
    inserted.sort_by(|(a, _), (b, _)| (&a.buyer, &a.key).cmp(&(&b.buyer, &b.key)));
    if !inserted.is_empty() {
        let sql = "INSERT INTO orders (id, buyer, request_key, item_id, units, state, grant_id, n,
                   reserved_at, pay_by, node, writer)
             SELECT id, buyer, key, item, units, 'reserved', grant_id, n, reserved_at, pay_by, node,
             $11
             FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
             $6::bigint[], $7::bigint[], $8::bigint[],
                         $9::bigint[], $10::bigint[])
                  AS t (id, buyer, key, item, units, grant_id, n, reserved_at, pay_by, node)";
        let text = |column: &dyn Fn(&Order) -> String| {
            value(inserted.iter().map(|(o, _)| column(o)).collect::<Vec<_>>())
        };
        let number = |column: &dyn Fn(&Order) -> i64| {
            value(inserted.iter().map(|(o, _)| column(o)).collect::<Vec<_>>())
        };
        let values = vec![
            text(&|o| o.id.to_string()),
            text(&|o| o.buyer.as_str().to_owned()),
            text(&|o| o.key.as_str().to_owned()),
            number(&|o| o.item.0),
            number(&|o| o.units.get().into()),
            number(&|o| to_i64(o.grant.0)),
            number(&|o| to_i64(o.n.0)),
            number(&|o| o.reserved_at.0),
            number(&|o| o.pay_by.0),
            value(inserted.iter().map(|(_, node)| i64::from(node.0)).collect::<Vec<_>>()),
            value(writer),
        ];
        queries.push(Query { sql, values });
    }
    let changed: Vec<_> = cache.changed.iter().filter_map(|id| cache.orders.get(id)).collect();
    if !changed.is_empty() {
        let sql = "UPDATE orders SET state = t.state, pay_by = t.pay_by, paid_at = t.paid_at,
                   ended_at = t.ended_at
             FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[],
             $6::bigint[])
                  AS t (grant_id, n, state, pay_by, paid_at, ended_at)
             WHERE orders.grant_id = t.grant_id AND orders.n = t.n";
        let values = vec![
            value(changed.iter().map(|o| to_i64(o.grant.0)).collect::<Vec<_>>()),
            value(changed.iter().map(|o| to_i64(o.n.0)).collect::<Vec<_>>()),
            value(changed.iter().map(|o| o.state.as_str()).collect::<Vec<_>>()),
            value(changed.iter().map(|o| o.pay_by.0).collect::<Vec<_>>()),
            value(changed.iter().map(|o| o.paid_at.map(|t| t.0)).collect::<Vec<_>>()),
            value(changed.iter().map(|o| o.ended_at.map(|t| t.0)).collect::<Vec<_>>()),
        ];
        queries.push(Query { sql, values });
    }
}

fn resolutions(cache: &RowCache, writer: i32, queries: &mut Vec<Query>) {
    let returned: Vec<_> = cache
        .returned
        .iter()
        .filter_map(|(id, node)| Some((cache.resolutions.get(id)?, *node)))
        .collect();
    if returned.is_empty() {
        return;
    }
    let sql = "INSERT INTO resolution (ticket, grant_id, n, verdict, order_id, node, writer)
         SELECT ticket, grant_id, n, verdict, order_id, node, $7
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[])
              AS t (ticket, grant_id, n, verdict, order_id, node)";
    let words: Vec<_> = returned.iter().map(|(r, _)| rows::verdict_columns(&r.verdict)).collect();
    let values = vec![
        value(returned.iter().map(|(r, _)| r.ticket.to_string()).collect::<Vec<_>>()),
        value(returned.iter().map(|(r, _)| to_i64(r.grant.0)).collect::<Vec<_>>()),
        value(returned.iter().map(|(r, _)| r.n.map(|n| to_i64(n.0))).collect::<Vec<_>>()),
        value(words.iter().map(|(word, _)| *word).collect::<Vec<_>>()),
        value(words.iter().map(|(_, order)| order.map(|id| id.to_string())).collect::<Vec<_>>()),
        value(
            returned.iter().map(|(_, node)| node.map(|node| i64::from(node.0))).collect::<Vec<_>>(),
        ),
        value(writer),
    ];
    queries.push(Query { sql, values });
}

fn feed(cache: &RowCache, queries: &mut Vec<Query>) {
    let feed = &cache.feed;
    if feed.is_empty() {
        return;
    }
    let sql = "INSERT INTO feed (grant_id, seq, ticket, buyer, request_key, units, counter,
               quota_delta, cause)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[],
         $6::bigint[], $7::text[], $8::bigint[], $9::text[])";
    let buyer = |b: &BuyerId| b.as_str().to_owned();
    let key = |k: &RequestKey| k.as_str().to_owned();
    let values = vec![
        value(feed.iter().map(|f| to_i64(f.grant.0)).collect::<Vec<_>>()),
        value(feed.iter().map(|f| to_i64(f.seq.0)).collect::<Vec<_>>()),
        value(feed.iter().map(|f| f.ticket.map(|t| t.to_string())).collect::<Vec<_>>()),
        value(feed.iter().map(|f| f.buyer.as_ref().map(buyer)).collect::<Vec<_>>()),
        value(feed.iter().map(|f| f.key.as_ref().map(key)).collect::<Vec<_>>()),
        value(feed.iter().map(|f| to_i64(f.units)).collect::<Vec<_>>()),
        value(feed.iter().map(|f| f.counter.as_str()).collect::<Vec<_>>()),
        value(feed.iter().map(|f| f.quota_delta).collect::<Vec<_>>()),
        value(feed.iter().map(|f| f.cause.as_str()).collect::<Vec<_>>()),
    ];
    queries.push(Query { sql, values });
}

/// Writes quotas. If another transaction has inserted one of the new rows, the statement fails and
/// this transaction runs again. For an existing row, the statement adds the difference to the
/// stored quota. This is safe, because the row is locked, or its quota only decreases. As in
/// `doorbuster-core`, a quota never falls below 0.
fn quotas(cache: &RowCache, queries: &mut Vec<Query>) {
    let insert = "INSERT INTO quota (buyer, item_id, used) SELECT *
                  FROM unnest($1::text[], $2::bigint[], $3::bigint[])";
    let update = "UPDATE quota SET used = greatest(quota.used + t.by, 0)
         FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS t (buyer, item, by)
         WHERE quota.buyer = t.buyer AND quota.item_id = t.item";
    let is_new = |quota: &CachedQuota| quota.read.is_none() && quota.used > 0;
    let is_changed = |quota: &CachedQuota| quota.read.is_some_and(|read| read != quota.used);
    for (sql, wanted) in [(insert, &is_new as &dyn Fn(&CachedQuota) -> bool), (update, &is_changed)]
    {
        let rows: Vec<_> = cache.quotas.iter().filter(|(_, quota)| wanted(quota)).collect();
        if rows.is_empty() {
            continue;
        }
        let values = vec![
            value(rows.iter().map(|((buyer, _), _)| buyer.as_str().to_owned()).collect::<Vec<_>>()),
            value(rows.iter().map(|((_, item), _)| item.0).collect::<Vec<_>>()),
            value(
                rows.iter()
                    .map(|(_, q)| i64::from(q.used) - i64::from(q.read.unwrap_or(0)))
                    .collect::<Vec<_>>(),
            ),
        ];
        queries.push(Query { sql, values });
    }
}

/// Writes grants. Closed grants come first, so that a slot never has two open grants.
fn grants(cache: &RowCache, now: Millis, queries: &mut Vec<Query>) {
    let update = "UPDATE slot_grant SET granted = $2, settled = $3, open = $4, acked = $5,
                  max_n = $6, resolved = $7, feed_len = $8,
                               closed_cause = $9, closed_at = coalesce(closed_at, $10),
                               changed = pg_current_xact_id()
         WHERE id = $1";
    let insert =
        "INSERT INTO slot_grant (id, granted, settled, open, acked, max_n, resolved, feed_len,
         closed_cause, closed_at,
                                 item_id, slot, epoch, counted, opened_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
    for open in [false, true] {
        for CachedRow { row: g, read } in cache.grants.dirty().filter(|kept| kept.row.open == open)
        {
            let mut values = vec![
                value(to_i64(g.id.0)),
                value(to_i64(g.granted)),
                value(to_i64(g.settled)),
                value(g.open),
                value(g.acked),
                value(to_i64(g.max_n.0)),
                value(to_i64(g.resolved)),
                value(to_i64(g.feed_len.0)),
                value(g.closed.map(CloseCause::as_str)),
                value((!g.open).then_some(now.0)),
            ];
            let sql = if read.is_some() { update } else { insert };
            if read.is_none() {
                values.extend([
                    value(g.slot.item.0),
                    value(i64::from(g.slot.index)),
                    value(to_i64(g.epoch.0)),
                    value(g.counted),
                    value(now.0),
                ]);
            }
            queries.push(Query { sql, values });
        }
    }
}

fn recalls(cache: &RowCache, queries: &mut Vec<Query>) {
    for CachedRow { row: r, read } in cache.recalls.dirty() {
        let target = match r.target {
            RecallTarget::Pool => None,
            RecallTarget::Grant(id) => Some(to_i64(id.0)),
        };
        queries.push(match read {
            Some(_) => Query {
                sql: "UPDATE recall SET taken = $2, done = $3 WHERE id = $1",
                values: vec![value(to_i64(r.id.0)), value(to_i64(r.taken)), value(r.done)],
            },
            None => Query {
                sql: "INSERT INTO recall (id, grant_id, target_grant, asked, taken, done)
                      VALUES ($1, $2, $3, $4, $5, $6)",
                values: vec![
                    value(to_i64(r.id.0)),
                    value(to_i64(r.grant.0)),
                    value(target),
                    value(to_i64(r.asked)),
                    value(to_i64(r.taken)),
                    value(r.done),
                ],
            },
        });
    }
}

/// Writes items. Settling and expiry read an item without a lock, because their decisions do not
/// depend on the pool. Another transaction may have changed the row since this transaction read it.
/// So the statement adds differences to the numbers in the row.
fn items(cache: &RowCache, queries: &mut Vec<Query>) {
    for CachedRow { row, read } in cache.items.dirty() {
        let Some(read) = read else { continue };
        let by = |now: u64, before: u64| to_i64(now.wrapping_sub(before));
        let count = |stock| rows::total(stock).unwrap_or(0);
        let sql = "UPDATE item SET total = total + $2, pool = pool + $3, ended = ended + $4,
                   paid = paid + $5, waiting = waiting + $6,
                         changed = pg_current_xact_id()
             WHERE id = $1";
        let values = vec![
            value(row.id.0),
            value(count(row.total) - count(read.total)),
            value(by(row.pool, read.pool)),
            value(by(row.ended, read.ended)),
            value(by(row.paid, read.paid)),
            value(by(row.waiting, read.waiting)),
        ];
        queries.push(Query { sql, values });
    }
}

/// Sends the statements together, and commits. After a failed statement, COMMIT becomes ROLLBACK
/// without an error, so each result is checked.
///
/// Returns the id of the transaction, if other nodes must read its rows (`is_published`).
pub(super) async fn commit(
    client: &Object,
    queries: &[Query],
    is_published: bool,
) -> Result<Option<String>, Failure> {
    let mut statements = Vec::with_capacity(queries.len());
    for query in queries {
        statements.push(client.prepare_cached(query.sql).await?);
    }
    let transaction = client.prepare_cached("SELECT pg_current_xact_id()::text").await?;
    let writes = queries.iter().zip(&statements).map(async |(query, statement)| {
        let values: Vec<&(dyn ToSql + Sync)> =
            query.values.iter().map(|v| v.as_ref() as &(dyn ToSql + Sync)).collect();
        client.execute(statement, &values).await
    });
    let transaction = async {
        match is_published {
            true => client.query_one(&transaction, &[]).await?.try_get(0).map(Some),
            false => Ok(None),
        }
    };
    let (written, transaction, committed) =
        tokio::join!(join_all(writes), transaction, client.batch_execute(COMMIT));
    for result in written {
        result.map_err(|error| Failure::from(error).after_commit())?;
    }
    let transaction = transaction.map_err(|error| Failure::from(error).after_commit())?;
    committed.map_err(|error| Failure::from(error).after_commit())?;
    Ok(transaction)
}
