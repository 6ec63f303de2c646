//! Slots in this node's memory. Each is the reference slot of `core`, protected by a mutex.
//!
//! The mutex is held only for one short atomic step, and never across an await. The alternative is
//! a task for each slot, with a channel. A mutex is faster, because a step takes less time than a
//! switch between tasks.
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use doorbuster_core::slot::{
    ApplyOutcome, GrantTerms, RecallOutcome, Slot, SlotBounds, SlotView, TicketAnswer,
    TicketRequest,
};
use doorbuster_core::{Epoch, FeedRow, GrantId, IdKey, RecallId, SlotKey};
use tokio::sync::Notify;

use crate::{DeliveryRef, DequeuedTicket};

/// The largest number of feed rows that are applied while the slot's mutex is held. Requests wait
/// for the mutex, so this number bounds their delay.
const APPLY_AT_ONCE: usize = 32;

/// Slots of this process.
#[derive(Clone, Debug)]
pub struct Local(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    key: IdKey,
    bounds: SlotBounds,
    slots: RwLock<HashMap<SlotKey, Arc<LocalSlot>>>,
    /// The slots that have tickets to deliver. Each slot is in this queue at most once.
    ready: Mutex<VecDeque<SlotKey>>,
    wake: Notify,
}

#[derive(Debug)]
struct LocalSlot {
    slot: Mutex<Slot>,
    is_ready: AtomicBool,
}

/// Locks the mutex, even if an earlier holder of the mutex panicked. The slot's state may be wrong
/// after a panic. This is acceptable, because settling checks every ticket again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Local {
    pub(crate) fn new(key: IdKey, bounds: SlotBounds) -> Self {
        Self(Arc::new(Shared {
            key,
            bounds,
            slots: RwLock::default(),
            ready: Mutex::default(),
            wake: Notify::new(),
        }))
    }

    fn local(&self, slot: SlotKey) -> Option<Arc<LocalSlot>> {
        self.0.slots.read().unwrap_or_else(PoisonError::into_inner).get(&slot).cloned()
    }

    fn with_slot<T>(&self, slot: SlotKey, none: T, f: impl FnOnce(&mut Slot) -> T) -> T {
        self.local(slot).map_or(none, |local| f(&mut lock(&local.slot)))
    }

    pub(crate) fn init(&self, slot: SlotKey, terms: GrantTerms) -> ApplyOutcome {
        let local = {
            let mut slots = self.0.slots.write().unwrap_or_else(PoisonError::into_inner);
            let fresh = || LocalSlot {
                slot: Mutex::new(Slot::with_bounds(slot.item, self.0.bounds)),
                is_ready: AtomicBool::new(false),
            };
            slots.entry(slot).or_insert_with(|| Arc::new(fresh())).clone()
        };
        lock(&local.slot).init(terms)
    }

    pub(crate) fn ticket(&self, slot: SlotKey, request: &TicketRequest) -> TicketAnswer {
        let Some(local) = self.local(slot) else { return TicketAnswer::NoEpoch };
        let answer = lock(&local.slot).ticket(request);
        if matches!(answer, TicketAnswer::Issued(_)) {
            self.mark_ready(slot, &local);
        }
        answer
    }

    fn mark_ready(&self, slot: SlotKey, local: &LocalSlot) {
        if !local.is_ready.swap(true, Ordering::AcqRel) {
            lock(&self.0.ready).push_back(slot);
            self.0.wake.notify_one();
        }
    }

    pub(crate) fn apply(&self, slot: SlotKey, epoch: Epoch, rows: &[FeedRow]) -> ApplyOutcome {
        let at = self.view(slot).map_or(ApplyOutcome::Foreign, |v| ApplyOutcome::At(v.applied));
        rows.chunks(APPLY_AT_ONCE).fold(at, |_, few| {
            self.with_slot(slot, ApplyOutcome::Foreign, |s| {
                few.iter().fold(at, |_, row| s.apply(epoch, row, &self.0.key))
            })
        })
    }

    pub(crate) fn recall(
        &self,
        slot: SlotKey,
        id: RecallId,
        grant: GrantId,
        epoch: Epoch,
        units: u64,
    ) -> RecallOutcome {
        self.with_slot(slot, RecallOutcome::Refused, |s| s.recall(id, grant, epoch, units))
    }

    pub(crate) async fn take(&self, at_most: usize) -> Vec<DequeuedTicket> {
        loop {
            let taken = self.take_now(at_most);
            if !taken.is_empty() {
                return taken;
            }
            self.0.wake.notified().await;
        }
    }

    fn take_now(&self, at_most: usize) -> Vec<DequeuedTicket> {
        let mut taken = Vec::new();
        let mut deliveries = Vec::new();
        while taken.len() < at_most {
            let Some(slot) = lock(&self.0.ready).pop_front() else { break };
            let Some(local) = self.local(slot) else { continue };
            // The mark is cleared before the tickets are read. So a ticket that is issued after the
            // read sets the mark again.
            local.is_ready.store(false, Ordering::Release);
            let more = {
                let mut s = lock(&local.slot);
                s.take(at_most - taken.len(), &mut deliveries);
                s.waiting() > 0
            };
            taken.extend(deliveries.drain(..).map(|delivery| DequeuedTicket { slot, delivery }));
            if more {
                self.mark_ready(slot, &local);
            }
        }
        taken
    }

    pub(crate) fn acknowledge(&self, done: &[DeliveryRef]) {
        for run in done.chunk_by(|a, b| a.slot == b.slot) {
            self.with_slot(run[0].slot, (), |s| {
                run.iter().for_each(|d| s.acknowledge(d.at, d.token))
            });
        }
    }

    pub(crate) fn redeliver(&self, slot: SlotKey) {
        let Some(local) = self.local(slot) else { return };
        let waiting = {
            let mut s = lock(&local.slot);
            s.redeliver();
            s.waiting()
        };
        if waiting > 0 {
            self.mark_ready(slot, &local);
        }
    }

    pub(crate) fn stop(&self, slot: SlotKey, stopped: bool) {
        self.with_slot(slot, (), |s| s.stop(stopped));
    }

    pub(crate) fn view(&self, slot: SlotKey) -> Option<SlotView> {
        self.with_slot(slot, None, |s| s.view())
    }

    pub(crate) fn retire(&self, slot: SlotKey, closed: Option<Epoch>) -> bool {
        let mut slots = self.0.slots.write().unwrap_or_else(PoisonError::into_inner);
        let is_closed = |epoch: Epoch| closed.is_none_or(|closed| epoch <= closed);
        let may_go = |p: &Arc<LocalSlot>| {
            lock(&p.slot).view().is_none_or(|v| v.unacknowledged == 0 && is_closed(v.epoch))
        };
        let is_gone = slots.get(&slot).is_none_or(may_go);
        if is_gone {
            slots.remove(&slot);
        }
        is_gone
    }
}
