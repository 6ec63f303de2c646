//! One reader's events as JSON, out of the hub.

use std::hash::{DefaultHasher, Hasher};
use std::num::NonZeroU64;
use std::sync::Arc;

use doorbuster_api::event::Event;
use doorbuster_api::gate::Room;
use doorbuster_api::order::AnyOrder;
use doorbuster_core::{BuyerId, Phase};
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::catalogue::SaleState;
use crate::gate::Route;
use crate::notify::{Bell, Kind, Next, Subscription};
use crate::web::gate::room;
use crate::web::limits::PLACES_TIMEOUT;
use crate::web::sales::shown;
use crate::web::who::Client;
use crate::web::{App, wire};

/// What comes next.
#[derive(Debug)]
pub(super) enum Told {
    /// An event's number and JSON.
    Event(u64, String),
    /// The reader let too much wait and has to go.
    TooSlow,
    /// Operators turn the reader away since the stream began.
    TurnedAway,
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
}

impl Feed {
    /// Begins with what is kept of the buyer's orders since the event `after`. `None`: the buyer has as many streams as one may have.
    pub(super) fn new(
        app: Arc<App>,
        (client, buyer): (Client, BuyerId),
        sales: Vec<String>,
        blocks: watch::Receiver<()>,
        after: Option<u64>,
    ) -> Option<Self> {
        let subscription = app.engine.hub().subscribe(Some(buyer), sales, app.streams_max, after)?;
        Some(Self { app, subscription, client, blocks, place: None })
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

    /// The present status of each sale: a reader who comes, or comes again, does not wait for the next change.
    pub(super) async fn statuses(&self) -> Vec<String> {
        let mut statuses = Vec::with_capacity(self.subscription.sales().len());
        for sale in self.subscription.sales() {
            if let Ok(sale) = shown(&self.app, sale) {
                statuses.push(status(&self.app.views.status(&self.app.engine, &sale).await.bytes));
            }
        }
        statuses
    }

    /// The buyer's place in the waiting room of each sale that has one. It may have been taken at another node, so it is looked for, once and together with
    /// whoever comes now; from then on this node knows it. Looks are counted as those that a page takes; past the limit, what this node knows is told.
    pub(super) async fn places(&mut self) -> Vec<String> {
        let now = self.app.engine.now();
        let waits = |sale: &Arc<SaleState>| match sale.door.waiting_room {
            Room::Off => false,
            Room::Auto => sale.is_held(now),
            Room::Always => sale.row.phase != Phase::Closed,
        };
        let followed = self.subscription.sales().iter();
        let sales: Vec<_> = followed.filter_map(|sale| shown(&self.app, sale).ok()).filter(waits).collect();
        let is_to_be_looked_for = |sale: &&Arc<SaleState>| {
            self.app.gate.room.glimpse(&self.app.engine, sale, self.buyer()).is_none()
                && self.app.let_in(Route::Room, self.client, self.buyer(), sale).is_ok()
        };
        let looks = sales.iter().filter(is_to_be_looked_for);
        let looks = looks.map(|sale| self.app.gate.room.look(&self.app.engine, sale, self.buyer()));
        // Events are hints: a reader is not kept waiting for a store that is away.
        let _ = tokio::time::timeout(PLACES_TIMEOUT, join_all(looks)).await;
        let places = sales.iter().filter_map(|sale| room::event(&self.app, sale, self.buyer()));
        let places: Vec<String> = places.map(|place| json(&place)).collect();
        self.place = places.last().map(|place| print(place));
        places
    }

    /// What waits already, told as [`Feed::next`] tells it. `None`: nothing does, and when something comes `bell` is rung with `key`.
    pub(super) async fn rest(&mut self, bell: &Arc<Bell>, key: u64) -> Option<Told> {
        loop {
            let event = match self.subscription.rest(bell, key)? {
                Next::Event(event) => event,
                // Counted by whoever tells the reader.
                Next::Lagged => return Some(Told::TooSlow),
            };
            if let Some(json) = self.render(event.id, &event.kind).await {
                return Some(Told::Event(event.id, json));
            }
        }
    }

    /// Nothing is rung for any more.
    pub(super) fn rouse(&mut self) {
        self.subscription.rouse();
    }

    /// Whether operators turn the reader away by what changed since this was last asked.
    pub(super) fn is_turned_away(&mut self) -> bool {
        // The sender lives as long as the server.
        if !self.blocks.has_changed().unwrap_or(false) {
            return false;
        }
        self.blocks.mark_unchanged();
        self.app.not_blocked(self.client, self.buyer()).is_err()
    }

    /// Waits for the next event. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Told {
        loop {
            let next = tokio::select! {
                biased;
                // The sender lives as long as the server.
                _ = self.blocks.changed() => None,
                next = self.subscription.next() => Some(next),
            };
            let event = match next {
                Some(Next::Event(event)) => event,
                Some(Next::Lagged) => {
                    self.app.metrics.dropped.add_one();
                    return Told::TooSlow;
                }
                None if self.app.not_blocked(self.client, self.buyer()).is_err() => return Told::TurnedAway,
                None => continue,
            };
            // What is not in the catalogue any more is nothing to tell of.
            if let Some(json) = self.render(event.id, &event.kind).await {
                return Told::Event(event.id, json);
            }
        }
    }

    async fn render(&mut self, id: u64, kind: &Kind) -> Option<String> {
        match kind {
            Kind::Order(order) => {
                let order = wire::order_in(&self.app.engine.catalogue(), order)?;
                Some(json(&Event::Order { order: AnyOrder::Order(order) }))
            }
            Kind::Refused { id, item, buyer, units, verdict } => {
                let item = self.app.engine.catalogue().item_of(*item)?.clone();
                let refused = wire::refused(*id, buyer.as_str(), &item, *units, wire::refusal_code(*verdict));
                Some(json(&Event::Order { order: AnyOrder::Refused(refused) }))
            }
            Kind::Status(sale) => {
                let sale = shown(&self.app, sale).ok()?;
                Some(status(&self.app.views.status_of_event(&self.app.engine, &sale, id).await.bytes))
            }
            Kind::Room(sale) | Kind::Place { sale, .. } => {
                let sale = shown(&self.app, sale).ok()?;
                let place = json(&room::event(&self.app, &sale, self.buyer())?);
                let now = Some(print(&place));
                // Who is told the same again learns nothing.
                (std::mem::replace(&mut self.place, now) != now).then_some(place)
            }
        }
    }
}

fn json(event: &Event) -> String {
    serde_json::to_string(event).expect("wire types serialise into memory")
}

/// What tells one text from others, in eight bytes.
fn print(text: &str) -> NonZeroU64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN)
}

/// The event around a status that is rendered already.
fn status(rendered: &[u8]) -> String {
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
        let text = status(&serde_json::to_vec(&inner).expect("plain data serialises"));
        assert_eq!(text, json(&Event::Status { status: inner }));
    }
}
