//! Decides how long a request may wait, what wakes it, and how many requests may wait.
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::limits::{PARK_MS, PARKED_MAX};
use doorbuster_core::slot::{TicketAnswer, TicketRequest};
use doorbuster_steps::purchase::{RETRY_PACE_MS, may_park};
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::catalogue::ItemState;
use crate::engine::Engine;
use crate::unit_demand::{DemandGuard, UnitDemand};

/// The times at which a request's waits end.
#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    /// The end of the time in which the request may be parked.
    pub(super) parked: Instant,
    /// The end of the wait for a verdict.
    pub(super) verdict: Instant,
}

impl Deadlines {
    pub(super) fn from_now(wait: Duration) -> Self {
        let now = Instant::now();
        Self { parked: now + Duration::from_millis(PARK_MS as u64), verdict: now + wait }
    }
}

/// Receives the signals of an item's progress and commits, from the creation of this value on.
pub(super) struct ItemSignals<'a> {
    progress: Notified<'a>,
    commit: Notified<'a>,
}

impl<'a> ItemSignals<'a> {
    pub(super) fn for_item(item: &'a ItemState) -> Self {
        Self { progress: item.gauge.progress().notified(), commit: item.gauge.changed().notified() }
    }

    /// Waits until another attempt makes sense:
    ///
    /// - If the request is short and units are being gathered for it, progress wakes it.
    /// - If the request is short and no units are being gathered for it, progress or a commit wakes
    ///   it. A commit wakes it only after a pause.
    /// - If the request is not short, it waits for the pause first, and then for progress or a
    ///   commit.
    ///
    /// The pause depends on `waits`, the number of earlier waits.
    pub(super) async fn wait_for_retry(self, is_short: bool, has_demand: bool, waits: usize) {
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

/// A request that waits for a ticket's verdict.
#[derive(Clone, Copy)]
pub(super) struct VerdictWait {
    /// Whether the ticket was issued for this very request. Otherwise it was issued for an earlier
    /// request with the same key.
    pub(super) is_first: bool,
    /// Whether the ticket's id may be published if there is no verdict. Another ticket of this
    /// request may be in a slot that did not answer. That ticket may become the order, and the
    /// published id would be refused.
    pub(super) may_publish: bool,
    pub(super) until: Instant,
}

/// The resources of a request that waits for another attempt.
#[derive(Default)]
pub(super) struct ParkedResources<'a> {
    parked: Option<ParkedPermit<'a>>,
    demand: Option<UnitDemandEntry<'a>>,
}

impl<'a> ParkedResources<'a> {
    /// Parks the request. If the request lacks units, also adds it to the item's demand. Returns
    /// `false` if too many requests are parked.
    pub(super) fn reserve(
        &mut self,
        engine: &'a Engine,
        item: &'a ItemState,
        request: &TicketRequest,
        is_short: bool,
    ) -> bool {
        if is_short && self.demand.is_none() {
            self.demand = UnitDemandEntry::enter(engine, item, request);
        }
        if self.parked.is_none() {
            self.parked = ParkedPermit::enter(engine);
        }
        self.parked.is_some()
    }

    /// Removes the request from the item's demand, so that no units are gathered for a refused
    /// request.
    pub(super) fn leave_demand(&mut self) {
        self.demand = None;
    }

    /// Returns whether the request is parked, so that its attempt is not the first one.
    pub(super) fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    pub(super) fn has_demand(&self) -> bool {
        self.demand.is_some()
    }

    /// Frees all resources once the request has a ticket.
    pub(super) fn release_if_issued(&mut self, answer: &TicketAnswer) {
        if matches!(answer, TicketAnswer::Issued(_) | TicketAnswer::Repeated(_)) {
            *self = Self::default();
        }
    }
}

/// A permit for one of the [`PARKED_MAX`] parked requests.
struct ParkedPermit<'a>(&'a Engine);

impl<'a> ParkedPermit<'a> {
    fn enter(engine: &'a Engine) -> Option<Self> {
        let before = engine.parked().fetch_add(1, Ordering::AcqRel);
        let place = Self(engine);
        may_park(before, PARKED_MAX).then_some(place)
    }
}

impl Drop for ParkedPermit<'_> {
    fn drop(&mut self) {
        self.0.parked().fetch_sub(1, Ordering::AcqRel);
    }
}

/// How many units a request needs while the server gathers the item's last units for it.
struct UnitDemandEntry<'a> {
    engine: &'a Engine,
    item: &'a ItemState,
    place: Option<DemandGuard<'a>>,
}

impl<'a> UnitDemandEntry<'a> {
    /// Adds the request to the item's demand. `None`: there is no other slot and no pool to gather
    /// from.
    fn enter(engine: &'a Engine, item: &'a ItemState, request: &TicketRequest) -> Option<Self> {
        if !item.has_other_slots(engine.layout()) && item.gauge.open_pool() == 0 {
            return None;
        }
        let place = item
            .work
            .unit_demand
            .register(UnitDemand { slot: item.home(request)?, units: request.units });
        engine.control().wake(item.row.id);
        Some(Self { engine, item, place: Some(place) })
    }
}

impl Drop for UnitDemandEntry<'_> {
    fn drop(&mut self) {
        drop(self.place.take());
        if !self.item.work.unit_demand.is_empty() {
            // Another request is now the first in the demand, and units must be gathered for it.
            self.engine.control().wake(self.item.row.id);
        }
    }
}
