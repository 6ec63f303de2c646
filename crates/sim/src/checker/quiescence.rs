//! Checks the invariants I6 and I8 at the end of a run, when no message is in flight and every
//! background loop has run until nothing changed.
use doorbuster_core::slot::SlotView;
use doorbuster_core::{Phase, SlotKey};

use super::Checker;
use crate::request::{BuyerAnswer, BuyerRequest};
use crate::store::SimStore;

impl Checker {
    pub(crate) fn slots_at_rest(
        &mut self,
        store: &SimStore,
        slots: &[(SlotKey, Option<SlotView>)],
    ) {
        for (at, view) in slots {
            let Some(grant) = store.model.grants.values().find(|g| g.open && g.slot == *at) else {
                let sells = store.phases.get(&at.item).is_some_and(|p| p.shown == Phase::Open);
                self.check(!sells, "I6", || {
                    format!("the sale is open, but slot {at} has no open grant: {view:?}")
                });
                continue;
            };
            let Some(view) = view else {
                self.record_finding("I6", || {
                    format!("at the end of the run, slot {at} has no epoch")
                });
                continue;
            };
            let rows = store.model.feed.keys().filter(|(g, _)| *g == grant.id).count() as u64;
            let unsettled = grant.granted.wrapping_sub(grant.settled);
            let same = view.grant == grant.id && view.epoch == grant.epoch;
            let units = !grant.counted || view.available == unsettled;
            let fed = view.applied.0 == rows && grant.feed_len.0 == rows;
            let sells = store.phases.get(&at.item).is_some_and(|p| p.shown == Phase::Open);
            let done = view.unacknowledged == 0 && view.stopped != sells;
            self.check(same && units && fed && done, "I6", || {
                format!(
                    "slot {at} has the state {view:?}, but the store has {unsettled} unsettled \
                     units, {rows} feed rows and epoch {}",
                    grant.epoch
                )
            });
        }
        let pending = store.model.recalls.values().filter(|r| !r.done).count();
        self.check(pending == 0, "I6", || {
            format!("at the end of the run, {pending} recalls are not done")
        });
    }

    /// Checks that the grants of slots that were lost with their nodes are closed.
    pub(crate) fn lost_slots_at_rest(&mut self, store: &SimStore, slots: &[SlotKey]) {
        let held =
            store.model.grants.values().find(|g| g.open && slots.contains(&g.slot)).map(|g| g.slot);
        if let Some(slot) = held {
            self.record_finding("lease", || {
                format!("slot {slot} was lost with its node, but its grant is open")
            });
        }
    }

    /// Checks that each id that a buyer received has a verdict (I8). Skips the ids of grants that a
    /// failover lost.
    pub(crate) fn verdicts_at_rest(&mut self, store: &SimStore) {
        for (id, _) in &self.handed {
            if store.verdict(id).is_none() && !self.lacks_grant(id) {
                let id = *id;
                return self.record_finding("I8", || {
                    format!("a buyer received the id {id}, but it has no verdict")
                });
            }
        }
    }

    /// Checks that a request got its order. The request had an order before, or its units were free
    /// and within the buyer's limit.
    pub(crate) fn must_be_served(&mut self, purchase: &BuyerRequest) {
        let answer = self.last_answer(purchase.attempt);
        let served = matches!(answer, Some(BuyerAnswer::Order(_)));
        self.check(served, "undersell", || {
            format!("units are free at the end, but {purchase:?} received {answer:?} and no order")
        });
    }

    pub(crate) fn must_be_refused(&mut self, purchase: &BuyerRequest) {
        let answer = self.last_answer(purchase.attempt);
        let refused = matches!(answer, Some(BuyerAnswer::SoldOut { .. }));
        self.check(refused, "sold_out", || {
            format!(
                "no unit is free at the end, but {purchase:?} received {answer:?} instead of \
                 \"sold out\""
            )
        });
    }

    pub(crate) fn must_report_phase(&mut self, purchase: &BuyerRequest, expected: Phase) {
        let answer = self.last_answer(purchase.attempt);
        let right = matches!(answer, Some(BuyerAnswer::Phase { phase, .. }) if phase == expected);
        self.check(right, "phase", || {
            format!(
                "at the end, {purchase:?} received {answer:?} instead of the phase {expected:?}"
            )
        });
    }
}
