//! Adds partitions to items with an automatic spread while one slot limits the item's tickets. Runs
//! every second on the leader if all nodes share the slots.
//!
//! `doorbuster_core::respread::AutoWidth` decides when to add partitions. It never removes
//! partitions, so their number cannot oscillate.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::limits::SLOTS_SERVED_MAX;
use doorbuster_core::respread::{self, AutoWidth};
use doorbuster_core::{Epoch, ItemId, Phase, SlotKey, Spread};
use doorbuster_store::SpreadOutcome;
use tokio::time::Instant;

use crate::catalogue::{ItemState, SaleState};
use crate::engine::{Engine, EngineError};
use crate::outages;
use crate::slot_layout::SlotLayout;

/// Time between two checks.
const EVERY: Duration = Duration::from_secs(1);
/// While all sales together have at most this many slots, a new item starts with several
/// partitions. Each slot costs every settler a connection. So with more slots, each new item starts
/// with one partition.
const SLOTS_FOR_WIDE_STARTS: usize = 24;

/// The state of an item at the last check.
#[derive(Debug, Default)]
struct Observed {
    width: AutoWidth,
    /// The number of tickets that each slot had issued under its epoch.
    issued: HashMap<SlotKey, (Epoch, u64)>,
    at: Option<Instant>,
}

/// Checks the items until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    if engine.layout() != SlotLayout::Shared {
        return std::future::pending().await;
    }
    let (mut observed, began) = (HashMap::new(), Instant::now());
    loop {
        tokio::time::sleep(EVERY).await;
        if !engine.control().leads() {
            observed.clear();
            continue;
        }
        let catalogue = engine.catalogue().clone();
        let open: Vec<(&Arc<SaleState>, &Arc<ItemState>)> = catalogue
            .sales()
            .filter(|sale| sale.row.phase == Phase::Open && !sale.is_draining())
            .flat_map(|sale| sale.items.iter().map(move |item| (sale, item)))
            .filter(|(_, item)| item.row.spread.auto)
            .collect();
        observed.retain(|id: &ItemId, _| open.iter().any(|(_, item)| item.row.id == *id));
        for (sale, item) in open {
            let seen: &mut Observed = observed.entry(item.row.id).or_default();
            if let Err(error) = look(&engine, sale, item, seen, began).await {
                outages::warn!(
                    engine.outages(),
                    error,
                    event = "spread.widen_failed",
                    item = format!("{}/{}", item.sale, item.row.name),
                    "failed to add partitions to an item; will retry"
                );
            }
        }
    }
}

async fn look(
    engine: &Engine,
    sale: &SaleState,
    item: &ItemState,
    seen: &mut Observed,
    began: Instant,
) -> Result<(), EngineError> {
    let mut issued = HashMap::with_capacity(item.slots.len());
    for &slot in &item.slots {
        // A slot that does not answer cannot be the busiest slot.
        if let Ok(Some(view)) = engine.slots().view(slot).await {
            issued.insert(slot, (view.epoch, view.n.0));
        }
    }
    let now = Instant::now();
    let millis = seen.at.map_or(0, |at| (now - at).as_millis() as u64);
    let busiest = busiest(&seen.issued, &issued, millis);
    (seen.issued, seen.at) = (issued, Some(now));
    let spread = item.row.spread;
    let (free, least) = (item.gauge.free().free, u64::from(item.row.limit));
    let now_ms = (now - began).as_millis() as i64;
    let Some(partitions) =
        seen.width.observe_load(spread.partitions, busiest, (free, least), now_ms)
    else {
        return Ok(());
    };
    let more = (partitions - spread.partitions) as usize;
    let own = sale.items.iter().map(|item| item.slots.len()).sum::<usize>() + more;
    if engine.concurrent_slots(&sale.row, own) > SLOTS_SERVED_MAX {
        return Ok(());
    }
    // An operator may have changed the spread, and this node may not know it yet. In this case the
    // version check refuses this node's change.
    let wider = Spread { partitions, ..spread };
    let set = engine.set_spread(item, wider, Some(sale.row.version)).await?;
    if matches!(set, SpreadOutcome::Done(_)) {
        let id = &sale.row.id;
        tracing::info!(
            sale = %id,
            item = %item.row.name,
            partitions,
            busiest,
            event = "spread.widened",
            "added partitions to an item"
        );
    }
    Ok(())
}

/// Returns the tickets that the busiest slot issued per second between two checks, which are
/// `millis` apart.
fn busiest(
    before: &HashMap<SlotKey, (Epoch, u64)>,
    now: &HashMap<SlotKey, (Epoch, u64)>,
    millis: u64,
) -> u64 {
    let since = |(slot, (epoch, n)): (&SlotKey, &(Epoch, u64))| {
        let earlier = before.get(slot).filter(|(same, _)| same == epoch)?;
        (n.saturating_sub(earlier.1) * 1_000).checked_div(millis)
    };
    now.iter().filter_map(since).max().unwrap_or(0)
}

impl Engine {
    /// Returns the number of partitions for each new item, if `items` new items are created.
    #[must_use]
    pub fn automatic_partitions(&self, items: usize) -> u32 {
        if self.layout() != SlotLayout::Shared {
            return 1;
        }
        let wanted = respread::automatic_partitions(self.slots().evidence().servers.len());
        let catalogue = self.catalogue();
        let sales = catalogue.sales().filter(|sale| sale.row.phase != Phase::Closed);
        let used: usize = sales.flat_map(|sale| &sale.items).map(|item| item.slots.len()).sum();
        if used + items * wanted as usize > SLOTS_FOR_WIDE_STARTS { 1 } else { wanted }
    }

    /// Returns the spread of a new sale's items. It is automatic if all nodes share the slots.
    #[must_use]
    pub fn first_spread(&self, items: usize) -> Spread {
        Spread {
            partitions: self.automatic_partitions(items),
            auto: self.layout() == SlotLayout::Shared,
            ..Spread::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_slot_is_measured_between_two_checks_under_one_epoch() {
        let slot = |index| SlotKey { item: ItemId(1), index };
        let before = HashMap::from([(slot(0), (Epoch(1), 100)), (slot(1), (Epoch(1), 900))]);
        let now = HashMap::from([
            (slot(0), (Epoch(1), 700)),
            (slot(1), (Epoch(2), 5_000)),
            (slot(2), (Epoch(1), 9_000)),
        ]);
        assert_eq!(busiest(&before, &now, 2_000), 300, "new slots and epochs do not count yet");
        assert_eq!(busiest(&before, &now, 0), 0);
        assert_eq!(busiest(&HashMap::new(), &now, 1_000), 0);
    }
}
