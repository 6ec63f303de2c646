//! The texts of messages. A text names the time until which it is true.

use doorbuster_core::gate::room::VisitorStatus;
use doorbuster_core::{BuyerId, Millis, Order, OrderState};
use doorbuster_store::RoomKey;
use serde::Serialize;

use crate::engine::Engine;
use crate::gate::Gate;
use crate::gate::waiting_room::SaleRoom;
use crate::notify::EventKind;
use crate::web::page_document;

/// The subject of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Subject {
    /// The buyer's turn in a waiting room.
    Turn,
    /// Units that are reserved for the buyer.
    Reserved,
}

/// The content of a message, for the browser's service worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PushText {
    #[serde(rename = "kind")]
    pub subject: Subject,
    /// The title of the item or of the sale.
    title: String,
    /// The time until which the message is true, in milliseconds since 1970.
    until: i64,
    /// The page to open.
    url: String,
    /// The push service replaces an undelivered message that has the same topic.
    #[serde(skip)]
    pub topic: String,
}

impl PushText {
    /// Returns the text about an event, if buyers get messages about such events.
    pub(super) fn about_event(
        engine: &Engine,
        gate: &Gate,
        event: &EventKind,
        now: Millis,
    ) -> Option<Self> {
        match event {
            EventKind::Order(order) => Self::about_order(engine, order, now),
            EventKind::Position { room, buyer } => about_position(engine, gate, room, buyer),
            EventKind::Refused { .. }
            | EventKind::WaitlistEnded { .. }
            | EventKind::Status(_)
            | EventKind::Room(_) => None,
        }
    }

    /// Returns the text about an order, if the order waits for payment.
    pub(super) fn about_order(engine: &Engine, order: &Order, now: Millis) -> Option<Self> {
        if order.state != OrderState::Reserved || order.pay_by <= now {
            return None;
        }
        let catalogue = engine.catalogue();
        let item = catalogue.item_by_id(order.item)?;
        Some(Self {
            subject: Subject::Reserved,
            title: item.row.title.clone(),
            until: order.pay_by.0,
            url: format!("/order/{}", order.id),
            topic: topic("order", &order.id.to_string()),
        })
    }

    /// Returns the text about a turn that ends at this time.
    pub(super) fn about_turn(room: SaleRoom<'_>, until: Millis) -> Self {
        let sale = &room.sale.row;
        let sale_title = || page_document::sale_title(sale).fallback().to_owned();
        // A name has only characters that need no encoding in a URL.
        let item = room.item_name().map(|name| format!("#item={name}&turn"));
        let url = format!("/sale/{}{}", sale.id, item.unwrap_or_default());
        Self {
            subject: Subject::Turn,
            title: room.item.map_or_else(sale_title, |item| item.row.title.clone()),
            until: until.0,
            topic: topic("turn", &url),
            url,
        }
    }

    /// Returns the time until which the message is true.
    pub(super) fn until(&self) -> Millis {
        Millis(self.until)
    }

    /// Returns the text in the form that the browser's service worker reads.
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a text serialises into memory")
    }
}

fn about_position(
    engine: &Engine,
    gate: &Gate,
    key: &RoomKey,
    buyer: &BuyerId,
) -> Option<PushText> {
    let catalogue = engine.catalogue();
    let room = catalogue.sale(&key.sale)?.room_by_key(key)?;
    match gate.room.cached_position(engine, room, buyer)?.status {
        VisitorStatus::Admitted(until) => Some(PushText::about_turn(room, until)),
        VisitorStatus::NotDrawn
        | VisitorStatus::Waiting(_)
        | VisitorStatus::BeyondStock(_)
        | VisitorStatus::Lapsed => None,
    }
}

/// Returns a topic for push services: at most 32 characters of base64url (RFC 8030, section 5.4).
fn topic(kind: &str, name: &str) -> String {
    let hash = blake3::hash(format!("{kind}\0{name}").as_bytes()).to_hex();
    hash[..32].to_owned()
}
