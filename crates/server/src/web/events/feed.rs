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
use crate::notify::{self, Bell, Kind, Next, Subscription};
use crate::web::gate::room;
use crate::web::limits::PLACES_TIMEOUT;
use crate::web::sales::shown;
use crate::web::who::Client;
use crate::web::{App, wire};

/// What comes next.
#[derive(Debug)]
pub(super) enum Heard {
    /// This happened.
    Event(notify::Event),
    /// The reader let too much wait and has to go.
    TooSlow,
    /// Operators turn the reader away since the stream began.
    TurnedAway,
}

/// What a reader that rests is told of what waits.
pub(super) enum Told {
    /// An event's JSON.
    Json(String),
    /// Nothing before this was made.
    NotYet(Unmade),
    /// The reader let too much wait and has to go.
    TooSlow,
}

/// A status of which an event tells, and which nobody has made yet.
pub(super) struct Unmade {
    /// Whose status.
    pub name: Arc<str>,
    sale: Arc<SaleState>,
    event: u64,
}

impl Unmade {
    /// Makes it, once for all who wait for it, however many ask; the event's JSON.
    pub(super) async fn make(&self, app: &App) -> String {
        status(&app.views.status_of_event(&app.engine, &self.sale, self.event).await.bytes)
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
    kept: Option<(u64, Arc<str>)>,
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
        let subscription =
            app.engine.hub().subscribe(Some(buyer), sales, app.streams_max, after)?;
        Some(Self { app, subscription, client, blocks, place: None, kept: None })
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
        let sales: Vec<_> =
            followed.filter_map(|sale| shown(&self.app, sale).ok()).filter(waits).collect();
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

    /// What waits already. `None`: nothing does, and when something comes `bell` is rung with `key`. It waits for nothing: a status that nobody has made yet
    /// is told when this is asked again, and nothing behind it before.
    pub(super) fn rest(&mut self, bell: &Arc<Bell>, key: u64) -> Option<Told> {
        loop {
            let event = match self.take_kept() {
                Some(event) => event,
                None => match self.subscription.rest(bell, key)? {
                    Next::Event(event) => event,
                    // Counted by whoever tells the reader.
                    Next::Lagged => return Some(Told::TooSlow),
                },
            };
            match self.render(&event) {
                Ok(Some(json)) => return Some(Told::Json(json)),
                Ok(None) => {}
                Err(unmade) => {
                    self.kept = Some((unmade.event, unmade.name.clone()));
                    return Some(Told::NotYet(unmade));
                }
            }
        }
    }

    fn take_kept(&mut self) -> Option<notify::Event> {
        self.kept.take().map(|(id, sale)| notify::Event { id, kind: Kind::Status(sale) })
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
        self.is_blocked()
    }

    /// Waits until operators turn the reader away.
    pub(super) async fn turned_away(&mut self) {
        loop {
            // The sender lives as long as the server.
            let _ = self.blocks.changed().await;
            if self.is_blocked() {
                return;
            }
        }
    }

    fn is_blocked(&self) -> bool {
        self.app.not_blocked(self.client, self.buyer()).is_err()
    }

    /// Waits for the next event. Dropping the future loses nothing: it is over as soon as it has the event, and whoever asked has that told.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            let next = tokio::select! {
                biased;
                // The sender lives as long as the server.
                _ = self.blocks.changed() => None,
                () = std::future::ready(()), if self.kept.is_some() => self.take_kept().map(Next::Event),
                next = self.subscription.next() => Some(next),
            };
            match next {
                Some(Next::Event(event)) => return Heard::Event(event),
                Some(Next::Lagged) => {
                    self.app.metrics.dropped.add_one();
                    return Heard::TooSlow;
                }
                None if self.is_blocked() => return Heard::TurnedAway,
                None => {}
            }
        }
    }

    /// An event as JSON. It may take the time that a status takes to be made, so this is not to be dropped before it is done. `None`: there is nothing to tell
    /// of it, or the server stops, which waits for no status.
    pub(super) async fn told(&mut self, event: &notify::Event) -> Option<String> {
        let unmade = match self.render(event) {
            Ok(json) => return json,
            Err(unmade) => unmade,
        };
        tokio::select! {
            json = unmade.make(&self.app) => Some(json),
            () = self.app.stop.cancelled() => None,
        }
    }

    /// An event as JSON, as far as it can be told at once. `Ok(None)`: there is nothing to tell of it.
    fn render(&mut self, event: &notify::Event) -> Result<Option<String>, Unmade> {
        let Kind::Status(name) = &event.kind else { return Ok(self.render_own(&event.kind)) };
        // What is not in the catalogue any more is nothing to tell of.
        let Ok(sale) = shown(&self.app, name) else { return Ok(None) };
        match self.app.views.status_at_hand(&self.app.engine, &sale, event.id) {
            Some(made) => Ok(Some(status(&made.bytes))),
            None => Err(Unmade { name: name.clone(), sale, event: event.id }),
        }
    }

    /// What is made for this reader alone.
    fn render_own(&mut self, kind: &Kind) -> Option<String> {
        match kind {
            Kind::Order(order) => {
                let order = wire::order_in(&self.app.engine.catalogue(), order)?;
                Some(json(&Event::Order { order: AnyOrder::Order(order) }))
            }
            Kind::Refused { id, item, buyer, units, verdict } => {
                let item = self.app.engine.catalogue().item_of(*item)?.clone();
                let refused =
                    wire::refused(*id, buyer.as_str(), &item, *units, wire::refusal_code(*verdict));
                Some(json(&Event::Order { order: AnyOrder::Refused(refused) }))
            }
            Kind::LineEnded { id, item, buyer } => {
                let item = self.app.engine.catalogue().item_of(*item)?.clone();
                let refused =
                    wire::refused(*id, buyer.as_str(), &item, Units::ONE, RefusalCode::Ended);
                Some(json(&Event::Order { order: AnyOrder::Refused(refused) }))
            }
            Kind::Room(sale) | Kind::Place { sale, .. } => {
                let sale = shown(&self.app, sale).ok()?;
                let place = json(&room::event(&self.app, &sale, self.buyer())?);
                let now = Some(print(&place));
                // Who is told the same again learns nothing.
                (std::mem::replace(&mut self.place, now) != now).then_some(place)
            }
            // It is made for everybody.
            Kind::Status(_) => None,
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
