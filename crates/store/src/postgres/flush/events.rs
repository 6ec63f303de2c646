//! Appends the events of a transaction in one statement.
use doorbuster_core::event::{Event, Subject};
use doorbuster_core::{ItemId, Order, TicketId};

use crate::events;
use crate::postgres::row_cache::RowCache;
use crate::sql::to_i64;

use super::{Query, value};

pub(super) fn events(cache: &RowCache, queries: &mut Vec<Query>) {
    let events = &cache.events;
    if events.is_empty() {
        return;
    }
    let sql = "INSERT INTO event (type, grant_id, n, item_id, sale_id, at, actor, why, pay_by,
               paid_at, ended_at, data)
         SELECT type, grant_id, n, item_id, sale_id, at, actor, why, pay_by, paid_at, ended_at, data
         FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[],
         $7::text[], $8::text[],
                     $9::bigint[], $10::bigint[], $11::bigint[], $12::text[]) WITH ORDINALITY
              AS t (type, grant_id, n, item_id, sale_id, at, actor, why, pay_by, paid_at, ended_at,
              data, place)
         ORDER BY place";
    let numbers: Vec<_> = events.iter().map(|event| order_numbers(cache, event)).collect();
    let order = |column: &dyn Fn(&Order) -> Option<i64>| {
        value(events.iter().map(|event| order(event).and_then(column)).collect::<Vec<_>>())
    };
    let values = vec![
        value(events.iter().map(|event| event.what.as_str()).collect::<Vec<_>>()),
        value(numbers.iter().map(|numbers| numbers.map(|(grant, _)| grant)).collect::<Vec<_>>()),
        value(numbers.iter().map(|numbers| numbers.map(|(_, n)| n)).collect::<Vec<_>>()),
        value(events.iter().map(|event| item(event).map(|item| item.0)).collect::<Vec<_>>()),
        value(events.iter().map(sale).collect::<Vec<_>>()),
        value(events.iter().map(|event| event.at.0).collect::<Vec<_>>()),
        value(events.iter().map(|event| events::actor_text(&event.by.actor)).collect::<Vec<_>>()),
        value(events.iter().map(|event| event.by.why.clone()).collect::<Vec<_>>()),
        order(&|order| Some(order.pay_by.0)),
        order(&|order| order.paid_at.map(|at| at.0)),
        order(&|order| order.ended_at.map(|at| at.0)),
        value(events.iter().map(|event| events::subject_json(&event.subject)).collect::<Vec<_>>()),
    ];
    queries.push(Query { sql, values });
}

fn order(event: &Event) -> Option<&Order> {
    match &event.subject {
        Subject::Order(order) => Some(order),
        _ => None,
    }
}

/// Returns the grant and the number of the event's order. For an event about a payment, this is the
/// order that the payment names. That order is in the cache, because `append_event` has cached it.
fn order_numbers(cache: &RowCache, event: &Event) -> Option<(i64, i64)> {
    let order = match &event.subject {
        Subject::Order(order) => order,
        Subject::Payment { order, .. } | Subject::Reversal { order, .. } => {
            cache.orders.get(&TicketId::parse(order)?)?
        }
        Subject::Ticket { .. } | Subject::Item(_) | Subject::Sale(_) => return None,
    };
    Some((to_i64(order.grant.0), to_i64(order.n.0)))
}

fn item(event: &Event) -> Option<ItemId> {
    match &event.subject {
        Subject::Ticket { item, .. } | Subject::Item(item) => Some(*item),
        Subject::Order(_)
        | Subject::Payment { .. }
        | Subject::Reversal { .. }
        | Subject::Sale(_) => None,
    }
}

fn sale(event: &Event) -> Option<String> {
    match &event.subject {
        Subject::Sale(sale) => Some(sale.clone()),
        _ => None,
    }
}
