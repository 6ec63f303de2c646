//! Deletes the data of slots that no sale needs any more. These slots belong to ended sales, or
//! have left their items' spreads. Data remains if the node that closed a sale could not delete the
//! data.
//!
//! The grants in the store name these slots. If a slot still has tickets, the leader settles them
//! first. A leader without the role `settle` cannot settle these tickets, so their slot keeps its
//! data.
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{Epoch, Grant, Phase, SlotKey};
use doorbuster_slots::Slots;
use futures_util::StreamExt;

use crate::catalogue::ItemState;
use crate::error::EngineError;
use crate::node::Node;
use crate::scheduler::{NextRun, Turn, Work};

/// For how long after a sale's end the job checks the sale's slots. If data remains after this
/// time, an operator must delete it.
const AFTER_END_MS: i64 = 7 * 86_400_000;
/// The maximum number of slots that are asked to delete their data at the same time.
const ASKED_AT_ONCE: usize = 16;
/// How long to wait for the answer of one slot. A slot that does not answer is asked again later.
const ANSWER_MAX: Duration = Duration::from_secs(1);

pub(super) async fn run(node: Arc<Node>, slots: Slots) {
    let mut cleanup = SlotCleanup::default();
    let mut turns = node.turns(Work::Retirement);
    loop {
        let turn = turns.wait(NextRun::Idle).await;
        // Slots in the memory of nodes end with their process, so the slots of ended sales need no
        // cleanup there. But in every layout, a slot that left its item's spread may still have
        // tickets.
        if !node.layout().is_node_local() {
            cleanup.run(&node, &slots).await;
        }
        let found = find_leftovers(&node, turn).await;
        retire_leftovers(&node, &slots, found).await;
    }
}

#[derive(Default)]
struct SlotCleanup {
    /// For each sale that ended recently, the slots that ever had a grant.
    slots: HashMap<String, Vec<SlotKey>>,
    /// The slots that have no data any more, and so are not asked again.
    gone: HashSet<SlotKey>,
}

impl SlotCleanup {
    async fn run(&mut self, node: &Node, slots: &Slots) {
        let since = node.now().plus(-AFTER_END_MS);
        let mut ended = HashSet::new();
        for sale in node.catalogue().sales() {
            if sale.row.phase == Phase::Closed && sale.row.closed_at.is_some_and(|at| at > since) {
                ended.insert(sale.row.id.clone());
            }
        }
        self.slots.retain(|sale, _| ended.contains(sale));
        for sale in ended {
            if self.slots.contains_key(&sale) {
                continue;
            }
            match slots_with_grants(node, &sale).await {
                Ok(mut with_grants) => {
                    with_grants.retain(|slot| !slot.is_waitlist());
                    self.slots.insert(sale, with_grants);
                }
                Err(error) => tracing::debug!(%error, sale, "failed to read the slots of a sale"),
            }
        }
        let all: HashSet<SlotKey> = self.slots.values().flatten().copied().collect();
        self.gone.retain(|slot| all.contains(slot));
        let asked: Vec<SlotKey> = all.difference(&self.gone).copied().collect();
        let mut queued = BTreeSet::new();
        for (slot, is_gone) in retire_slots(slots, asked).await {
            match is_gone {
                true => drop(self.gone.insert(slot)),
                false => drop(queued.insert(slot)),
            }
        }
        node.control().set_unretired(queued);
    }
}

