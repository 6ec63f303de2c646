//! Adds partitions to an item with an automatic spread if one of the item's slots has too many
//! tickets that wait to be settled. The job runs every second on the leader, and only if all nodes
//! share the slots.
//!
//! `doorbuster_core::respread::AutoWidth` decides when to add partitions. It never removes
//! partitions, so their number cannot oscillate.
use std::collections::HashMap;
use std::sync::Arc;

use doorbuster_core::limits::SLOTS_SERVED_MAX;
use doorbuster_core::respread::{self, AutoWidth};
use doorbuster_core::{ItemId, Phase, Spread};
use doorbuster_store::{SaleRow, SpreadOutcome};
use tokio::time::Instant;

use super::SaleControl;
use crate::catalogue::{ItemState, SaleState};
use crate::control::concurrent_slots;
use crate::error::EngineError;
use crate::outage_log;
use crate::scheduler::{NextRun, Turn, Work};
use crate::slot_layout::SlotLayout;

/// Every settler needs a connection for each slot. So if all sales together would have more slots
/// than this, a new item starts with only one partition.
const SLOTS_FOR_WIDE_STARTS: usize = 24;

#[derive(Debug, Default)]
pub(crate) struct Observed {
    width: AutoWidth,
    /// Whether this node has already logged that the nodes cannot serve more slots.
    logged_limit: bool,
}

pub(super) async fn run(sale_control: Arc<SaleControl>) {
    if sale_control.node.layout() != SlotLayout::Shared {
        return std::future::pending().await;
    }
    let (mut observed, began) = (HashMap::new(), Instant::now());
    let mut turns = sale_control.node.turns(Work::Partitions);
    loop {
        if turns.wait(NextRun::Idle).await == Turn::First {
            observed.clear();
        }
        look_at_all(&sale_control, &mut observed, began).await;
    }
}

async fn look_at_all(
    sale_control: &SaleControl,
    observed: &mut HashMap<ItemId, Observed>,
    began: Instant,
) {
    let catalogue = sale_control.node.catalogue().clone();
    let open: Vec<(&Arc<SaleState>, &Arc<ItemState>)> = catalogue
        .sales()
        .filter(|sale| sale.row.phase == Phase::Open && !sale.is_draining())
        .flat_map(|sale| sale.items.iter().map(move |item| (sale, item)))
        .filter(|(_, item)| item.row.spread.auto)
        .collect();
    observed.retain(|id, _| open.iter().any(|(_, item)| item.row.id == *id));
    for (sale, item) in open {
        let seen = observed.entry(item.row.id).or_default();
        if let Err(error) = look(sale_control, sale, item, seen, began).await {
            outage_log::warn!(
                sale_control.node.outage_log(),
                error,
                event = "spread.widen_failed",
                item = format!("{}/{}", item.sale, item.row.name),
                "failed to add partitions to an item; will retry"
            );
        }
    }
}

async fn look(
    sale_control: &SaleControl,
    sale: &SaleState,
    item: &ItemState,
    seen: &mut Observed,
    began: Instant,
) -> Result<(), EngineError> {
    let mut waiting = 0;
    for &slot in &item.slots {
        if let Ok(Some(view)) = sale_control.stock.slots().view(slot).await {
            waiting = waiting.max(view.unacknowledged as u64);
        }
    }
    let now_ms = began.elapsed().as_millis() as i64;
    let spread = item.row.spread;
    let (free, least) = (item.gauge.free().free, u64::from(item.row.limit));
    let Some(partitions) =
        seen.width.observe_load(spread.partitions, waiting, (free, least), now_ms)
    else {
        return Ok(());
    };
    if widen(sale_control, (sale, item), seen, partitions).await? {
        seen.width.confirm(now_ms);
        tracing::info!(
            sale = %sale.row.id,
            item = %item.row.name,
            partitions,
            waiting,
            event = "spread.widened",
            "added partitions to an item"
        );
    }
    Ok(())
}

