//! What a node shows of the truth: written by the store's own thread after each commit, before anybody hears of it.
use std::sync::Arc;

use arc_swap::ArcSwap;
use doorbuster_core::{IdKey, ItemId, OrderState};
use doorbuster_store::Committed;

use crate::catalogue::Catalogue;
use crate::control::Control;
use crate::holders::Holders;
use crate::notify::{Hub, Kind};

/// What commits are published to; the store's own thread writes it.
#[derive(Debug)]
pub(super) struct Views {
    pub(super) catalogue: ArcSwap<Catalogue>,
    pub(super) holders: Holders,
    pub(super) hub: Hub,
    pub(super) control: Control,
    pub(super) key: IdKey,
}

impl Views {
    /// Shows a commit to this node, in this order: who holds an order, then the counts that may say "sold out", then the hints.
    pub(super) fn publish(&self, committed: &Committed) {
        let catalogue = self.catalogue.load();
        let mut woken: Option<ItemId> = None;
        for order in &committed.orders {
            if order.state == OrderState::Reserved {
                self.holders.insert(self.key.request_hash(order.buyer.as_str(), order.key.as_str()).half());
            } else if woken != Some(order.item) {
                if let Some(item) = catalogue.item_of(order.item) {
                    item.feed.tell();
                }
                self.control.wake(order.item);
                woken = Some(order.item);
            }
        }
        for counts in &committed.counts {
            let Some(item) = catalogue.item_of(counts.item) else { continue };
            item.gauge.publish(*counts);
            self.control.announce(&item.sale);
            if counts.pool > 0 {
                self.control.wake(counts.item);
            }
        }
        if self.hub.readers() > 0 {
            for order in &committed.orders {
                self.hub.publish(Kind::Order(Arc::new(order.clone())));
            }
        }
    }
}
