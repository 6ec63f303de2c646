//! The digest of a transaction: the orders that it created or changed.
use std::collections::HashMap;

use doorbuster_core::digest::OrderDigest;
use doorbuster_core::{IdKey, Millis, NodeId, TicketId, digest};

use crate::postgres::row_cache::RowCache;

use super::{Query, value};

pub(super) fn digest(cache: &RowCache, key: &IdKey, now: Millis, queries: &mut Vec<Query>) {
    if cache.touched_orders.is_empty() {
        return;
    }
    let created: HashMap<TicketId, NodeId> = cache.inserted.iter().copied().collect();
    let mut touched = cache.touched_orders.clone();
    touched.sort_unstable();
    touched.dedup();
    let entries: Vec<OrderDigest> = touched
        .iter()
        .filter_map(|id| cache.orders.get(id))
        .map(|order| OrderDigest {
            request: key.request_hash(order.buyer.as_str(), order.key.as_str()).low_64_bits(),
            buyer: digest::buyer_tag(order.buyer.as_str()),
            item: order.item,
            grant: order.grant,
            n: order.n,
            created_for: created.get(&order.id).copied(),
            ended: OrderDigest::is_ended(order.state),
        })
        .collect();
    let sql = "INSERT INTO commit_digest (at, orders) VALUES ($1, $2)";
    queries.push(Query { sql, values: vec![value(now.0), value(digest::encode(&entries))] });
}
