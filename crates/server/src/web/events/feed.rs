//! One reader's events as JSON, out of the hub.

use std::hash::{DefaultHasher, Hasher};
use std::num::NonZeroU64;
use std::sync::Arc;

use doorbuster_api::event::Event;
use doorbuster_api::gate::Room;
use doorbuster_api::order::{AnyOrder, RefusalCode};
use doorbuster_core::{BuyerId, Phase, Units};
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::catalogue::SaleState;
use crate::gate::Route;
use crate::notify::{self, EventKind, NextEvent, ReadyQueue, Subscription};
use crate::web::gate::waiting_room;
use crate::web::identity::Client;
use crate::web::limits::POSITIONS_TIMEOUT;
use crate::web::sales::shown;
use crate::web::{App, wire};

/// What comes next.
#[derive(Debug)]
pub(super) enum FeedEvent {
    /// This happened.
    Event(notify::HubEvent),
    /// The reader let too much wait and has to go.
    TooSlow,
    /// Operators turn the reader away since the stream began.
    TurnedAway,
}

/// What a reader that rests is told of what waits.
pub(super) enum NextMessage {
    /// An event's JSON.
    Json(String),
    /// Nothing before this was made.
    NotYet(PendingStatus),
    /// The reader let too much wait and has to go.
    TooSlow,
}

/// A status of which an event tells, and which nobody has made yet.
pub(super) struct PendingStatus {
    /// Whose status.
    pub name: Arc<str>,
    sale: Arc<SaleState>,
    event: u64,
}

impl PendingStatus {
    /// Makes it, once for all who wait for it, however many ask; the event's JSON.
    pub(super) async fn render_status(&self, app: &App) -> String {
        status_event(&app.views.status_for_event(&app.engine, &self.sale, self.event).await.bytes)
    }
}

/// One reader's events.
pub(super) struct Feed {
    app: Arc<App>,
    subscription: Subscription,
    client: Client,
    /// Tells when it changed whom operators turn away.
    blocks: watch::Receiver<()>,
    /// The print of what the reader was last told of a place in a waiting room.
    place: Option<NonZeroU64>,
    /// The number and the sale of a status that the reader is told next, once that is made.
    pending_status: Option<(u64, Arc<str>)>,
}

impl Feed {
    /// Begins with what is kept of the buyer's orders since the event `after`. `None`: the buyer
    /// has as many streams as one may have.
    pub(super) fn new(
        app: Arc<App>,
        (client, buyer): (Client, BuyerId),
        sales: Vec<String>,
        blocks: watch::Receiver<()>,
        after: Option<u64>,
    ) -> Option<Self> {
        let subscription =
            app.engine.hub().subscribe(Some(buyer), sales, app.event_streams_max, after)?;
        Some(Self { app, subscription, client, blocks, place: None, pending_status: None })
    }

    pub(super) fn app(&self) -> &Arc<App> {
        &self.app
    }

    fn buyer(&self) -> &BuyerId {
        self.subscription.buyer().expect("it subscribed for one")
    }

    /// The event behind which the stream begins.
    pub(super) fn since(&self) -> u64 {
        self.subscription.since()
    }

    /// The first event of every stream.
    pub(super) fn hello(&self) -> String {
        json(&Event::Hello { server_time: wire::time(self.app.engine.now()) })
    }

    /// The present status of each sale: a reader who comes, or comes again, does not wait for the
    /// next change.
    pub(super) async fn statuses(&self) -> Vec<String> {
        let mut statuses = Vec::with_capacity(self.subscription.sales().len());
        for sale in self.subscription.sales() {
            if let Ok(sale) = shown(&self.app, sale) {
                statuses.push(status_event(
                    &self.app.views.status(&self.app.engine, &sale).await.bytes,
                ));
            }
        }
        statuses
    }

