//! What this node's memory knows about one purchase request, for the steps of the purchase.
use doorbuster_core::slot::TicketRequest;
use doorbuster_core::sold_out::FreeUnits;
use doorbuster_core::{Millis, Phase, RequestHash, SlotKey};
use doorbuster_steps::memory::{NodeMemory, Queued};
use doorbuster_steps::purchase::NodeView;

use crate::catalogue::{ItemState, SaleState};
use crate::node::Node;

pub(super) struct RequestView<'a, T = ()> {
    pub(super) node: &'a Node,
    pub(super) sale: &'a SaleState,
    pub(super) item: &'a ItemState,
    pub(super) request: RequestHash,
    /// The request in the form that slots get. `()` if this view is used only to refuse a request
    /// from memory.
    pub(super) ticket: T,
}

impl<T> NodeMemory for RequestView<'_, T> {
    fn free(&self) -> FreeUnits {
        self.item.gauge.free()
    }

    fn phase(&self) -> (Phase, Option<Millis>) {
        (self.sale.row.phase, self.sale.row.starts_at)
    }

    fn is_stopping(&self) -> bool {
        self.sale.is_draining() || self.node.lifecycle().is_stopping()
    }

    fn may_hold(&self) -> bool {
        let holders = self.node.holders();
        holders.may_hold(self.request)
            || holders.queued_requests.contains(self.request)
            || (self.sale.row.phase == Phase::Closed && self.sale.is_long_over(self.node.now()))
    }

    fn age_ms(&self) -> i64 {
        self.node.memory_age_ms()
    }
}

impl NodeView for RequestView<'_, &TicketRequest> {
    fn holds(&self) -> bool {
        self.node.holders().holds(self.request)
    }

    fn queued(&self) -> Option<Queued> {
        self.node.holders().queued_requests.find(self.request, self.node.now())
    }

    fn store_now(&self) -> Millis {
        self.node.now()
    }

    fn used_at_limit(&self) -> Option<u32> {
        let TicketRequest { buyer_hash, units, limit, .. } = *self.ticket;
        let as_of = self.node.store().published_as_of();
        let at_limit = &self.item.work.at_limit;
        at_limit.refuses(buyer_hash, units, limit, self.ended_orders(), as_of)
    }

    fn ended_orders(&self) -> u64 {
        self.item.work.feed.ended_orders()
    }

    fn is_behind(&self, slot: SlotKey, ended_orders: u64) -> bool {
        self.item.work.feed.is_behind(slot, ended_orders)
    }

    fn has_other_slots(&self) -> bool {
        self.item.has_other_slots(self.node.layout())
    }

    fn reaches_all_slots(&self) -> bool {
        self.node.layout().reaches_all_slots()
    }

    fn is_node_local(&self) -> bool {
        self.node.layout().is_node_local()
    }

    fn is_only_node(&self) -> bool {
        self.node.layout().is_single_node()
    }

    fn first_slot(&mut self) -> Option<SlotKey> {
        self.item.home(self.ticket)
    }

    fn second_slot(&mut self, first: SlotKey) -> Option<SlotKey> {
        self.item.second_slot(first, self.ticket)
    }

    fn every_slot(&mut self) -> Vec<SlotKey> {
        self.item.every_slot(self.ticket)
    }
}
