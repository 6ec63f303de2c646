//! Publishes each sale's `count`, `start` and `access` in the Redis that nodes share, when they change and at least each second, so that whatever
//! stands in front (an edge, a gateway, another program) reads them from a replica there and asks no node. One node of all does it, by the lock.
//! Nothing here reads them back.
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::Phase;
use doorbuster_slots::{Held, Shared, SlotError};
use tokio::time::Instant;

use crate::catalogue::SaleState;
use crate::engine::Engine;

/// Between two looks at the numbers.
const EVERY: Duration = Duration::from_millis(250);
/// What did not change is written again so often.
const AGAIN: Duration = Duration::from_secs(1);
/// What is not written again is forgotten then: better no numbers than old ones.
const LIVES: Duration = Duration::from_secs(5);
/// How long the lock is waited for before the next try.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after the Redis was away.
const RETRY: Duration = Duration::from_secs(1);
/// Of the lock.
const NAME: &str = "status";
const PUBLISH: &str = include_str!("publish.lua");

/// Publishes until the program stops, whenever it is this node's turn.
pub(super) async fn run(engine: Arc<Engine>) {
    let Some((shared, locks)) = engine.cache().shared() else { return std::future::pending().await };
    loop {
        match locks.take(NAME, PATIENCE).await {
            Ok(Some(held)) => {
                if publish(&engine, shared, &held).await.is_err() {
                    tokio::time::sleep(RETRY).await;
                }
                held.release().await;
            }
            Ok(None) => {}
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Publishes as long as this node has the lock.
async fn publish(engine: &Engine, shared: &Shared, held: &Held) -> Result<(), SlotError> {
    let mut written: HashMap<Arc<str>, (Vec<String>, Instant)> = HashMap::new();
    while held.is_held() {
        let sales: Vec<_> = engine.catalogue().sales().filter(|s| s.row.phase != Phase::Draft).cloned().collect();
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
            let said = shared.eval(PUBLISH, &[shared.key("status", &sale.row.id)], &arguments).await?;
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

/// Field and value in turn: of the sale, then `item:NAME` with "count start access"; `-` is a count without end.
async fn fields(engine: &Engine, sale: &SaleState) -> Vec<String> {
    let version = sale.version();
    let start = u8::from(sale.row.phase == Phase::Open);
    let mut fields = vec!["phase".into(), sale.row.phase.as_str().into(), "version".into(), version];
    for item in &sale.items {
        let numbers = engine.numbers(item).await;
        let mut text = numbers.count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        // Writing into a string cannot fail.
        let _ = write!(text, " {start} {}", numbers.access);
        fields.extend([format!("item:{}", item.row.name), text]);
    }
    fields
}
