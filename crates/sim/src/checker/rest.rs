//! I6 and I8 at rest: nothing is in flight, every loop has run until nothing changed.
use doorbuster_core::slot::SlotView;
use doorbuster_core::{Phase, SlotKey};

use super::{BuyerAnswer, BuyerRequest, Checker};
use crate::truth::Truth;

impl Checker {
    /// Slots against the truth, slot by slot.
    pub(crate) fn slots_at_rest(&mut self, truth: &Truth, slots: &[(SlotKey, Option<SlotView>)]) {
        for (at, view) in slots {
            let Some(grant) = truth.model.grants.values().find(|g| g.open && g.slot == *at) else {
                let sells = truth.phases.get(&at.item).is_some_and(|p| p.shown == Phase::Open);
                self.check(!sells, "I6", || format!("slot {at} has no open grant: {view:?}"));
                continue;
            };
            let Some(view) = view else {
                self.find("I6", || format!("slot {at} has no epoch at rest"));
                continue;
            };
            let rows = truth.model.feed.keys().filter(|(g, _)| *g == grant.id).count() as u64;
            let unsettled = grant.granted.wrapping_sub(grant.settled);
            let same = view.grant == grant.id && view.epoch == grant.epoch;
            let units = !grant.counted || view.available == unsettled;
            let fed = view.applied.0 == rows && grant.feed_len.0 == rows;
            let sells = truth.phases.get(&at.item).is_some_and(|p| p.shown == Phase::Open);
            let done = view.unacknowledged == 0 && view.stopped != sells;
            self.check(same && units && fed && done, "I6", || {
                format!(
                    "slot {at}: {view:?}, truth: unsettled {unsettled}, feed {rows}, epoch {}",
                    grant.epoch
                )
            });
        }
        let pending = truth.model.recalls.values().filter(|r| !r.done).count();
        self.check(pending == 0, "I6", || format!("{pending} recalls are never finished"));
    }

    /// Slots that went with their nodes hold nothing of the stock any more.
    pub(crate) fn gone_at_rest(&mut self, truth: &Truth, slots: &[SlotKey]) {
        let held =
            truth.model.grants.values().find(|g| g.open && slots.contains(&g.slot)).map(|g| g.slot);
        if let Some(slot) = held {
            self.find("lease", || format!("slot {slot} went with its node, and its grant is open"));
        }
    }

    /// I8: each ticket that a living slot cut, and each id handed out, has its verdict.
    pub(crate) fn verdicts_at_rest(&mut self, truth: &Truth) {
        for (id, _) in &self.handed {
            if truth.verdict(id).is_none() {
                let id = *id;
                return self.find("I8", || format!("{id} was handed out and has no verdict"));
            }
        }
    }

    /// A request that asks at rest for no more than is free, and within its buyer's limit, gets it.
    pub(crate) fn must_be_served(&mut self, asked: &BuyerRequest) {
        let heard = self.last_answer(asked.attempt);
        let served = matches!(heard, Some(BuyerAnswer::Order(_)));
        self.check(served, "undersell", || format!("{asked:?} heard {heard:?} at rest"));
    }

    /// A request that asks at rest for what is not there hears so.
    pub(crate) fn must_be_refused(&mut self, asked: &BuyerRequest) {
        let heard = self.last_answer(asked.attempt);
        let refused = matches!(heard, Some(BuyerAnswer::SoldOut { .. }));
        self.check(refused, "sold_out", || {
            format!("{asked:?} heard {heard:?} at rest with nothing free")
        });
    }

    /// A request that asks at rest when the sale is not open hears why.
    pub(crate) fn must_report_phase(&mut self, asked: &BuyerRequest, wanted: Phase) {
        let heard = self.last_answer(asked.attempt);
        let right = matches!(heard, Some(BuyerAnswer::Phase { phase, .. }) if phase == wanted);
        self.check(right, "phase", || format!("{asked:?} heard {heard:?} at rest, {wanted:?}"));
    }
}
