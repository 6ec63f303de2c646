//! Simulates a node's memory of the buyers who have reached the limit of an item.
use doorbuster_core::order::ChangeOutcome;

use super::World;
use crate::names::NAMES;
use crate::request::BuyerRequest;
use crate::store::{Tx, TxResult};

impl World {
    pub(super) fn count_ended_order(&mut self, tx: &Tx, done: &TxResult) {
        if let (Tx::End(..), TxResult::Ended(ChangeOutcome::Done(order))) = (tx, done) {
            self.ended_orders[order.item.0 as usize - 1] += 1;
        }
    }

    /// Returns the number of ended orders of the request's item that the node knows of. Each
    /// failover counts as one ended order of each item, because a failover may lose orders.
    pub(super) fn known_ended_orders(&self, purchase: &BuyerRequest) -> u64 {
        let node = &self.nodes[usize::from(purchase.node)];
        node.ended_orders[purchase.item.0 as usize - 1] + node.failovers
    }

    /// Returns the buyer's units if the node knows, from a count in its memory, that the request
    /// would exceed the limit.
    pub(super) fn used_at_limit(&self, purchase: &BuyerRequest) -> Option<u32> {
        let item = purchase.item.0 as usize - 1;
        let node = &self.nodes[usize::from(purchase.node)];
        let snapshot = node.snapshot.as_ref().map_or(0, |snapshot| snapshot.version);
        let limit = u32::from(self.setup.items[item].limit);
        node.limit_counts[item].refuses(
            NAMES.buyer_hash(purchase.buyer),
            (purchase.units, limit),
            self.known_ended_orders(purchase),
            |read_at| read_at <= snapshot,
        )
    }

    /// Makes the node remember `used`, the number of the buyer's units in the store. `ended_orders`
    /// is the number of ended orders that the node knew of before it read `used`.
    pub(super) fn learn_used(&mut self, purchase: &BuyerRequest, used: u32, ended_orders: u64) {
        let (buyer, read_at) = (NAMES.buyer_hash(purchase.buyer), self.store.version);
        let node = &mut self.nodes[usize::from(purchase.node)];
        node.limit_counts[purchase.item.0 as usize - 1].learn(buyer, used, ended_orders, read_at);
    }
}