/// Returns the slots that left their items' spreads and have no open grant, each with the epoch of
/// its newest grant. At the first turn, searches the items of all sales that have not ended. At
/// later turns, searches an item in two cases only: if a slot was removed from the item's list of
/// leaving slots, or if the last search failed.
async fn find_leftovers(node: &Node, turn: Turn) -> Vec<(SlotKey, Epoch)> {
    let mut items: Vec<Arc<ItemState>> = Vec::new();
    if node.layout().reaches_all_slots() {
        let catalogue = node.catalogue();
        for sale in catalogue.sales().filter(|sale| sale.row.phase != Phase::Closed) {
            items.extend(sale.items.iter().cloned());
        }
    }
    // `take_removed` also resets the item's flag. So this line calls it for every item, although
    // the first turn keeps all items anyway.
    items.retain(|item| item.work.leaving.take_removed() || turn == Turn::First);
    let mut found = Vec::new();
    for item in items {
        match node.store().grants(item.row.id).await {
            Ok(mut grants) => {
                // The grants are sorted by slot, and each slot's newest grant comes first. Only
                // this newest grant stays.
                grants.dedup_by_key(|grant| grant.slot);
                let spread = &item.row.spread;
                let has_left = |grant: &&Grant| {
                    !grant.open && !node.layout().has_slot(spread, grant.slot.index)
                };
                found.extend(grants.iter().filter(has_left).map(|grant| (grant.slot, grant.epoch)));
            }
            Err(error) => {
                tracing::debug!(%error, item = %item.row.name, "failed to read an item's grants");
                item.work.leaving.set_removed();
            }
        }
    }
    found
}

/// Asks the slots in `found`, and the leftovers of earlier calls, to delete their data. A slot that
/// has tickets or does not answer is recorded as a leftover, and a later call asks it again. In the
/// meantime, the leader settles the slot's tickets.
pub(crate) async fn retire_leftovers(node: &Node, slots: &Slots, found: Vec<(SlotKey, Epoch)>) {
    let catalogue = node.catalogue().clone();
    let asked = found.into_iter().chain(node.control().leftovers());
    let each = futures_util::stream::iter(asked).map(|(slot, closed)| {
        let has_left = catalogue
            .item_by_id(slot.item)
            .is_some_and(|item| !node.layout().has_slot(&item.row.spread, slot.index));
        async move {
            // A slot that is in the spread again is no leftover: nodes read its queue, as they read
            // the queue of every slot of the spread.
            match has_left && retire(slots, slot, Some(closed)).await != Some(true) {
                true => node.control().add_leftover(slot, closed),
                false => node.control().forget_leftover(slot, closed),
            }
        }
    });
    each.buffer_unordered(ASKED_AT_ONCE).collect::<()>().await;
}

/// Returns the slots that have had a grant since the sale was created. Even a draft may have such
/// slots, because it may have been scheduled earlier.
pub(crate) async fn slots_with_grants(node: &Node, id: &str) -> Result<Vec<SlotKey>, EngineError> {
    let Some(sale) = node.catalogue().sale(id).cloned() else { return Ok(Vec::new()) };
    let mut slots = Vec::new();
    for item in &sale.items {
        slots.extend(node.store().grants(item.row.id).await?.iter().map(|grant| grant.slot));
    }
    // The grants are sorted by slot, so this removes all duplicates.
    slots.dedup();
    Ok(slots)
}

/// Asks each of these slots of an ended or deleted sale to delete its data. A slot with tickets
/// keeps its data. Returns each slot that answered, with `true` if the slot has no data any more.
pub(crate) async fn retire_slots(slots: &Slots, retired: Vec<SlotKey>) -> Vec<(SlotKey, bool)> {
    let replies = futures_util::stream::iter(retired)
        .map(|slot| async move { Some((slot, retire(slots, slot, None).await?)) });
    replies.buffer_unordered(ASKED_AT_ONCE).filter_map(async |reply| reply).collect().await
}

/// Asks a slot to delete its data. Returns whether the slot has no data now, or `None` if the slot
/// did not answer in time. `closed` is `None` if the sale has ended or was deleted. Otherwise, it
/// is the epoch of the slot's newest closed grant.
async fn retire(slots: &Slots, slot: SlotKey, closed: Option<Epoch>) -> Option<bool> {
    match tokio::time::timeout(ANSWER_MAX, slots.retire(slot, closed)).await {
        Ok(Ok(is_gone)) => Some(is_gone),
        Ok(Err(error)) => {
            tracing::debug!(%error, %slot, "failed to retire a slot");
            None
        }
        Err(_) => {
            tracing::debug!(%slot, "failed to retire a slot in time");
            None
        }
    }
}
