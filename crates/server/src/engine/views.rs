//! What a node shows of the truth: written by the store's own thread after each commit, before
//! anybody hears of it.
use std::sync::Arc;

use arc_swap::ArcSwap;
use doorbuster_core::{IdKey, ItemId, OrderState, Verdict};
use doorbuster_store::Committed;

use crate::catalogue::Catalogue;
use crate::control::Control;
use crate::failpoint::{self, Point};
use crate::holders::Holders;
use crate::notify::{EventKind, Hub};
use crate::waiters::{About, Told, Waiters};

/// What commits are published to; the store's own thread writes it.
#[derive(Debug)]
pub(super) struct Views {
    pub(super) catalogue: ArcSwap<Catalogue>,
    pub(super) holders: Holders,
    pub(super) hub: Hub,
    pub(super) control: Control,
    pub(super) waiters: Waiters,
    pub(super) key: IdKey,
}

impl Views {
    /// Shows a commit, of this node or of another, in this order: who holds an order, then the
    /// counts that may say "sold out", then verdicts that are waited for here, then the hints. An
    /// order may come twice.
    pub(super) fn publish(&self, committed: &Committed) {
        if !committed.orders.is_empty() {
            failpoint::pass(Point::Committed);
        }
        let catalogue = self.catalogue.load();
        let mut woken: Option<ItemId> = None;
        for order in &committed.orders {
            // In any state: another node's order may have ended before this node heard of it.
            self.holders.insert(
                self.key.request_hash(order.buyer.as_str(), order.key.as_str()).low_64_bits(),
            );
            if order.state != OrderState::Reserved && woken != Some(order.item) {
                if let Some(item) = catalogue.item_of(order.item) {
                    item.work.feed.tell();
                }
                self.control.wake_by_commit(order.item);
                woken = Some(order.item);
            }
        }
        for counts in &committed.counts {
            let Some(item) = catalogue.item_of(counts.item) else { continue };
            item.gauge.publish(*counts);
            // Also when the counts are known: they may have been read from the store before this
            // commit was heard of, and nobody was told.
            self.control.announce(&item.sale);
            if item.gauge.open_pool() > 0 {
                self.control.wake_by_pool(counts.item);
            }
            if counts.kept > 0 {
                self.control.serve_lines();
            }
            if !item.work.wants.is_empty() {
                self.control.wake(counts.item);
            }
        }
        for (token, resolved) in &committed.told {
            let refused = !matches!(resolved.verdict, Verdict::Reserved);
            let told = self.waiters.tell(*token, resolved.clone());
            match told {
                Told::Unheard(About { item, buyer, units, .. }) if refused => {
                    let (id, verdict) = (resolved.id, resolved.verdict);
                    self.hub.publish(EventKind::Refused { id, item, buyer, units, verdict });
                }
                Told::Unknown if refused && self.hub.may_have_readers() => {
                    self.control.refused_elsewhere(resolved.id)
                }
                Told::Heard | Told::Unheard(_) | Told::Unknown => {}
            }
        }
        if committed.sales {
            self.control.reload();
        }
        if committed.events {
            self.control.happen();
        }
        if self.hub.may_have_readers() {
            for order in &committed.orders {
                self.hub.publish(EventKind::Order(Arc::new(order.clone())));
            }
        }
    }
}
