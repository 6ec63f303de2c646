//! Turns the hub's events into JSON for one reader, which is one event stream or WebSocket of a
//! buyer.

mod end;
mod positions;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_api::event::Event;
use doorbuster_api::order::{AnyOrder, RefusalCode};
use doorbuster_core::{BuyerId, Millis, Units};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::edge::RelayGuard;
use doorbuster_engine::notify::{self, EventKind, NextEvent, ReadyQueue, Subscription};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::App;
use crate::gate::waiting_room;
use crate::identity::{ClientAddress, TokenExpiry};
use crate::limits::STREAM_AGE_MAX;
use crate::sales::shown;

pub(super) use positions::fetch_positions;

#[derive(Debug)]
pub(super) enum FeedEvent {
    /// An event to send.
    Event(notify::HubEvent),
    /// The reader was too slow and must be disconnected.
    TooSlow,
    /// An operator blocked the reader after the stream began.
    TurnedAway,
    /// The reader's token expired.
    Expired,
}

/// The next message for an idle reader.
pub(super) enum NextMessage {
    Json(String),
    /// The next event is a sale's status that is not rendered yet. The caller must render this
    /// status before it sends any other event.
    NotYet(PendingStatus),
    /// The reader was too slow and must be disconnected.
    TooSlow,
}

pub(super) struct PendingStatus {
    /// The sale.
    pub name: Arc<str>,
    sale: Arc<SaleState>,
    event: u64,
}

impl PendingStatus {
    /// Renders the status once for all waiting readers.
    pub(super) async fn render_status(&self, app: &App) -> String {
        status_event(&app.views.status_for_event(&self.sale, self.event).await.bytes)
    }
}

pub(super) struct EventFeed {
    app: Arc<App>,
    subscription: Subscription,
    client: ClientAddress,
    ends_at: Instant,
    blocks: watch::Receiver<()>,
    /// The last position that the reader got in each waiting room. The room and the position are
    /// stored as hashes.
    sent_positions: Vec<(u64, NonZeroU64)>,
    /// A status event whose status is not rendered yet: the event's number and its sale. No other
    /// event may be sent before it.
    pending_status: Option<(u64, Arc<str>)>,
    /// Only on an edge. While this value exists, a node sends this buyer's events to the edge.
    relay: Option<RelayGuard>,
}

impl EventFeed {
    /// Subscribes to the buyer's events and to the sales. If `after` is set and this node still has
    /// the buyer's events after this number, the stream begins with these events. Returns `None` if
    /// the buyer already has the maximum number of streams.
    pub(super) fn new(
        app: Arc<App>,
        (client, buyer, expiry): (ClientAddress, BuyerId, TokenExpiry),
        sales: Vec<String>,
        blocks: watch::Receiver<()>,
        after: Option<u64>,
    ) -> Option<Self> {
        let most = app.live().event_streams_max;
        let hub = app.node.hub();
        let subscription = hub.subscribe(Some(buyer.clone()), sales.clone(), most, after)?;
        let relay = app.node.edge().map(|edge| edge.relay.follow(buyer, sales, client.address));
        let ends_at = ends_at(&app, expiry);
        Some(Self { relay, ..Self::from_parts(app, subscription, client, ends_at, blocks) })
    }

    /// Subscribes to a buyer's events for an edge. This feed contains no status events, because the
    /// edge renders the status itself. The feed does not end when a token expires, because the edge
    /// ends the buyer's stream.
    pub(super) fn for_edge(
        app: Arc<App>,
        (client, buyer): (ClientAddress, BuyerId),
        sales: Vec<String>,
        blocks: watch::Receiver<()>,
    ) -> Self {
        let subscription = app.node.hub().subscribe_for_edge(buyer, sales);
        Self::from_parts(app, subscription, client, Instant::now(), blocks)
    }

