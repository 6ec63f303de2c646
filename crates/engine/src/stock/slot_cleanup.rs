//! Deletes the data that remains in slots of ended sales, and in slots that left their items'
//! spreads. The node that closed a sale may have failed to delete this data.
//!
//! The store's rows name these slots. If a slot still has tickets, the leader settles them first. A
//! leader without the role `settle` cannot settle them, so the slot keeps its data.
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

/// The job checks a sale's slots for this long after the sale's end. After this time, an operator
/// must delete data that remains.
const AFTER_END_MS: i64 = 7 * 86_400_000;
/// The number of slots that get a request at the same time.
const ASKED_AT_ONCE: usize = 16;
/// The longest wait for the answer of one slot. A slot that does not answer is asked again later.
const ANSWER_MAX: Duration = Duration::from_secs(1);

pub(super) async fn run(node: Arc<Node>, slots: Slots) {
    let mut cleanup = SlotCleanup::default();
    let mut turns = node.turns(Work::Retirement);
    loop {
        let turn = turns.wait(NextRun::Idle).await;
        // Slots in node memory need no cleanup after a sale, because they end with the process. But
        // in every layout, a slot that left its item's spread may still have tickets.
        if !node.layout().is_node_local() {
            cleanup.run(&node, &slots).await;
        }
        let found = find_leftovers(&node, turn).await;
        retire_leftovers(&node, &slots, found).await;
    }
}

#[derive(Default)]
struct SlotCleanup {
    /// For each sale, the slots that ever had a grant.
    slots: HashMap<String, Vec<SlotKey>>,
    /// The slots without data, which are not asked again.
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

/// Returns the slots that left their items' spreads and have no open grant, with the epochs of
/// their newest grants. At the first turn, reads the items of all sales that have not ended. At
/// later turns, reads only items whose slots may have left since the last turn.
async fn find_leftovers(node: &Node, turn: Turn) -> Vec<(SlotKey, Epoch)> {
    let mut items: Vec<Arc<ItemState>> = Vec::new();
    if node.layout().reaches_all_slots() {
        let catalogue = node.catalogue();
        for sale in catalogue.sales().filter(|sale| sale.row.phase != Phase::Closed) {
            items.extend(sale.items.iter().cloned());
        }
    }
    // `take_removed` must run for every item, also at the first turn.
    items.retain(|item| item.work.leaving.take_removed() || turn == Turn::First);
    let mut found = Vec::new();
    for item in items {
        match node.store().grants(item.row.id).await {
            Ok(mut grants) => {
                // The newest grant of each slot comes first.
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

/// Asks the slots in `found`, and the leftovers of earlier calls, to delete their data. If a slot
/// has tickets or does not answer, the job asks it again later. Until then, the leader settles the
/// tickets.
pub(crate) async fn retire_leftovers(node: &Node, slots: &Slots, found: Vec<(SlotKey, Epoch)>) {
    let catalogue = node.catalogue().clone();
    let asked = found.into_iter().chain(node.control().leftovers());
    let each = futures_util::stream::iter(asked).map(|(slot, closed)| {
        let has_left = catalogue
            .item_by_id(slot.item)
            .is_some_and(|item| !node.layout().has_slot(&item.row.spread, slot.index));
        async move {
            // A slot that is in the spread again is no leftover: settlers read its queue in any
            // case.
            match has_left && retire(slots, slot, Some(closed)).await != Some(true) {
                true => node.control().add_leftover(slot, closed),
                false => node.control().forget_leftover(slot, closed),
            }
        }
    });
    each.buffer_unordered(ASKED_AT_ONCE).collect::<()>().await;
}

/// Returns the slots that got a grant since the sale was created. A draft has such slots if it was
/// scheduled before.
pub(crate) async fn slots_with_grants(node: &Node, id: &str) -> Result<Vec<SlotKey>, EngineError> {
    let Some(sale) = node.catalogue().sale(id).cloned() else { return Ok(Vec::new()) };
    let mut slots = Vec::new();
    for item in &sale.items {
        slots.extend(node.store().grants(item.row.id).await?.iter().map(|grant| grant.slot));
    }
    // The grants of one slot follow each other.
    slots.dedup();
    Ok(slots)
}

/// Asks each slot of an ended or deleted sale to delete its data. Returns the slots that answered,
/// and whether each has no data now. A slot with tickets keeps its data.
pub(crate) async fn retire_slots(slots: &Slots, retired: Vec<SlotKey>) -> Vec<(SlotKey, bool)> {
    let replies = futures_util::stream::iter(retired)
        .map(|slot| async move { Some((slot, retire(slots, slot, None).await?)) });
    replies.buffer_unordered(ASKED_AT_ONCE).filter_map(async |reply| reply).collect().await
}

/// Asks a slot to delete its data. Returns whether the slot has no data now, or `None` if no answer
/// came in time. `closed` is the epoch of the slot's closed grant, or `None` if the sale has ended
/// or was deleted.
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
