//! How long a request may take, what it waits for, and the bounded places in which it waits.
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::limits::{PARK_MS, PARKED_MAX};
use doorbuster_core::slot::{TicketAnswer, TicketRequest};
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

/// A request that waits asks again at the first news, and then more and more seldom: of an item
/// that sells they come by the hundred.
const PACE_MS: [u64; 4] = [0, 50, 100, 200];

/// What happens to an item from now on.
pub(super) struct News<'a> {
    progress: Notified<'a>,
    commit: Notified<'a>,
}

impl<'a> News<'a> {
    pub(super) fn of(item: &'a ItemState) -> Self {
        Self { progress: item.gauge.progress().notified(), commit: item.gauge.changed().notified() }
    }

    /// Returns when it is worth asking again, which was done so many times: after any commit, or
    /// what was told of as progress. Whoever is short waits for units, and hears of progress at
    /// once; where they are gathered for it, of nothing else.
    pub(super) async fn worth_another_try(
        self,
        is_short: bool,
        is_gathered_for: bool,
        waits: usize,
    ) {
        let Self { progress, commit } = self;
        let pace = PACE_MS.get(waits).or(PACE_MS.last()).copied().unwrap_or_default();
        let paced = tokio::time::sleep(Duration::from_millis(pace));
        match (is_short, is_gathered_for) {
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

/// Who waits for a ticket's verdict.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    /// Whether the ticket was cut for this very request, rather than for one like it.
    pub(super) is_first: bool,
    pub(super) until: Instant,
}

/// The places in which a request waits for another try.
#[derive(Default)]
pub(super) struct Places<'a> {
    parked: Option<Parked<'a>>,
    wanted: Option<Wanted<'a>>,
}

impl<'a> Places<'a> {
    /// Takes a place among the parked, and one in the line for the last units if that is what is
    /// missing. False: there is none among the parked.
    pub(super) fn stand(
        &mut self,
        engine: &'a Engine,
        item: &'a ItemState,
        request: &TicketRequest,
        is_short: bool,
    ) -> bool {
        if is_short && self.wanted.is_none() {
            self.wanted = Wanted::enter(engine, item, request);
        }
        if self.parked.is_none() {
            self.parked = Parked::enter(engine);
        }
        self.parked.is_some()
    }

    /// Nothing is to be gathered for whoever may not have it.
    pub(super) fn leave_waitlist(&mut self) {
        self.wanted = None;
    }

    pub(super) fn is_gathered_for(&self) -> bool {
        self.wanted.is_some()
    }

    /// Whoever has a ticket leaves the places to others.
    pub(super) fn leave_with(&mut self, answer: &TicketAnswer) {
        if matches!(answer, TicketAnswer::Issued(_) | TicketAnswer::Repeated(_)) {
            *self = Self::default();
        }
    }
}

/// A bounded place among the parked.
struct Parked<'a>(&'a Engine);

impl<'a> Parked<'a> {
    fn enter(engine: &'a Engine) -> Option<Self> {
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
struct Wanted<'a> {
    engine: &'a Engine,
    item: &'a ItemState,
    place: Option<Waiting<'a>>,
}

impl<'a> Wanted<'a> {
    /// Stands in line and asks for units; `None`: there is nowhere to gather from, neither another
    /// slot nor the pool.
    fn enter(engine: &'a Engine, item: &'a ItemState, request: &TicketRequest) -> Option<Self> {
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
        TicketAnswer::Issued(_)
            | TicketAnswer::Repeated(_)
            | TicketAnswer::KeyReused
            | TicketAnswer::LimitReached { .. }
    )
}
