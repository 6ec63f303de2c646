//! What this node's memory knows about an item, for the steps of a reconciliation.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use doorbuster_core::{SlotKey, Units};
use doorbuster_steps::slot_reconciliation::{ItemView, POOL_REST_MS, Portions};

use crate::catalogue::{ItemState, SaleState};
use crate::node::Node;

pub(super) struct ItemInMemory<'a> {
    pub(super) node: &'a Node,
    pub(super) item: &'a ItemState,
    pub(super) sale: Arc<SaleState>,
}

/// Returns how many units each of the item's slots gets from the pool at a time.
pub(super) fn portions(node: &Node, item: &ItemState) -> Portions {
    let nodes =
        (!node.layout().reaches_all_slots()).then(|| node.live_nodes().count().now().into());
    Portions::new(item.row.spread, item.gauge.counts().total, nodes)
}

impl ItemView for ItemInMemory<'_> {
    fn slots(&self) -> Vec<SlotKey> {
        self.item.slots.to_vec()
    }

    fn is_in_spread(&self, slot: SlotKey) -> bool {
        self.node.layout().has_slot(&self.item.row.spread, slot.index)
    }

    fn reaches_all_slots(&self) -> bool {
        self.node.layout().reaches_all_slots()
    }

    fn portions(&self) -> Portions {
        portions(self.node, self.item)
    }

    fn limit(&self) -> u32 {
        self.item.row.limit
    }

    fn pool(&self) -> u64 {
        self.item.gauge.open_pool()
    }

    fn pool_rest_ms(&self) -> u64 {
        let until = self.item.work.pool_rests_until.load(Ordering::Acquire);
        let rest = until - self.node.now().0;
        // If the clock was set back after `until` was computed, `rest` may be hours. Such a value
        // is ignored.
        if (0..=POOL_REST_MS).contains(&rest) { rest.unsigned_abs() } else { 0 }
    }

    fn rest_pool(&mut self) {
        let until = self.node.now().plus(POOL_REST_MS);
        self.item.work.pool_rests_until.store(until.0, Ordering::Release);
    }

    fn first_demand(&self) -> Option<(SlotKey, Units)> {
        self.item.work.unit_demand.first().map(|demand| (demand.slot, demand.units))
    }

    fn leads(&self) -> bool {
        self.node.control().leads()
    }

    fn halts(&self) -> bool {
        let is_own = self.node.layout().is_node_local();
        self.sale.is_draining() || (is_own && self.node.lifecycle().is_stopping())
    }

    fn may_resume(&mut self, halts: bool) -> bool {
        let stopped_here = self.item.work.stopped_here.swap(halts, Ordering::AcqRel);
        self.node.layout().is_node_local() || stopped_here || self.leads()
    }
}
