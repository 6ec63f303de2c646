//! The texts of messages. Each text names the time until which its message is valid.

use doorbuster_api::value::Text;
use doorbuster_core::gate::room::VisitorStatus;
use doorbuster_core::{BuyerId, Millis, Order, OrderState};
use doorbuster_engine::node::Node;
use doorbuster_engine::notify::EventKind;
use doorbuster_engine::page_document;
use doorbuster_engine::page_document::PAGE_LANGUAGES;
use doorbuster_engine::sale_room::SaleRoom;
use doorbuster_gate::Gate;
use doorbuster_store::RoomKey;
use serde::Serialize;

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
    /// The title of the item or of the sale, in the languages of the pages.
    title: Text,
    /// The time until which the message is valid, in milliseconds since 1970.
    until: i64,
    /// The page to open.
    url: String,
    /// The topic of the request to the push service. If a message with the same topic is still
    /// undelivered, the new message replaces it.
    #[serde(skip)]
    pub topic: String,
}

impl PushText {
    /// Returns the content of the message about this event. Returns `None` if buyers get no message
    /// about such an event.
    pub(super) fn about_event(
        node: &Node,
        gate: &Gate,
        event: &EventKind,
        now: Millis,
    ) -> Option<Self> {
        match event {
            EventKind::Order(order) => Self::about_order(node, order, now),
            EventKind::Position { room, buyer } => about_position(node, gate, room, buyer),
            EventKind::Refused { .. }
            | EventKind::WaitlistEnded { .. }
            | EventKind::Status(_)
            | EventKind::Room(_)
            | EventKind::Relayed { .. } => None,
        }
    }

    pub(super) fn about_order(node: &Node, order: &Order, now: Millis) -> Option<Self> {
        if order.state != OrderState::Reserved || order.pay_by <= now {
            return None;
        }
        let catalogue = node.catalogue();
        let item = catalogue.item_by_id(order.item)?;
        Some(Self {
            subject: Subject::Reserved,
            title: in_page_languages(&page_document::item_texts(&item.row).title),
            until: order.pay_by.0,
            url: format!("/order/{}", order.id),
            topic: topic("order", &order.id.to_string()),
        })
    }

    pub(super) fn about_turn(room: SaleRoom<'_>, until: Millis) -> Self {
        let sale = &room.sale.row;
        let title = match room.item {
            Some(item) => page_document::item_texts(&item.row).title,
            None => page_document::sale_title(sale),
        };
        // The item's name needs no encoding, because a URL allows all characters of a name.
        let item = room.item_name().map(|name| format!("#item={name}&turn"));
        let url = format!("/sale/{}{}", sale.id, item.unwrap_or_default());
        Self {
            subject: Subject::Turn,
            title: in_page_languages(&title),
            until: until.0,
            topic: topic("turn", &url),
            url,
        }
    }

    pub(super) fn until(&self) -> Millis {
        Millis(self.until)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a text serialises into memory")
    }
}

fn about_position(node: &Node, gate: &Gate, key: &RoomKey, buyer: &BuyerId) -> Option<PushText> {
    let catalogue = node.catalogue();
    let room = catalogue.sale(&key.sale)?.room_by_key(key)?;
    match gate.room.cached_position(node, room, buyer)?.status {
        VisitorStatus::Admitted(until) => Some(PushText::about_turn(room, until)),
        VisitorStatus::NotDrawn
        | VisitorStatus::Waiting(_)
        | VisitorStatus::BeyondStock(_)
        | VisitorStatus::Lapsed => None,
    }
}

/// Reduces a title to the languages of the pages, because a message must be short.
fn in_page_languages(text: &Text) -> Text {
    let texts = PAGE_LANGUAGES.map(|language| (language, text.for_language(language)));
    match texts {
        [(_, one), (_, other)] if one == other => Text::Plain(one.to_owned()),
        texts => Text::Languages(texts.map(|(tag, text)| (tag.to_owned(), text.to_owned())).into()),
    }
}

/// Returns a topic for the push service, which may have at most 32 characters of base64url (RFC
/// 8030, section 5.4).
fn topic(kind: &str, name: &str) -> String {
    let hash = blake3::hash(format!("{kind}\0{name}").as_bytes()).to_hex();
    hash[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_title_for_each_language_of_the_pages_and_no_other_language() {
        let sent = |json: &str| {
            let text: Text = serde_json::from_str(json).expect(json);
            serde_json::to_string(&in_page_languages(&text)).expect("JSON")
        };
        assert_eq!(sent(r#""Lamp""#), r#""Lamp""#);
        assert_eq!(
            sent(r#"{"en":"Lamp","fr":"Lampe","zh-CN":"灯"}"#),
            r#"{"en":"Lamp","zh":"灯"}"#
        );
        assert_eq!(sent(r#"{"fr":"Lampe"}"#), r#""Lampe""#);
    }
}
