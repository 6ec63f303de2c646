//! A node's copy of the store's state, in memory. When a commit creates orders, the orders are
//! added to this copy before any request gets the commit's result. With PostgreSQL, the node may
//! add the commit's counts of units some milliseconds later.
//!
//! This part of a node owns the catalogue, the set of requests that hold orders, and the refusals.
//! It also owns the hub of events, the signals to the jobs, and the requests that wait for a
//! verdict. It calls no other part of the node. The store publishes each commit here. Purchases,
//! jobs and the console read this copy.
use std::sync::Arc;

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::digest::OrderDigest;
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{IdKey, ItemId, Order, Token, Verdict};
use doorbuster_steps::publication::{self, Part};
use doorbuster_store::Committed;

use super::refusals::{Refusals, verdict_code};
use crate::catalogue::{Catalogue, SharedCatalogue};
use crate::control::JobSignals;
use crate::holders::RequestsWithOrders;
use crate::notify::{EventKind, Hub};
use crate::scheduler::Work;
use crate::waiters::{DeliveryOutcome, TicketInfo, VerdictWaiters};

#[derive(Debug)]
pub(crate) struct NodeMemory {
    pub(crate) catalogue: SharedCatalogue,
    pub(crate) holders: RequestsWithOrders,
    pub(crate) hub: Hub,
    pub(crate) control: JobSignals,
    pub(crate) waiters: VerdictWaiters,
    pub(crate) refusals: Refusals,
    pub(crate) key: IdKey,
}

impl NodeMemory {
    /// Adds a commit to the memory, in the sequence of [`publication::parts`]. Any node may have
    /// made the commit. The events for browsers come last, so that a browser that gets an event can
    /// read the new state. An order may be published twice.
    pub(crate) fn publish(&self, committed: &Committed) {
        if !committed.orders.is_empty() {
            failpoint::reach(Failpoint::Committed);
        }
        let catalogue = self.catalogue.load();
        for part in publication::parts() {
            match part {
                Part::Requests => self.publish_requests(&catalogue, committed),
                Part::Counts => self.publish_counts(&catalogue, committed),
                Part::Verdicts => self.publish_verdicts(committed),
            }
        }
        if committed.sales {
            self.control.wake_catalogue_job();
        }
        if committed.events {
            self.control.signal_events();
        }
        if self.hub.may_have_readers() {
            for order in &committed.orders {
                self.hub.publish(EventKind::Order(Arc::new(order.clone())));
            }
        }
    }

    fn publish_requests(&self, catalogue: &Catalogue, committed: &Committed) {
        // A lost order no longer counts against its buyer's limit, so remembered counts of buyers'
        // units may be too high. To stop using them, the node acts as if an order of each item had
        // ended.
        if committed.may_lose_orders {
            let items = catalogue.sales().flat_map(|sale| &sale.items);
            items.for_each(|item| self.record_ended_order(catalogue, item.row.id));
        }
        let mut woken: Option<ItemId> = None;
        for order in &committed.orders {
            // The node remembers the order's request even if this commit ended the order. If
            // another node created the order, this node may not have heard of the order before.
            self.remember_order(order);
            if OrderDigest::is_ended(order.state) && woken != Some(order.item) {
                self.record_ended_order(catalogue, order.item);
                woken = Some(order.item);
            }
        }
        for order in &committed.digests {
            self.holders.insert(order.request);
            if order.ended && woken != Some(order.item) {
                self.record_ended_order(catalogue, order.item);
                woken = Some(order.item);
            }
        }
    }

    fn publish_counts(&self, catalogue: &Catalogue, committed: &Committed) {
        for counts in &committed.counts {
            let Some(item) = catalogue.item_by_id(counts.item) else { continue };
            item.gauge.publish(*counts);
            // Connected clients are notified even if the node already has these counts: it may have
            // read them from the store, and a read does not notify clients.
            self.control.status_changed(&item.sale);
            if item.gauge.open_pool() > 0 {
                self.control.wake_by_pool(counts.item);
            }
            if counts.kept > 0 {
                self.control.scheduler().wake(Work::Waitlists);
            }
            if !item.work.unit_demand.is_empty() {
                self.control.wake(counts.item);
            }
        }
    }

    fn publish_verdicts(&self, committed: &Committed) {
        for (token, resolved) in &committed.verdicts {
            let refused = !matches!(resolved.verdict, Verdict::Reserved);
            let delivery = self.deliver(*token, resolved.clone());
            match delivery {
                DeliveryOutcome::Abandoned(TicketInfo { item, buyer, units, .. }) if refused => {
                    let event = EventKind::from_verdict(resolved, item, buyer, units);
                    event.into_iter().for_each(|event| self.hub.publish(event));
                }
                DeliveryOutcome::Unknown if refused && self.hub.may_have_readers() => {
                    self.control.refused_elsewhere(resolved.id)
                }
                DeliveryOutcome::Received(_)
                | DeliveryOutcome::Abandoned(_)
                | DeliveryOutcome::Unknown => {}
            }
        }
    }

    pub(crate) fn remember_order(&self, order: &Order) {
        let request = self.key.request_hash(order.buyer.as_str(), order.key.as_str());
        self.holders.insert(request.low_64_bits());
    }

    /// Delivers a verdict to the requests that wait for this verdict. Also removes the note that
    /// the ticket's request is queued. If no request waits and the ticket is refused, notes the
    /// refusal for operators.
    pub(crate) fn deliver(&self, ticket: Token, resolved: TicketVerdict) -> DeliveryOutcome {
        let verdict = resolved.verdict;
        let delivery = self.waiters.deliver(ticket, resolved);
        match &delivery {
            DeliveryOutcome::Received(info) => self.refusals.note_verdict(ticket, info, None),
            DeliveryOutcome::Abandoned(info) => {
                self.refusals.note_verdict(ticket, info, verdict_code(verdict));
            }
            DeliveryOutcome::Unknown => {}
        }
        delivery
    }

    /// Records that an order of the item ended, and wakes the reconciliation, so that the slots get
    /// the new feed rows.
    fn record_ended_order(&self, catalogue: &Catalogue, id: ItemId) {
        if let Some(item) = catalogue.item_by_id(id) {
            item.work.feed.record_ended_order();
        }
        self.control.wake_by_commit(id);
    }
}