    /// The buyer's place in the waiting room of each sale that has one. It may have been taken at
    /// another node, so it is looked for, once and together with whoever comes now; from then on
    /// this node knows it. Looks are counted as those that a page takes; past the limit, what this
    /// node knows is told.
    pub(super) async fn positions(&mut self) -> Vec<String> {
        let now = self.app.engine.now();
        let waits = |sale: &Arc<SaleState>| match sale.front_door.waiting_room {
            Room::Off => false,
            Room::Auto => sale.is_held(now),
            Room::Always => sale.row.phase != Phase::Closed,
        };
        let followed = self.subscription.sales().iter();
        let sales: Vec<_> =
            followed.filter_map(|sale| shown(&self.app, sale).ok()).filter(waits).collect();
        let is_to_be_looked_for = |sale: &&Arc<SaleState>| {
            self.app.gate.room.cached_position(&self.app.engine, sale, self.buyer()).is_none()
                && self.app.check_rate_limit(Route::Room, self.client, self.buyer(), sale).is_ok()
        };
        let looks = sales.iter().filter(is_to_be_looked_for);
        let looks = looks
            .map(|sale| self.app.gate.room.fetch_position(&self.app.engine, sale, self.buyer()));
        // Events are hints: a reader is not kept waiting for a store that is away.
        let _ = tokio::time::timeout(POSITIONS_TIMEOUT, join_all(looks)).await;
        let places = sales
            .iter()
            .filter_map(|sale| waiting_room::position_event(&self.app, sale, self.buyer()));
        let places: Vec<String> = places.map(|place| json(&place)).collect();
        self.place = places.last().map(|place| fingerprint(place));
        places
    }

    /// What waits already. `None`: nothing does, and when something comes `ready_queue` is rung
    /// with `key`. It waits for nothing: a status that nobody has made yet is told when this is
    /// asked again, and nothing behind it before.
    pub(super) fn next_or_park(
        &mut self,
        ready_queue: &Arc<ReadyQueue>,
        key: u64,
    ) -> Option<NextMessage> {
        loop {
            let event = match self.take_pending_status() {
                Some(event) => event,
                None => match self.subscription.next_or_park(ready_queue, key)? {
                    NextEvent::HubEvent(event) => event,
                    // Counted by whoever tells the reader.
                    NextEvent::Lagged => return Some(NextMessage::TooSlow),
                },
            };
            match self.render(&event) {
                Ok(Some(json)) => return Some(NextMessage::Json(json)),
                Ok(None) => {}
                Err(pending) => {
                    self.pending_status = Some((pending.event, pending.name.clone()));
                    return Some(NextMessage::NotYet(pending));
                }
            }
        }
    }

    fn take_pending_status(&mut self) -> Option<notify::HubEvent> {
        self.pending_status
            .take()
            .map(|(id, sale)| notify::HubEvent { id, kind: EventKind::Status(sale) })
    }

    /// Nothing is rung for any more.
    pub(super) fn unpark(&mut self) {
        self.subscription.unpark();
    }

    /// Whether operators turn the reader away by what changed since this was last asked.
    pub(super) fn is_newly_blocked(&mut self) -> bool {
        // The sender lives as long as the server.
        if !self.blocks.has_changed().unwrap_or(false) {
            return false;
        }
        self.blocks.mark_unchanged();
        self.is_blocked()
    }

    /// Waits until operators turn the reader away.
    pub(super) async fn wait_until_blocked(&mut self) {
        loop {
            // The sender lives as long as the server.
            let _ = self.blocks.changed().await;
            if self.is_blocked() {
                return;
            }
        }
    }

    fn is_blocked(&self) -> bool {
        self.app.ensure_not_blocked(self.client, self.buyer()).is_err()
    }

    /// Waits for the next event. Dropping the future loses nothing: it is over as soon as it has
    /// the event, and whoever asked has that told.
    pub(super) async fn next(&mut self) -> FeedEvent {
        loop {
            let next = tokio::select! {
                biased;
                // The sender lives as long as the server.
                _ = self.blocks.changed() => None,
                () = std::future::ready(()), if self.pending_status.is_some() => self.take_pending_status().map(NextEvent::HubEvent),
                next = self.subscription.next() => Some(next),
            };
            match next {
                Some(NextEvent::HubEvent(event)) => return FeedEvent::Event(event),
                Some(NextEvent::Lagged) => {
                    self.app.metrics.dropped.add_one();
                    return FeedEvent::TooSlow;
                }
                None if self.is_blocked() => return FeedEvent::TurnedAway,
                None => {}
            }
        }
    }

