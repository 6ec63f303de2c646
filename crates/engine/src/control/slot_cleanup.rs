//! Deletes the data of ended sales from shared slots. The node that closes a sale may fail to reach
//! a slot, or may stop before it has deleted all data. So this job deletes the remaining data.
use std::collections::HashSet;
use std::sync::Arc;

use doorbuster_core::{Phase, SlotKey};
use futures_util::StreamExt;

use crate::engine::Engine;
use crate::scheduler::{NextRun, Work};

/// The job still checks a sale's slots for this long after the sale's end. After this time, an
/// operator must delete data that remains.
const AFTER_END_MS: i64 = 7 * 86_400_000;
/// The number of slots that get a request at the same time.
const ASKED_AT_ONCE: usize = 16;

/// Deletes the data of ended sales from shared slots, until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    if engine.node.layout().is_node_local() {
        // Slots in node memory end with the process, so this job has nothing to do.
        return std::future::pending().await;
    }
    let mut gone = HashSet::new();
    let mut turns = engine.node.turns(Work::Retirement);
    loop {
        turns.wait(NextRun::Idle).await;
        retire(&engine, &mut gone).await;
    }
}

/// Asks every slot of a recently ended sale to delete its data. Slots in `gone` have no data, so
/// they are not asked again.
async fn retire(engine: &Engine, gone: &mut HashSet<SlotKey>) {
    let since = engine.node.now().plus(-AFTER_END_MS);
    let over: HashSet<SlotKey> = engine
        .node
        .catalogue()
        .sales()
        .filter(|sale| {
            sale.row.phase == Phase::Closed && sale.row.closed_at.is_some_and(|at| at > since)
        })
        .flat_map(|sale| &sale.items)
        .flat_map(|item| item.reached_slots())
        .collect();
    gone.retain(|slot| over.contains(slot));
    let left = over.difference(gone).copied().collect();
    gone.extend(retire_slots(engine, left).await);
}

/// Asks each slot to delete its data. Returns the slots that have no data now.
pub(super) async fn retire_slots(engine: &Engine, slots: Vec<SlotKey>) -> Vec<SlotKey> {
    let replies = futures_util::stream::iter(slots).map(|slot| async move {
        match engine.slots().retire(slot).await {
            Ok(is_gone) => is_gone.then_some(slot),
            Err(error) => {
                tracing::debug!(%error, %slot, "failed to retire a slot");
                None
            }
        }
    });
    replies.buffer_unordered(ASKED_AT_ONCE).filter_map(async |slot| slot).collect().await
}
