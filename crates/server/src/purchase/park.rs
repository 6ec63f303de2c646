//! How long a request may take, what it waits for, and the bounded places in which it waits.
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::limits::{PARK_MS, PARKED_MAX};
use doorbuster_core::slot::{Request, TicketAnswer};
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::catalogue::ItemState;
use crate::engine::Engine;
use crate::wants::{Waiting, Want};

/// How long a request may take.
#[derive(Clone, Copy)]
pub(super) struct Until {
    /// Until when it is parked.
    pub(super) parked: Instant,
    /// Until when it waits for a verdict.
    pub(super) verdict: Instant,
}

impl Until {
    pub(super) fn from_now(wait: Duration) -> Self {
        let now = Instant::now();
        Self { parked: now + Duration::from_millis(PARK_MS as u64), verdict: now + wait }
    }
}

/// A parked request that waits for commits asks again once in so long at most: of an item that sells they come by the hundred.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Waits for a commit of the item, or for its progress.
pub(super) async fn commit_or(progress: Notified<'_>, commit: Notified<'_>) {
    tokio::time::sleep(ASK_EVERY).await;
    tokio::select! {
        () = progress => {}
        () = commit => {}
    }
}

/// Who waits for a ticket's verdict.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    /// Whether the ticket was cut for this very request, rather than for one like it.
    pub(super) is_first: bool,
    pub(super) until: Instant,
}

/// A bounded place among the parked.
pub(super) struct Parked<'a>(&'a Engine);

impl<'a> Parked<'a> {
    pub(super) fn enter(engine: &'a Engine) -> Option<Self> {
        let before = engine.parked().fetch_add(1, Ordering::AcqRel);
        let place = Self(engine);
        (before < PARKED_MAX).then_some(place)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.parked().fetch_sub(1, Ordering::AcqRel);
    }
}

/// A place in the line of those for whom an item's last units are gathered.
pub(super) struct Wanted<'a> {
    engine: &'a Engine,
    item: &'a ItemState,
    place: Option<Waiting<'a>>,
}

impl<'a> Wanted<'a> {
    /// Stands in line and asks for units; `None`: there is nowhere to gather from, neither another slot nor the pool.
    pub(super) fn enter(engine: &'a Engine, item: &'a ItemState, request: &Request) -> Option<Self> {
        if !engine.layout().has_elsewhere(item.slots.len()) && item.gauge.open_pool() == 0 {
            return None;
        }
        let place = item.work.wants.enter(Want { slot: item.home(request)?, units: request.units });
        engine.control().wake(item.row.id);
        Some(Self { engine, item, place: Some(place) })
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        drop(self.place.take());
        if !self.item.work.wants.is_empty() {
            // Whoever is first now has not been gathered for.
            self.engine.control().wake(self.item.row.id);
        }
    }
}

/// Whether a slot's answer is one for the request, rather than that it has none for now.
pub(super) fn serves(answer: &TicketAnswer) -> bool {
    matches!(
        answer,
        TicketAnswer::Cut(_) | TicketAnswer::Again(_) | TicketAnswer::KeyReused | TicketAnswer::LimitReached { .. }
    )
}
