//! Writes provider messages, payments and refunds. A transaction has few of these rows, so each row
//! has its own statement. All transactions write the rows in the same order. One statement writes
//! all checkouts.
use doorbuster_core::money::Checkout;
use doorbuster_core::{GrantId, Millis, Order, OrderState, TicketId, TicketN};

use crate::postgres::row_cache::RowCache;
use crate::row_cache::CachedRow;
use crate::sql::to_i64;

use super::{Query, value};

/// Writes the changed rows about money. If another transaction has inserted one of the new rows,
/// the statement fails and this transaction runs again. In the second run, the rules of
/// `doorbuster-core` find the row.
pub(super) fn money(cache: &RowCache, queries: &mut Vec<Query>) {
    for ((provider, event), at) in &cache.inbox {
        let sql = "INSERT INTO inbox (provider, event_id, at) VALUES ($1, $2, $3)";
        queries.push(Query {
            sql,
            values: vec![value(provider.clone()), value(event.clone()), value(at.0)],
        });
    }
    payments(cache, queries);
    refunds(cache, queries);
    checkouts(cache, queries);
    due(cache, queries);
}

fn payments(cache: &RowCache, queries: &mut Vec<Query>) {
    // A later message about a failed payment may name another order, so all columns are written
    // again.
    let update = "UPDATE payment SET state = $2, provider = $3, order_id = $4,
                  grant_id = o.grant_id, n = o.n, amount_minor = $5, currency = $6, at = $7
         FROM (SELECT $8::bigint AS g, $9::bigint AS m) AS t LEFT JOIN orders o ON o.grant_id = t.g
         AND o.n = t.m AND o.id = $4
         WHERE payment.id = $1";
    let insert = "INSERT INTO payment (id, state, provider, order_id, grant_id, n, amount_minor,
                  currency, at)
         SELECT $1::text, $2::text, $3::text, $4::text, o.grant_id, o.n, $5::bigint, $6::text,
         $7::bigint
         FROM (SELECT $8::bigint AS g, $9::bigint AS m) AS t LEFT JOIN orders o ON o.grant_id = t.g
         AND o.n = t.m AND o.id = $4";
    for CachedRow { row: p, read } in cache.payments.dirty() {
        let named = TicketId::parse(&p.order).and_then(|id| id.parts());
        let values = vec![
            value(p.id.0.clone()),
            value(p.state.as_str()),
            value(p.provider.clone()),
            value(p.order.clone()),
            value(p.money.minor),
            value(p.money.currency.clone()),
            value(p.at.0),
            value(named.map(|parts| to_i64(parts.grant.0))),
            value(named.map(|parts| to_i64(parts.n.0))),
        ];
        queries.push(Query { sql: if read.is_some() { update } else { insert }, values });
    }
}

fn refunds(cache: &RowCache, queries: &mut Vec<Query>) {
    // If a discarded refund is requested again, it no longer counts as discarded.
    let update =
        "UPDATE refund SET state = $2, accepted = $3, tries = $4, next_at = $5, error = $6,
                  settled_at = $7,
                           discarded = CASE WHEN $2 = 'failed' THEN discarded END
         WHERE id = $1";
    let insert = "INSERT INTO refund (id, state, accepted, tries, next_at, error, settled_at,
                             payment_id, provider, order_id, amount_minor, currency, cause, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    for CachedRow { row: r, read } in cache.refunds.dirty() {
        let mut values = vec![
            value(r.id.0.clone()),
            value(r.state.as_str()),
            value(r.accepted),
            value(i64::from(r.tries)),
            value(r.next_at.0),
            value(r.error.clone()),
            value(r.settled_at.map(|at| at.0)),
        ];
        let sql = if read.is_some() { update } else { insert };
        if read.is_none() {
            values.extend([
                value(r.payment.0.clone()),
                value(r.provider.clone()),
                value(r.order.clone()),
                value(r.money.minor),
                value(r.money.currency.clone()),
                value(r.cause.as_str()),
                value(r.at.0),
            ]);
        }
        queries.push(Query { sql, values });
    }
}