/// Gives the item this many partitions. Returns `false` if the nodes cannot serve so many slots, or
/// if the sale has changed in the meantime.
pub(crate) async fn widen(
    sale_control: &SaleControl,
    (sale, item): (&SaleState, &ItemState),
    seen: &mut Observed,
    partitions: u32,
) -> Result<bool, EngineError> {
    let more = partitions.saturating_sub(item.row.spread.partitions) as usize;
    let own = sale.items.iter().map(|item| item.slots.len()).sum::<usize>() + more;
    let slots = concurrent_slots(&sale_control.node, &sale.row, own);
    if slots > SLOTS_SERVED_MAX {
        if !std::mem::replace(&mut seen.logged_limit, true) {
            tracing::warn!(
                sale = %sale.row.id,
                item = %item.row.name,
                partitions,
                slots,
                event = "spread.widen_impossible",
                "cannot add partitions to an item, because the nodes would serve too many slots"
            );
        }
        return Ok(false);
    }
    // An operator may have made a change that this node does not know yet. The store then has
    // another version of the sale, and refuses to add partitions.
    let wider = Spread { partitions, ..item.row.spread };
    let set = sale_control.set_spread(item, wider, Some(sale.row.version)).await?;
    Ok(matches!(set, SpreadOutcome::Done(_)))
}

impl SaleControl {
    /// Returns how many partitions each item of a new sale with this many items gets.
    #[must_use]
    pub fn automatic_partitions(&self, items: usize) -> u32 {
        let catalogue = self.node.catalogue();
        let sales = catalogue.sales().filter(|sale| sale.row.phase != Phase::Closed);
        let used = sales.flat_map(|sale| &sale.items).map(|item| item.slots.len()).sum();
        self.partitions_beside(used, items)
    }

    /// Returns how many partitions an existing item gets if its spread becomes automatic. Only the
    /// slots of this sale's other items and of overlapping sales count.
    #[must_use]
    pub fn automatic_partitions_of(&self, sale: &SaleState, item: &ItemState) -> u32 {
        let others = sale.items.iter().filter(|other| other.row.id != item.row.id);
        let own = others.map(|other| other.slots.len()).sum();
        self.partitions_beside(concurrent_slots(&self.node, &sale.row, own), 1)
    }

    /// Returns how many partitions each of `items` items gets if all other items use `used` slots.
    fn partitions_beside(&self, used: usize, items: usize) -> u32 {
        if self.node.layout() != SlotLayout::Shared {
            return 1;
        }
        let wanted = respread::automatic_partitions(self.stock.slots().evidence().servers.len());
        if used + items * wanted as usize > SLOTS_FOR_WIDE_STARTS { 1 } else { wanted }
    }

    /// Chooses again how many partitions each item with an automatic spread has. Called when a
    /// draft is about to enter the phase `next`. The first choice counted the slots of all sales
    /// that had not ended. This choice counts only the slots of sales that may run at the same time
    /// as this sale.
    ///
    /// # Errors
    /// If the store is unreachable.
    pub async fn choose_partitions(
        &self,
        sale: &SaleState,
        next: Phase,
    ) -> Result<(), EngineError> {
        if self.node.layout() != SlotLayout::Shared || sale.row.phase != Phase::Draft {
            return Ok(());
        }
        let (automatic, other): (Vec<_>, Vec<_>) =
            sale.items.iter().partition(|item| item.row.spread.auto);
        let own = other.iter().map(|item| item.slots.len()).sum();
        let planned = SaleRow { phase: next, ..sale.row.clone() };
        let used = concurrent_slots(&self.node, &planned, own);
        let partitions = self.partitions_beside(used, automatic.len());
        let mut version = sale.row.version;
        for item in automatic {
            let spread = item.row.spread;
            if spread.partitions == partitions {
                continue;
            }
            let chosen = Spread { partitions, ..spread };
            match self.set_spread(item, chosen, Some(version)).await? {
                SpreadOutcome::Done(row) => version = row.version,
                // The sale has changed in the meantime, and this node does not know the change yet.
                _ => break,
            }
        }
        Ok(())
    }

    /// Returns the spread of the items of a new sale. It is automatic if all nodes share the slots.
    #[must_use]
    pub fn first_spread(&self, items: usize) -> Spread {
        Spread {
            partitions: self.automatic_partitions(items),
            auto: self.node.layout() == SlotLayout::Shared,
            ..Spread::default()
        }
    }
}
