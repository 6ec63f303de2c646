//! Drops what slots that nodes share still keep of sales that are over: whoever closes a sale may
//! not reach them, or end before it has.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{Phase, SlotKey};
use futures_util::StreamExt;

use crate::engine::Engine;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(2);
/// How long after its end a sale's slots are looked at; what is left then is an operator's to drop.
const AFTER_END_MS: i64 = 7 * 86_400_000;
/// Slots that are asked at the same time.
const ASKED_AT_ONCE: usize = 16;

/// Drops it until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    if engine.layout().is_own() {
        // They go with the process.
        return std::future::pending().await;
    }
    let mut gone = HashSet::new();
    loop {
        tokio::time::sleep(EVERY).await;
        if engine.control().leads() {
            retire(&engine, &mut gone).await;
        }
    }
}

/// Asks every slot of a sale that ended lately, until it has said once that nothing is left.
async fn retire(engine: &Engine, gone: &mut HashSet<SlotKey>) {
    let since = engine.now().plus(-AFTER_END_MS);
    let over: HashSet<SlotKey> = engine
        .catalogue()
        .sales()
        .filter(|sale| {
            sale.row.phase == Phase::Closed && sale.row.closed_at.is_some_and(|at| at > since)
        })
        .flat_map(|sale| &sale.items)
        .flat_map(|item| item.slots.iter().copied())
        .collect();
    gone.retain(|slot| over.contains(slot));
    let left: Vec<SlotKey> = over.difference(gone).copied().collect();
    let asked = futures_util::stream::iter(left)
        .map(|slot| async move { (slot, engine.slots().retire(slot).await) });
    let mut asked = asked.buffer_unordered(ASKED_AT_ONCE);
    while let Some((slot, said)) = asked.next().await {
        match said {
            Ok(true) => drop(gone.insert(slot)),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, %slot, "a slot is retired later"),
        }
    }
}
