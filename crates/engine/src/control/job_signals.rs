//! The signals that wake the jobs, and the data that belongs to the signals.
//!
//! The fields `unretired` and `leftovers` list slots that have no open grant but may still have
//! tickets. `unretired` lists the slots of ended sales. `leftovers` lists the slots that a changed
//! spread no longer uses.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use doorbuster_core::{Epoch, ItemId, SlotKey, TicketId};
use tokio::sync::Notify;

use crate::scheduler::{Scheduler, Work};

/// The maximum number of tickets in [`ForeignRefusals`]. Further tickets are dropped. The buyers of
/// dropped tickets still learn of the refusal, because a waiting page polls the server.
const REFUSED_MAX: usize = 1_000;

/// Tickets that other nodes refused. Some may belong to waitlist entries of buyers who are
/// connected to this node.
#[derive(Debug, Default)]
pub(super) struct ForeignRefusals {
    ids: Mutex<Vec<TicketId>>,
    pub(super) arrived: Notify,
}

impl ForeignRefusals {
    pub(super) fn push(&self, id: TicketId) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() < REFUSED_MAX {
            ids.push(id);
        }
        drop(ids);
        self.arrived.notify_one();
    }

    pub(super) fn take(&self) -> Vec<TicketId> {
        std::mem::take(&mut *self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why an item needs to be reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WakeReason {
    /// The item's pool has units. For this reason alone, the server reconciles the item only if a
    /// slot has few units left.
    Pool,
    /// Any other reason.
    All,
}

/// The signals that wake the jobs.
#[derive(Debug, Default)]
pub struct JobSignals {
    pub(super) items: Mutex<HashMap<ItemId, WakeReason>>,
    pub(super) sales: Mutex<HashSet<Arc<str>>>,
    pub(crate) items_changed: Notify,
    pub(super) sales_changed: Notify,
    /// Notified when another node may have changed a sale.
    pub(crate) catalogue_changed: Notify,
    pub(crate) queues_changed: Notify,
    /// The slots that may still have tickets although their sale has ended. The leader alone fills
    /// this set and settles these tickets.
    unretired: Mutex<BTreeSet<SlotKey>>,
    /// The slots that are no longer in their item's spread but may still have tickets. Each value
    /// is the epoch of the slot's newest closed grant. The leader alone fills this map and settles
    /// these tickets. For each item, the map cannot have more entries than the item had slots.
    leftovers: Mutex<BTreeMap<SlotKey, Epoch>>,
    pub(crate) batch_settled: Notify,
    /// Notified when another node has begun to drain a sale.
    pub(crate) drains_changed: Notify,
    /// Tickets that other nodes refused and for which no request on this node waits.
    pub(super) foreign_refusals: ForeignRefusals,
    /// Notified when a sale may have opened. From then on, other nodes may recall units, so this
    /// node must check for recalls more often.
    pub(super) sale_opened: Notify,
    pub(crate) loss_suspected: Notify,
    pub(super) feed_changed: Notify,
    /// How often [`JobSignals::signal_events`] was called.
    pub(super) event_signal: tokio::sync::watch::Sender<u64>,
    /// Whether this node reconciles an item's slots after every commit that changes the item's
    /// counts or feeds. If false, the node reconciles the slots only when its own requests need
    /// units.
    pub(super) reconciles_on_commit: AtomicBool,
    pub(super) scheduler: Scheduler,
}

impl JobSignals {
    /// Wakes the reconciliation of an item. Called if the pool has units for a slot, if a slot
    /// lacks rows of its feed, or if a parked request needs units.
    pub fn wake(&self, item: ItemId) {
        self.wake_for(item, WakeReason::All);
    }

    /// Wakes the reconciliation of an item after a commit that added feed rows. If several nodes
    /// reach the item's slots, only the leader reconciles the item, and this call does nothing on
    /// the other nodes.
    pub fn wake_by_commit(&self, item: ItemId) {
        if self.reconciles_on_commit.load(Ordering::Acquire) {
            self.wake_for(item, WakeReason::All);
        }
    }

    /// Wakes the reconciliation of an item after a commit that left units in the item's pool. As
    /// with [`JobSignals::wake_by_commit`], this call does nothing on a node that does not
    /// reconcile the item.
    pub fn wake_by_pool(&self, item: ItemId) {
        if self.reconciles_on_commit.load(Ordering::Acquire) {
            self.wake_for(item, WakeReason::Pool);
        }
    }

    fn wake_for(&self, item: ItemId, reason: WakeReason) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = items.entry(item).or_insert(reason);
        *kept = reason.max(*kept);
        drop(items);
        self.items_changed.notify_one();
    }

    /// Wakes the job that reads the changes that other nodes made to the catalogue.
    pub fn wake_catalogue_job(&self) {
        self.catalogue_changed.notify_one();
    }

    /// Wakes the job that checks whether slots have lost their memory.
    pub fn suspect_loss(&self) {
        self.loss_suspected.notify_one();
    }

    pub(crate) fn wake_drain_job(&self) {
        self.drains_changed.notify_one();
    }

    /// Replaces the set of slots of ended sales that may still have tickets. If the set changed,
    /// wakes the job that selects the queues.
    pub(crate) fn set_unretired(&self, slots: BTreeSet<SlotKey>) {
        let mut known = self.unretired.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != slots {
            *known = slots;
            self.queues_changed.notify_one();
        }
    }

    /// Records that a slot outside its item's spread may still have tickets. `closed` is the epoch
    /// of the slot's newest closed grant. If the slot or its epoch is new, wakes the job that
    /// selects the queues.
    pub(crate) fn add_leftover(&self, slot: SlotKey, closed: Epoch) {
        let mut leftovers = self.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
        if leftovers.get(&slot).is_none_or(|&known| known < closed) {
            leftovers.insert(slot, closed);
            self.queues_changed.notify_one();
        }
    }

    /// Removes a slot that [`JobSignals::add_leftover`] recorded. If the recorded epoch is higher
    /// than `closed`, the slot stays.
    pub(crate) fn forget_leftover(&self, slot: SlotKey, closed: Epoch) {
        let mut leftovers = self.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
        if leftovers.get(&slot).is_some_and(|&known| known <= closed) {
            leftovers.remove(&slot);
            self.queues_changed.notify_one();
        }
    }

    pub(crate) fn leftovers(&self) -> Vec<(SlotKey, Epoch)> {
        let leftovers = self.leftovers.lock().unwrap_or_else(PoisonError::into_inner);
        leftovers.iter().map(|(&slot, &closed)| (slot, closed)).collect()
    }

    /// Returns all slots that have no open grant but may still have tickets.
    pub(crate) fn unretired(&self) -> BTreeSet<SlotKey> {
        let mut slots = self.unretired.lock().unwrap_or_else(PoisonError::into_inner).clone();
        slots.extend(self.leftovers().into_iter().map(|(slot, _)| slot));
        slots
    }

    /// Announces that a commit may have added events to the outbox.
    pub fn signal_events(&self) {
        self.event_signal.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Returns a receiver that is notified at every call of [`JobSignals::signal_events`].
    #[must_use]
    pub fn event_signal(&self) -> tokio::sync::watch::Receiver<u64> {
        self.event_signal.subscribe()
    }

    /// Records that another node refused a ticket for which no request on this node waits. The
    /// refusal may still matter on this node: the ticket may belong to the waitlist entry of a
    /// buyer who is connected to this node.
    pub fn refused_elsewhere(&self, id: TicketId) {
        self.foreign_refusals.push(id);
    }

    /// Returns whether this node is now the leader. For a short time, two nodes may both consider
    /// themselves the leader. This does no harm, because leadership only avoids duplicate work.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.scheduler.leads()
    }

    /// Returns the scheduler of delayed work.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    pub(crate) fn signal_feed(&self) {
        self.feed_changed.notify_one();
    }

    /// Announces that the sale's status changed.
    pub fn status_changed(&self, sale: &Arc<str>) {
        if self.sales.lock().unwrap_or_else(PoisonError::into_inner).insert(sale.clone()) {
            self.sales_changed.notify_one();
        }
        self.signal_feed();
    }

    /// Wakes all jobs that depend on the times or the phase of a sale.
    pub fn wake_timed_jobs(&self) {
        self.scheduler.wake(Work::Phases);
        self.scheduler.wake(Work::Waitlists);
        self.queues_changed.notify_one();
        self.sale_opened.notify_one();
    }

    /// Returns the items to reconcile, and clears the list.
    pub(crate) fn take_items(&self) -> HashMap<ItemId, WakeReason> {
        std::mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the sales whose status changed, and clears the list.
    pub(super) fn take_sales(&self) -> HashSet<Arc<str>> {
        std::mem::take(&mut *self.sales.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
