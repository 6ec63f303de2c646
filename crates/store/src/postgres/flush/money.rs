//! Messages, payments, refunds and checkouts: a handful in a transaction, each with a statement of its own, in one order.
use doorbuster_core::limits::PROVIDER_GRACE_MS;
use doorbuster_core::{Order, OrderState, TicketId};

use crate::postgres::held::{Held, Kept};
use crate::postgres::rows::int;

use super::{Query, value};

/// Everything of money that differs from the tables.
///
/// What is new must not have come meanwhile, else its statement fails and all is run again: then the rules find it.
pub(super) fn money(held: &Held, queries: &mut Vec<Query>) {
    for ((provider, event), at) in &held.taken {
        let sql = "INSERT INTO inbox (provider, event_id, at) VALUES ($1, $2, $3)";
        queries.push(Query { sql, values: vec![value(provider.clone()), value(event.clone()), value(at.0)] });
    }
    payments(held, queries);
    refunds(held, queries);
    checkouts(held, queries);
    due(held, queries);
}

fn payments(held: &Held, queries: &mut Vec<Query>) {
    // Another message may name another order: the columns of a failed one are written anew.
    let update = "UPDATE payment SET state = $2, provider = $3, order_id = $4, grant_id = o.grant_id, n = o.n, amount_minor = $5, currency = $6, at = $7
         FROM (SELECT $8::bigint AS g, $9::bigint AS m) AS t LEFT JOIN orders o ON o.grant_id = t.g AND o.n = t.m AND o.id = $4
         WHERE payment.id = $1";
    let insert = "INSERT INTO payment (id, state, provider, order_id, grant_id, n, amount_minor, currency, at)
         SELECT $1::text, $2::text, $3::text, $4::text, o.grant_id, o.n, $5::bigint, $6::text, $7::bigint
         FROM (SELECT $8::bigint AS g, $9::bigint AS m) AS t LEFT JOIN orders o ON o.grant_id = t.g AND o.n = t.m AND o.id = $4";
    for Kept { row: p, read } in held.payments.values().filter(|kept| kept.is_dirty()) {
        let named = TicketId::parse(&p.order).and_then(|id| id.parts());
        let values = vec![
            value(p.id.0.clone()),
            value(p.state.as_str()),
            value(p.provider.clone()),
            value(p.order.clone()),
            value(p.money.minor),
            value(p.money.currency.clone()),
            value(p.at.0),
            value(named.map(|parts| int(parts.grant.0))),
            value(named.map(|parts| int(parts.n.0))),
        ];
        queries.push(Query { sql: if read.is_some() { update } else { insert }, values });
    }
}

fn refunds(held: &Held, queries: &mut Vec<Query>) {
    // One that is asked for again was not seen to.
    let update = "UPDATE refund SET state = $2, accepted = $3, tries = $4, next_at = $5, error = $6, settled_at = $7,
                           discarded = CASE WHEN $2 = 'failed' THEN discarded END
         WHERE id = $1";
    let insert = "INSERT INTO refund (id, state, accepted, tries, next_at, error, settled_at,
                             payment_id, provider, order_id, amount_minor, currency, cause, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    for Kept { row: r, read } in held.refunds.values().filter(|kept| kept.is_dirty()) {
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

fn checkouts(held: &Held, queries: &mut Vec<Query>) {
    let sql = "WITH kept AS (
             INSERT INTO checkout (grant_id, n, order_id, provider, session, url, expires_at, open, at, due)
             SELECT o.grant_id, o.n, $3::text, $4::text, $5::text, $6::text, $7::bigint, $8::boolean, $9::bigint, CASE o.state WHEN 'reserved' THEN o.pay_by ELSE 0 END
             FROM orders o WHERE o.grant_id = $1 AND o.n = $2
             ON CONFLICT (grant_id, n) DO UPDATE SET order_id = excluded.order_id, provider = excluded.provider, session = excluded.session, url = excluded.url,
                 expires_at = excluded.expires_at, open = excluded.open, at = excluded.at, due = excluded.due)
         UPDATE orders SET ask_ms = $10 WHERE grant_id = $1 AND n = $2";
    for Kept { row: c, .. } in held.checkouts.values().filter(|kept| kept.is_dirty()) {
        let Some(parts) = c.order.parts() else { continue };
        let values = vec![
            value(int(parts.grant.0)),
            value(int(parts.n.0)),
            value(c.order.to_string()),
            value(c.provider.clone()),
            value(c.session.clone()),
            value(c.url.clone()),
            value(c.expires_at.0),
            value(c.open),
            value(c.at.0),
            value(if c.open { PROVIDER_GRACE_MS } else { 0 }),
        ];
        queries.push(Query { sql, values });
    }
}

/// Open checkouts are closed at their provider when their orders wait for no payment any more, or are due.
fn due(held: &Held, queries: &mut Vec<Query>) {
    let may_have_one = |order: &&Order| match held.checkouts.get(&order.id) {
        Some(kept) => kept.row.open,
        None => !held.has_every_checkout,
    };
    for order in held.changed.iter().filter_map(|id| held.orders.get(id)).filter(may_have_one) {
        let due = if order.state == OrderState::Reserved { order.pay_by.0 } else { 0 };
        let sql = "UPDATE checkout SET due = $3 WHERE grant_id = $1 AND n = $2 AND open";
        queries.push(Query { sql, values: vec![value(int(order.grant.0)), value(int(order.n.0)), value(due)] });
    }
}