    /// On an edge, waits until a node sends the buyer's events to the edge.
    pub(super) async fn wait_until_followed(&mut self) {
        if let Some(relay) = &mut self.relay {
            relay.wait_until_followed().await;
        }
    }

    fn from_parts(
        app: Arc<App>,
        subscription: Subscription,
        client: ClientAddress,
        ends_at: Instant,
        blocks: watch::Receiver<()>,
    ) -> Self {
        Self {
            app,
            subscription,
            client,
            ends_at,
            blocks,
            sent_positions: Vec::new(),
            pending_status: None,
            relay: None,
        }
    }

    pub(super) fn ends_at(&self) -> Instant {
        self.ends_at
    }

    /// Extends the stream until a new token of the buyer expires. Returns the event that confirms
    /// this, or `None` if the token belongs to another buyer.
    pub(super) fn renew(&mut self, buyer: &BuyerId, expiry: TokenExpiry) -> Option<String> {
        if buyer != self.buyer() {
            return None;
        }
        self.ends_at = ends_at(&self.app, expiry);
        Some(json(&Event::Renewed { expires_at: api_conversion::time(millis(expiry)) }))
    }

    pub(super) fn app(&self) -> &Arc<App> {
        &self.app
    }

    pub(super) fn sales(&self) -> &[Arc<str>] {
        self.subscription.sales()
    }

    pub(super) fn client(&self) -> ClientAddress {
        self.client
    }

    pub(super) fn buyer(&self) -> &BuyerId {
        self.subscription.buyer().expect("the reader subscribed as a buyer")
    }

    /// Returns the number of the event after which the stream begins.
    pub(super) fn since(&self) -> u64 {
        self.subscription.since()
    }

    pub(super) fn hello(&self) -> String {
        json(&Event::Hello { server_time: api_conversion::time(self.app.node.now()) })
    }

    /// Returns a status event for each sale, so that a new reader need not wait until a status
    /// changes.
    pub(super) async fn statuses(&self) -> Vec<String> {
        let mut statuses = Vec::with_capacity(self.subscription.sales().len());
        for sale in self.subscription.sales() {
            if let Ok(sale) = shown(&self.app, sale) {
                statuses.push(status_event(&self.app.views.status(&sale).await.bytes));
            }
        }
        statuses
    }