    /// An event as JSON. It may take the time that a status takes to be made, so this is not to be
    /// dropped before it is done. `None`: there is nothing to tell of it, or the server stops,
    /// which waits for no status.
    pub(super) async fn event_json(&mut self, event: &notify::HubEvent) -> Option<String> {
        let pending = match self.render(event) {
            Ok(json) => return json,
            Err(pending) => pending,
        };
        tokio::select! {
            json = pending.render_status(&self.app) => Some(json),
            () = self.app.stop.cancelled() => None,
        }
    }

    /// An event as JSON, as far as it can be told at once. `Ok(None)`: there is nothing to tell of
    /// it.
    fn render(&mut self, event: &notify::HubEvent) -> Result<Option<String>, PendingStatus> {
        let EventKind::Status(name) = &event.kind else { return Ok(self.render_own(&event.kind)) };
        // What is not in the catalogue any more is nothing to tell of.
        let Ok(sale) = shown(&self.app, name) else { return Ok(None) };
        match self.app.views.cached_status(&self.app.engine, &sale, event.id) {
            Some(made) => Ok(Some(status_event(&made.bytes))),
            None => Err(PendingStatus { name: name.clone(), sale, event: event.id }),
        }
    }

    /// What is made for this reader alone.
    fn render_own(&mut self, kind: &EventKind) -> Option<String> {
        match kind {
            EventKind::Order(order) => {
                let order = wire::order_in(&self.app.engine.catalogue(), order)?;
                Some(json(&Event::Order { order: AnyOrder::Order(order) }))
            }
            EventKind::Refused { id, item, buyer, units, verdict } => {
                let item = self.app.engine.catalogue().item_by_id(*item)?.clone();
                let refused =
                    wire::refused(*id, buyer.as_str(), &item, *units, wire::refusal_code(*verdict));
                Some(json(&Event::Order { order: AnyOrder::Refused(refused) }))
            }
            EventKind::WaitlistEnded { id, item, buyer } => {
                let item = self.app.engine.catalogue().item_by_id(*item)?.clone();
                let refused =
                    wire::refused(*id, buyer.as_str(), &item, Units::ONE, RefusalCode::Ended);
                Some(json(&Event::Order { order: AnyOrder::Refused(refused) }))
            }
            EventKind::Room(sale) | EventKind::Place { sale, .. } => {
                let sale = shown(&self.app, sale).ok()?;
                let place = json(&waiting_room::position_event(&self.app, &sale, self.buyer())?);
                let now = Some(fingerprint(&place));
                // Who is told the same again learns nothing.
                (std::mem::replace(&mut self.place, now) != now).then_some(place)
            }
            // It is made for everybody.
            EventKind::Status(_) => None,
        }
    }
}

fn json(event: &Event) -> String {
    serde_json::to_string(event).expect("wire types serialise into memory")
}

/// What tells one text from others, in eight bytes.
fn fingerprint(text: &str) -> NonZeroU64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN)
}

/// The event around a status that is rendered already.
fn status_event(rendered: &[u8]) -> String {
    let status = std::str::from_utf8(rendered).expect("JSON is UTF-8");
    format!(r#"{{"type":"status","status":{status}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_api::sale::{Phase, Status};

    #[test]
    fn a_status_put_into_an_event_reads_as_one() {
        let inner = Status {
            server_time: wire::time(doorbuster_core::Millis(0)),
            sale: "spring".into(),
            phase: Phase::Open,
            started: true,
            starts_at: None,
            ends_at: None,
            version: "x".into(),
            front_door: Default::default(),
            items: Vec::new(),
        };
        let text = status_event(&serde_json::to_vec(&inner).expect("plain data serialises"));
        assert_eq!(text, json(&Event::Status { status: inner }));
    }
}
