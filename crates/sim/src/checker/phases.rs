//! Checks the changes of a sale's phase.
use doorbuster_core::{ItemId, Millis, Phase};

use super::Checker;
use super::rows::item_index;
use crate::store::SimStore;

impl Checker {
    pub(super) fn opened(&mut self, item: ItemId, mono: Millis) {
        self.count_case("sale opened");
        let starts_at = self.starts_at[item_index(item)];
        self.check(starts_at.is_some_and(|at| at <= mono), "opening", || {
            format!("at {mono:?}, a sale opened that should open at {starts_at:?}")
        });
    }

    /// Checks a new phase that buyers see: it must be the intended phase. If a slot without a fault
    /// issued a ticket before the store recorded this phase, the ticket must already have a
    /// verdict.
    pub(super) fn shown(&mut self, store: &SimStore, item: ItemId, intent: Option<(Phase, u64)>) {
        let expected = self.stopping[item_index(item)].take();
        self.check(expected == intent, "phase", || {
            format!("buyers see the phase {intent:?}, but the intended phase is {expected:?}")
        });
        let Some((_, asked_to_stop)) = expected else { return };
        let waits = self.issued.iter().find(|(id, ticket)| {
            let closes = store.model.grants.get(&ticket.grant).is_some_and(|g| !g.open)
                && !self.closed.contains_key(&ticket.grant);
            closes
                && !self.is_faulty(ticket.grant)
                && ticket.purchase.item == item
                && ticket.version < asked_to_stop
                && store.verdict(id).is_none()
        });
        if let Some(id) = waits.map(|(id, _)| *id) {
            self.record_finding("drain", || {
                format!("ticket {id} had no verdict when buyers saw the new phase")
            });
        }
    }
}