/// Writes checkouts. One statement writes all of them, because one call may postpone a whole page
/// of checkouts. A second statement writes how long each order waits for its provider.
fn checkouts(cache: &RowCache, queries: &mut Vec<Query>) {
    let dirty = cache.checkouts.dirty().map(|kept| &kept.row);
    let rows: Vec<(&Checkout, &Order)> =
        dirty.filter_map(|c| Some((c, cache.orders.get(&c.order)?))).collect();
    if rows.is_empty() {
        return;
    }
    let text = |column: &dyn Fn(&Checkout) -> String| {
        value(rows.iter().map(|(c, _)| column(c)).collect::<Vec<_>>())
    };
    let number = |column: &dyn Fn(&Order) -> i64| {
        value(rows.iter().map(|(_, o)| column(o)).collect::<Vec<_>>())
    };
    let (grants, numbers) = (|o: &Order| to_i64(o.grant.0), |o: &Order| to_i64(o.n.0));
    let sql = "INSERT INTO checkout (grant_id, n, order_id, provider, session, url, expires_at,
               open, at, asked_at, due)
         SELECT t.grant_id, t.n, t.order_id, t.provider, t.session, t.url, t.expires_at, t.open,
         t.at, t.asked_at, t.due
         FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
         $7::bigint[], $8::boolean[], $9::bigint[],
                     $10::bigint[], $11::bigint[])
              AS t (grant_id, n, order_id, provider, session, url, expires_at, open, at, asked_at,
              due)
         ON CONFLICT (grant_id, n) DO UPDATE SET order_id = excluded.order_id,
         provider = excluded.provider, session = excluded.session, url = excluded.url,
             expires_at = excluded.expires_at, open = excluded.open, at = excluded.at,
             asked_at = excluded.asked_at, due = excluded.due";
    let values = vec![
        number(&grants),
        number(&numbers),
        text(&|c| c.order.to_string()),
        text(&|c| c.provider.clone()),
        text(&|c| c.session.clone()),
        text(&|c| c.url.clone()),
        value(rows.iter().map(|(c, _)| c.expires_at.0).collect::<Vec<_>>()),
        value(rows.iter().map(|(c, _)| c.open).collect::<Vec<_>>()),
        value(rows.iter().map(|(c, _)| c.at.0).collect::<Vec<_>>()),
        value(rows.iter().map(|(c, _)| c.asked_at.map(|at| at.0)).collect::<Vec<_>>()),
        number(&due_at),
    ];
    queries.push(Query { sql, values });
    let sql = "UPDATE orders SET ask_ms = t.ask_ms FROM unnest($1::bigint[], $2::bigint[],
               $3::bigint[]) AS t (grant_id, n, ask_ms)
         WHERE orders.grant_id = t.grant_id AND orders.n = t.n";
    let waits = value(rows.iter().map(|(c, o)| c.provider_wait_ms(o.pay_by)).collect::<Vec<_>>());
    queries.push(Query { sql, values: vec![number(&grants), number(&numbers), waits] });
}

/// Returns the time at which an order's open checkout must be closed, in milliseconds since 1970. 0
/// means at once.
fn due_at(order: &Order) -> i64 {
    if order.state == OrderState::Reserved { order.pay_by.0 } else { 0 }
}

/// For each changed order, sets when its open checkout must be closed at the provider ([`due_at`]).
fn due(cache: &RowCache, queries: &mut Vec<Query>) {
    let may_have_one = |order: &&Order| match cache.checkouts.get(&order.id) {
        Some(checkout) => checkout.open,
        None => !cache.has_every_checkout,
    };
    for order in cache.changed.iter().filter_map(|id| cache.orders.get(id)).filter(may_have_one) {
        let sql = "UPDATE checkout SET due = $3 WHERE grant_id = $1 AND n = $2 AND open";
        let values =
            vec![value(to_i64(order.grant.0)), value(to_i64(order.n.0)), value(due_at(order))];
        queries.push(Query { sql, values });
    }
}

impl Query {
    /// Returns the statement that writes the times at which these open checkouts must be closed.
    /// The caller must have locked the orders and read the checkouts.
    pub(in crate::postgres) fn put_off(later: &[(GrantId, TicketN, Millis)]) -> Self {
        let sql = "UPDATE checkout SET due = t.due FROM unnest($1::bigint[], $2::bigint[],
                   $3::bigint[]) AS t (grant_id, n, due)
             WHERE checkout.grant_id = t.grant_id AND checkout.n = t.n AND checkout.open";
        let values = vec![
            value(later.iter().map(|(grant, ..)| to_i64(grant.0)).collect::<Vec<_>>()),
            value(later.iter().map(|(_, n, _)| to_i64(n.0)).collect::<Vec<_>>()),
            value(later.iter().map(|(.., due)| due.0).collect::<Vec<_>>()),
        ];
        Self { sql, values }
    }
}
