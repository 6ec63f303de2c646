//! Publishes each sale's `count`, `start` and `access` in the Redis that nodes share, when they
//! change and at least each second, so that whatever stands in front (an edge, a gateway, another
//! program) reads them from a replica there and asks no node. One node of all does it, by the lock.
//! Nothing here reads them back.
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{Millis, Phase};
use doorbuster_slots::{LockGuard, Shared, SlotError};
use doorbuster_store::SaleRow;
use tokio::time::Instant;

use crate::catalogue::SaleState;
use crate::engine::Engine;

/// Between two looks at the numbers.
const EVERY: Duration = Duration::from_millis(250);
/// What did not change is written again so often.
const AGAIN: Duration = Duration::from_secs(1);
/// What is not written again is forgotten then: better no numbers than old ones.
const LIVES: Duration = Duration::from_secs(5);
/// How long after its end a sale's numbers are still written; then what was written lives out.
const AFTER_END_MS: i64 = 60_000;
/// How long the lock is waited for before the next try.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause before the next try after one that ended.
const RETRY: Duration = Duration::from_secs(1);
/// Of the lock.
const NAME: &str = "status";
const PUBLISH: &str = include_str!("publish.lua");

/// Publishes until the program stops, whenever it is this node's turn.
pub(super) async fn run(engine: Arc<Engine>) {
    let Some((shared, locks)) = engine.cache().shared() else {
        return std::future::pending().await;
    };
    loop {
        match locks.take(NAME, PATIENCE).await {
            Ok(Some(held)) => {
                // However it ended: Redis is away, or somebody else publishes since.
                let _ = publish(&engine, shared, &held).await;
                held.release().await;
                tokio::time::sleep(RETRY).await;
            }
            Ok(None) => {}
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Publishes as long as this node has the lock.
async fn publish(engine: &Engine, shared: &Shared, held: &LockGuard) -> Result<(), SlotError> {
    let mut written: HashMap<Arc<str>, (Vec<String>, Instant)> = HashMap::new();
    while held.is_held() {
        let sales = in_turn(engine);
        written.retain(|name, _| sales.iter().any(|sale| *sale.row.id == **name));
        for sale in sales {
            let is_due = |at: &Instant| at.elapsed() >= AGAIN;
            let before = written.get(sale.row.id.as_str());
            if !sale.is_warm() && before.is_some_and(|(_, at)| !is_due(at)) {
                continue;
            }
            let fields = fields(engine, &sale).await;
            if before.is_some_and(|(known, at)| *known == fields && !is_due(at)) {
                continue;
            }
            let mut arguments = vec![held.fence().to_string(), LIVES.as_millis().to_string()];
            arguments.extend_from_slice(&fields);
            let said =
                shared.eval(PUBLISH, &[shared.key("status", &sale.row.id)], &arguments).await?;
            if said.number() != Some(1) {
                // Somebody else publishes since.
                return Ok(());
            }
            written.insert(sale.row.id.as_str().into(), (fields, Instant::now()));
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(())
}

/// The sales whose numbers are of interest, those first whose numbers change.
fn in_turn(engine: &Engine) -> Vec<Arc<SaleState>> {
    let (catalogue, now) = (engine.catalogue(), engine.now());
    let mut sales: Vec<_> =
        catalogue.sales().filter_map(|sale| Some((turn(&sale.row, now)?, sale.clone()))).collect();
    sales.sort_by_key(|(turn, _)| *turn);
    sales.into_iter().map(|(_, sale)| sale).collect()
}

/// How soon a sale's numbers are published, the least first; `None`: not at all. Past sales only
/// add up.
fn turn(row: &SaleRow, now: Millis) -> Option<u8> {
    match row.phase {
        Phase::Open => Some(0),
        Phase::Paused => Some(1),
        Phase::Scheduled => Some(2),
        Phase::Closed => row.closed_at.filter(|at| at.plus(AFTER_END_MS) > now).map(|_| 3),
        Phase::Draft => None,
    }
}

/// Field and value in turn: of the sale, then `item:NAME` with "count start access"; `-` is a count
/// without end.
async fn fields(engine: &Engine, sale: &SaleState) -> Vec<String> {
    let version = sale.version();
    let start = u8::from(sale.row.phase == Phase::Open);
    let mut fields =
        vec!["phase".into(), sale.row.phase.as_str().into(), "version".into(), version];
    for item in &sale.items {
        let numbers = engine.numbers(item).await;
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
    fn open_sales_come_first_and_past_ones_not_at_all() {
        let now = Millis(1_000_000);
        let turn = |phase, closed_at: Option<i64>| {
            let row = SaleRow {
                id: "spring".into(),
                title: "Spring".into(),
                phase,
                starts_at: None,
                ends_at: None,
                front_door: "{}".into(),
                version: 1,
                created_at: Millis(0),
                opened_at: None,
                closed_at: closed_at.map(Millis),
                draining_until: None,
                items: Vec::new(),
            };
            super::turn(&row, now)
        };
        let ended = |ms_ago: i64| turn(Phase::Closed, Some(now.0 - ms_ago));
        let published = [
            turn(Phase::Open, None),
            turn(Phase::Paused, None),
            turn(Phase::Scheduled, None),
            ended(AFTER_END_MS - 1),
        ];
        assert!(published.is_sorted() && published.iter().all(Option::is_some), "{published:?}");
        assert_eq!(
            [turn(Phase::Draft, None), ended(AFTER_END_MS), turn(Phase::Closed, None)],
            [None; 3]
        );
    }
}
