//! Parks a request: decides how long it waits, what wakes it, and how many requests may wait.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorbuster_core::Millis;
use doorbuster_core::limits::PARKED_MAX;
use doorbuster_steps::purchase::{Input, NodeView, RETRY_PACE_MS, Unserved, may_park};
use tokio::sync::futures::Notified;
use tokio::time::timeout_at;

use super::Driver;
use crate::catalogue::ItemState;
use crate::node::Node;
use crate::unit_demand::UnitDemand;

impl Driver<'_> {
    /// Waits until the request should try again. `why` says why the request got no ticket. With
    /// `Short`, the slots have too few units, so this function adds the request to the item's
    /// demand. With `Undecided`, a slot refused the request, but the store has not confirmed the
    /// refusal, so this function removes the request from the demand.
    pub(super) async fn park(&mut self, why: Unserved, until: Millis, waits: u32) -> Input {
        let (purchases, item) = (self.purchases, &*self.purchase.item);
        let signals = self.signals.take().unwrap_or_else(|| ItemSignals::for_item(item));
        let is_short = why == Unserved::Short;
        if why == Unserved::Undecided {
            self.demand = None;
        }
        if is_short && self.demand.is_none() {
            self.demand = UnitDemandEntry::enter(self);
        }
        if self.parked.is_none() {
            self.parked = ParkedPermit::enter(&purchases.parked);
            if self.parked.is_none() {
                return Input::Full;
            }
        }
        let until = self.begun + Duration::from_millis(until.0.max(0).unsigned_abs());
        let waiting = signals.wait_for_retry(is_short, self.demand.is_some(), waits as usize);
        item.gauge.note_parked(self.request.units.get());
        // If the counts changed before `note_parked`, this change does not wake the request. So the
        // counts are read once more here.
        let input = match item.gauge.free().refuses(self.request.units) {
            Some(_) => Input::Woken,
            None => timeout_at(until, waiting).await.map_or(Input::Elapsed, |()| Input::Woken),
        };
        self.signals = Some(ItemSignals::for_item(item));
        input
    }
}

/// Receives the signals of an item that are sent after this value was created. `progress` means
/// that parked requests should try again. `commit` means that new counts of the item were
/// published.
pub(super) struct ItemSignals<'a> {
    progress: Notified<'a>,
    commit: Notified<'a>,
}

impl<'a> ItemSignals<'a> {
    pub(super) fn for_item(item: &'a ItemState) -> Self {
        Self { progress: item.gauge.progress().notified(), commit: item.gauge.changed().notified() }
    }

    /// Waits until the request should try again. `is_short` means that the slots have too few units
    /// for the request. `has_demand` means that the server gathers units for the request.
    ///
    /// - If `is_short` and `has_demand` are true, waits for `progress`.
    /// - If only `is_short` is true, waits for one of two events: `progress`, or a commit after a
    ///   pause.
    /// - If `is_short` is false, waits for a pause, and then for `progress` or a commit.
    ///
    /// The length of the pause depends on `waits`, the number of times that this request has
    /// already waited.
    async fn wait_for_retry(self, is_short: bool, has_demand: bool, waits: usize) {
        let Self { progress, commit } = self;
        let pace = RETRY_PACE_MS.get(waits).or(RETRY_PACE_MS.last()).copied().unwrap_or_default();
        let paced = tokio::time::sleep(Duration::from_millis(pace));
        match (is_short, has_demand) {
            (true, true) => progress.await,
            (true, false) => tokio::select! {
                () = progress => {}
                () = async { paced.await; commit.await } => {}
            },
            (false, _) => {
                paced.await;
                tokio::select! {
                    () = progress => {}
                    () = commit => {}
                }
            }
        }
    }
}

pub(super) struct ParkedPermit<'a>(&'a AtomicUsize);

impl<'a> ParkedPermit<'a> {
    fn enter(parked: &'a AtomicUsize) -> Option<Self> {
        let others = parked.fetch_add(1, Ordering::AcqRel);
        let permit = Self(parked);
        may_park(others, PARKED_MAX).then_some(permit)
    }
}

impl Drop for ParkedPermit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The entry of a request in the item's demand. If an item's last units are in several slots, the
/// server gathers them for the requests in the demand.
pub(super) struct UnitDemandEntry<'a> {
    node: &'a Node,
    item: &'a ItemState,
    number: u64,
}

impl<'a> UnitDemandEntry<'a> {
    /// Adds the request to the demand. Returns `None` if no units can be gathered, because the item
    /// has no other slot and no units in the pool.
    fn enter(driver: &Driver<'a>) -> Option<Self> {
        let (node, item) = (&*driver.purchases.node, &*driver.purchase.item);
        let catalogue = node.catalogue();
        let mut view = driver.view(&catalogue);
        if !view.has_other_slots() && item.gauge.open_pool() == 0 {
            return None;
        }
        let (slot, units) = (view.first_slot()?, driver.request.units);
        let number = item.work.unit_demand.register(UnitDemand { slot, units });
        node.control().wake(item.row.id);
        Some(Self { node, item, number })
    }
}

impl Drop for UnitDemandEntry<'_> {
    fn drop(&mut self) {
        self.item.work.unit_demand.remove(self.number);
        if !self.item.work.unit_demand.is_empty() {
            // This request has left the demand, so the server must now gather units for the next
            // request.
            self.node.control().wake(self.item.row.id);
        }
    }
}
