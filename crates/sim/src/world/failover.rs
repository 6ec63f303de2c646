//! Simulates a failover to a standby that lacks commits. The new primary has the rows as of the
//! last commit that the standby received. Slots and nodes keep what they learned from the lost
//! commits.
use doorbuster_core::outbox::SendOutcome;
use doorbuster_core::{GrantId, ItemId, Phase};

use super::World;
use crate::checker::Checker;
use crate::state::{Deliveries, DeliveryMessage, Message};
use crate::store::{PhaseRow, SimStore, Tx};

#[derive(Clone, Debug, Default)]
pub(crate) struct Failovers {
    standby: Option<Box<Standby>>,
    /// The number of failovers so far.
    count: u64,
    /// Whether a node must still pause the sales because of the last failover.
    is_pause_pending: bool,
}

/// A standby that receives no more commits. It is a copy of the store and of the checker, made at
/// the last commit that the standby received.
#[derive(Clone, Debug)]
struct Standby {
    store: SimStore,
    checker: Checker,
    deliveries: Deliveries,
    xids: u64,
}

impl Failovers {
    pub(super) fn has_happened(&self) -> bool {
        self.count > 0
    }
}

impl World {
    pub(crate) fn stop_standby(&mut self) {
        self.failovers.standby = Some(Box::new(Standby {
            store: self.store.clone(),
            checker: self.checker.clone(),
            deliveries: self.deliveries.clone(),
            xids: self.xids,
        }));
    }

    /// Makes the standby the primary. A recorded run has no failover, because its transactions
    /// later run again on one real database.
    pub(crate) fn fail_over(&mut self) {
        let Some(standby) = self.failovers.standby.take().filter(|_| self.calls.is_none()) else {
            return;
        };
        if standby.store.version < self.store.version {
            self.checker.count_case("failover lost commits");
        }
        let grants = self.grants_everywhere(&standby.store);
        self.excuse_lost_payments(&standby.store);
        let events = standby.store.model.events.len();
        self.lose_events_in_flight(events);
        let in_memory = self.deliveries.in_memory(events);
        self.deliveries.fail_over(standby.deliveries);
        self.store.continue_from(standby.store);
        self.checker.failed_over(standby.checker, grants, &in_memory);
        self.commit(Tx::Promote);
        // The new primary begins with the transaction numbers of the standby, so new transactions
        // can get the numbers of lost transactions. A transaction that is still running starts
        // again with a new number.
        self.xids = standby.xids;
        let (flight, late) = (self.flight.iter_mut(), self.late.iter_mut());
        for message in flight.chain(late) {
            if let Message::Settle { xid, .. } = message {
                self.xids += 1;
                *xid = self.xids;
            }
        }
        self.failovers.count += 1;
        self.failovers.is_pause_pending = true;
        self.apply_payments_again();
    }

    /// Lets the endpoints accept the events that are in flight at a failover and that the new
    /// primary lacks. `events` is the number of events that the new primary has.
    fn lose_events_in_flight(&mut self, events: usize) {
        for message in self.flight.iter_mut().chain(&mut self.late) {
            if let Message::DeliveryMessage(DeliveryMessage::Send { from, event }) = *message
                && event >= events
            {
                let outcome = SendOutcome::Delivered;
                *message = Message::DeliveryMessage(DeliveryMessage::Answer { from, outcome });
            }
        }
    }

    /// Returns every grant that the old primary, the new primary or a slot has. A grant's flag is
    /// true if the new primary lacks the grant.
    fn grants_everywhere(&self, standby: &SimStore) -> Vec<(GrantId, bool)> {
        let stored = self.store.model.grants.keys().chain(standby.model.grants.keys());
        let slots = self.places.iter().flat_map(|place| [Some(&place.slot), place.kept.as_ref()]);
        let in_slots = slots.flatten().filter_map(|slot| Some(slot.view()?.grant));
        let all = stored.copied().chain(in_slots);
        all.map(|grant| (grant, standby.grant(grant).is_none())).collect()
    }

    /// Call this before the slot gets `grant`. If a failover lost `grant`, the checker excuses the
    /// slot's open grant: both grants may have the same epoch, so the slot may keep `grant` and
    /// refuse the open grant.
    pub(super) fn excuse_grant_beside_lost(&mut self, slot: usize, grant: GrantId) {
        if self.failovers.has_happened() && self.store.grant(grant).is_none() {
            let open = self.store.open_grant(self.places[slot].at).map(|open| open.id);
            self.checker.excuse_grants(open);
        }
    }

    /// Pauses every scheduled or open sale at once, without a drain. Tickets in flight are
    /// returned.
    pub(crate) fn pause_after_failover(&mut self) {
        if !std::mem::take(&mut self.failovers.is_pause_pending) {
            return;
        }
        for item in self.store.model.items.keys().copied().collect::<Vec<_>>() {
            if !self.store.phases.get(&item).is_some_and(PhaseRow::has_open_slots) {
                continue;
            }
            let open = self.grants_of(item).into_iter().filter(|grant| grant.open);
            self.checker.excuse_grants(open.map(|grant| grant.id));
            self.commit(Tx::Intend(item, Phase::Paused));
            let intent = self.store.phases.get(&item).and_then(|row| row.intent);
            self.commit(Tx::Show(item, intent));
            self.stop_slots(item, true);
        }
    }

    pub(super) fn resume_after_failover(&mut self) {
        if self.failovers.count == 0 {
            return;
        }
        for item in 0..self.setup.items.len() {
            self.resume(ItemId(item as i64 + 1));
        }
        self.run_until_stable();
    }

    /// Returns the name of the database's timeline. A promoted standby begins a new timeline.
    pub(super) fn timeline(&self) -> String {
        match self.failovers.count {
            0 => String::new(),
            count => count.to_string(),
        }
    }
}