    /// Returns the next waiting event without blocking, or one of these:
    /// - `None`: no event waits. `ready_queue` gets `key` when the next event arrives.
    /// - `NotYet`: the next event is a status that must be rendered first. After that, the next
    ///   call returns this event.
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
            .map(|(id, sale)| notify::HubEvent { id, kind: Arc::new(EventKind::Status(sale)) })
    }

    /// Undoes [`Self::next_or_park`]: the ready queue does not get this feed's key any more.
    pub(super) fn unpark(&mut self) {
        self.subscription.unpark();
    }

    /// If the blocks have changed since the last call, returns whether this reader is blocked.
    /// Otherwise returns `false`.
    pub(super) fn is_newly_blocked(&mut self) -> bool {
        // The sender lives as long as the server, so an error cannot occur.
        if !self.blocks.has_changed().unwrap_or(false) {
            return false;
        }
        self.blocks.mark_unchanged();
        self.is_blocked()
    }

    fn is_blocked(&self) -> bool {
        self.app.ensure_not_blocked(self.client, self.buyer()).is_err()
    }

    /// Waits for the next event. No event is lost if the caller drops the future.
    pub(super) async fn next(&mut self) -> FeedEvent {
        loop {
            let next = tokio::select! {
                biased;
                // The sender lives as long as the server, so an error cannot occur.
                _ = self.blocks.changed() => None,
                () = sleep_until(self.ends_at) => return FeedEvent::Expired,
                () = std::future::ready(()), if self.pending_status.is_some() => {
                    self.take_pending_status().map(NextEvent::HubEvent)
                }
                next = self.subscription.next() => Some(next),
            };
            match next {
                Some(NextEvent::HubEvent(event)) => return FeedEvent::Event(event),
                Some(NextEvent::Lagged) => return FeedEvent::TooSlow,
                None if self.is_blocked() => return FeedEvent::TurnedAway,
                None => {}
            }
        }
    }

    /// Renders an event as JSON. Returns `None` if the event needs no message, or if the server is
    /// stopping. The caller must not drop this future, because the event would be lost.
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

    /// Renders an event as JSON. Returns `Ok(None)` if the event needs no message, and an error if
    /// the event is a status that must be rendered first.
    fn render(&mut self, event: &notify::HubEvent) -> Result<Option<String>, PendingStatus> {
        let EventKind::Status(name) = &*event.kind else { return Ok(self.render_own(&event.kind)) };
        let Ok(sale) = shown(&self.app, name) else { return Ok(None) };
        match self.app.views.cached_status(&sale, event.id) {
            Some(made) => Ok(Some(status_event(&made.bytes))),
            None => Err(PendingStatus { name: name.clone(), sale, event: event.id }),
        }
    }

    fn render_own(&mut self, kind: &EventKind) -> Option<String> {
        match kind {
            EventKind::Order(order) => {
                let order = api_conversion::order_in(&self.app.node.catalogue(), order)?;
                Some(json(&Event::Order { order: AnyOrder::Order(order) }))
            }
            EventKind::Refused { id, item, buyer, units, verdict } => {
                let item = self.app.node.catalogue().item_by_id(*item)?.clone();
                let refused = api_conversion::refused(
                    *id,
                    buyer.as_str(),
                    &item,
                    *units,
                    api_conversion::refusal_code(*verdict),
                );
                Some(json(&Event::Order { order: AnyOrder::Refused(refused) }))
            }
            EventKind::WaitlistEnded { id, item, buyer } => {
                let item = self.app.node.catalogue().item_by_id(*item)?.clone();
                let refused = api_conversion::refused(
                    *id,
                    buyer.as_str(),
                    &item,
                    Units::ONE,
                    RefusalCode::Ended,
                );
                Some(json(&Event::Order { order: AnyOrder::Refused(refused) }))
            }
            EventKind::Room(key) | EventKind::Position { room: key, .. } => {
                let sale = shown(&self.app, &key.sale).ok()?;
                let room = sale.room_by_key(key)?;
                let position = json(&waiting_room::position_event(&self.app, room, self.buyer())?);
                self.is_new_position(key, &position).then_some(position)
            }
            EventKind::Relayed { json, .. } => Some(json.to_string()),
            // `render` handles this event.
            EventKind::Status(_) => None,
        }
    }
}

/// Returns the time at which a stream with this token ends: when the token expires, but not earlier
/// than one second from now. The server accepts a token for a short time after the token's expiry,
/// so even a new stream may have an expired token.
fn ends_at(app: &App, expiry: TokenExpiry) -> Instant {
    let left_ms = millis(expiry).0.saturating_sub(app.node.clock().wall().0).max(1_000);
    Instant::now() + Duration::from_millis(left_ms.unsigned_abs()).min(STREAM_AGE_MAX)
}

fn millis(TokenExpiry(secs): TokenExpiry) -> Millis {
    Millis(secs.saturating_mul(1_000))
}

fn json(event: &Event) -> String {
    serde_json::to_string(event).expect("API types serialise into memory")
}

fn status_event(rendered: &[u8]) -> String {
    let status = std::str::from_utf8(rendered).expect("JSON is UTF-8");
    format!(r#"{{"type":"status","status":{status}}}"#)
}

#[cfg(test)]
mod tests {
    use doorbuster_api::sale::{Phase, Status};

    use super::*;

    #[test]
    fn an_event_with_a_rendered_status_equals_the_serialised_event() {
        let inner = Status {
            server_time: api_conversion::time(doorbuster_core::Millis(0)),
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
