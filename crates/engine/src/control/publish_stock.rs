//! Publishes three numbers of each item in the shared Redis, for programs in front of the server,
//! such as a gateway. No node reads them. `count` is the item's total of units. `start` is 1 while
//! the sale is open. `access` is the number of units that cannot be bought now.
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{Millis, Phase};
use doorbuster_slots::{LockGuard, SharedRedis, SlotError};
use doorbuster_store::SaleRow;
use tokio::time::Instant;

use crate::catalogue::SaleState;
use crate::node::Node;
use crate::stock::StockControl;

const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// This long after a write, the numbers are written again even if they did not change.
const REWRITE_INTERVAL: Duration = Duration::from_secs(1);
/// How long Redis keeps the published numbers after the last write. A gateway needs current
/// numbers. A missing entry does less harm than old numbers.
const KEY_TTL: Duration = Duration::from_secs(5);
/// For how long after a sale's end the sale's numbers are still written, in milliseconds.
const AFTER_END_MS: i64 = 60_000;
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// The pause before the next attempt to take the lock, after a failed write or a lost lock.
const RETRY_DELAY: Duration = Duration::from_secs(1);
const LOCK_NAME: &str = "status";
const PUBLISH: &str = include_str!("publish_stock.lua");

pub(super) async fn run(stock: Arc<StockControl>) {
    let Some((shared, locks)) = stock.node.cache().shared() else {
        return std::future::pending().await;
    };
    loop {
        stock.node.wait_for_recent_memory().await;
        let guard = locks.wait(LOCK_NAME, LOCK_RETRY_INTERVAL).await;
        // An error is ignored, because the loop tries again. Redis may be unreachable for a while.
        let _ = publish(&stock, shared, &guard).await;
        guard.release().await;
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Publishes the numbers of all items. Returns when this node has lost the lock or its memory is
/// not recent, so that another node can publish the numbers.
async fn publish(
    stock: &StockControl,
    shared: &SharedRedis,
    guard: &LockGuard,
) -> Result<(), SlotError> {
    let mut written: HashMap<Arc<str>, (Vec<String>, Instant)> = HashMap::new();
    while guard.is_held() && stock.node.is_memory_recent() {
        let sales = by_urgency(&stock.node);
        written.retain(|name, _| sales.iter().any(|sale| *sale.row.id == **name));
        for sale in sales {
            let is_due = |at: &Instant| at.elapsed() >= REWRITE_INTERVAL;
            let before = written.get(sale.row.id.as_str());
            if !sale.has_open_slots() && before.is_some_and(|(_, at)| !is_due(at)) {
                continue;
            }
            let fields = fields(stock, &sale).await;
            if before.is_some_and(|(known, at)| *known == fields && !is_due(at)) {
                continue;
            }
            let mut arguments = vec![guard.fence().to_string(), KEY_TTL.as_millis().to_string()];
            arguments.extend_from_slice(&fields);
            let reply =
                shared.eval(PUBLISH, &[shared.key("status", &sale.row.id)], &arguments).await?;
            if reply.number() != Some(1) {
                // Another node now publishes.
                return Ok(());
            }
            written.insert(sale.row.id.as_str().into(), (fields, Instant::now()));
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
    Ok(())
}

fn by_urgency(node: &Node) -> Vec<Arc<SaleState>> {
    let (catalogue, now) = (node.catalogue(), node.now());
    let mut sales: Vec<_> = catalogue
        .sales()
        .filter_map(|sale| Some((urgency(&sale.row, now)?, sale.clone())))
        .collect();
    sales.sort_by_key(|(urgency, _)| *urgency);
    sales.into_iter().map(|(_, sale)| sale).collect()
}

/// Returns the sale's place in the sequence: sales with lower numbers are published first. Returns
/// `None` if the sale is a draft, or if it ended too long ago.
fn urgency(row: &SaleRow, now: Millis) -> Option<u8> {
    match row.phase {
        Phase::Open => Some(0),
        Phase::Paused => Some(1),
        Phase::Scheduled => Some(2),
        Phase::Closed => row.closed_at.filter(|at| at.plus(AFTER_END_MS) > now).map(|_| 3),
        Phase::Draft => None,
    }
}

/// Returns the names and values of the Redis fields, each name followed by its value. The field
/// `item:NAME` has the value `count start access`. If the stock is unlimited, `count` is `-`.
async fn fields(stock: &StockControl, sale: &SaleState) -> Vec<String> {
    let version = sale.version();
    let start = u8::from(sale.row.phase == Phase::Open);
    let mut fields =
        vec!["phase".into(), sale.row.phase.as_str().into(), "version".into(), version];
    for item in &sale.items {
        let numbers = stock.numbers(item).await;
        let mut text = numbers.count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        // Writing into a string cannot fail.
        let _ = write!(text, " {start} {}", numbers.access);
        fields.extend([format!("item:{}", item.row.name), text]);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_sales_are_published_first_and_long_ended_sales_not_at_all() {
        let now = Millis(1_000_000);
        let urgency = |phase, closed_at: Option<i64>| {
            let row = SaleRow {
                id: "spring".into(),
                title: "Spring".into(),
                phase,
                starts_at: None,
                ends_at: None,
                front_door: "{}".into(),
                page: String::new(),
                version: 1,
                created_at: Millis(0),
                opened_at: None,
                closed_at: closed_at.map(Millis),
                draining_until: None,
                items: Vec::new(),
            };
            super::urgency(&row, now)
        };
        let ended = |ms_ago: i64| urgency(Phase::Closed, Some(now.0 - ms_ago));
        let published = [
            urgency(Phase::Open, None),
            urgency(Phase::Paused, None),
            urgency(Phase::Scheduled, None),
            ended(AFTER_END_MS - 1),
        ];
        assert!(published.is_sorted() && published.iter().all(Option::is_some), "{published:?}");
        assert_eq!(
            [urgency(Phase::Draft, None), ended(AFTER_END_MS), urgency(Phase::Closed, None)],
            [None; 3]
        );
    }
}
