//! A sale as the public sees it: its texts and prices, and its status, which changes quickly.

use doorbuster_types::words;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::front_door::FrontDoor;
use crate::gate::{ChallengeKind, RequirementMode, RoomScope, WaitingRoomMode};
use crate::value::{Money, Text, Time};

pub use doorbuster_types::Phase;

/// A sale as its buyers see it. It can be cached for a minute, so it has no members that change
/// quickly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "spring", "title": "Spring drop", "starts_at": "2026-11-20T10:00:00.000Z", "ends_at": null,
    "items": [{"id": "phone", "title": "Phone", "description": "", "image": null,
               "price": {"amount_minor": 10, "currency": "CNY"}, "list_price": null,
               "limit_per_buyer": 10, "hold_secs": 900}]
})))]
pub struct Sale {
    /// The sale's name.
    pub id: String,
    /// The title on the page.
    pub title: Text,
    /// When the sale opens; `null` if no time is set.
    #[schema(required = true)]
    pub starts_at: Option<Time>,
    /// When the sale closes; `null` if no time is set.
    #[schema(required = true)]
    pub ends_at: Option<Time>,
    /// The items on sale.
    pub items: Vec<Item>,
}

/// An item as its buyers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    /// The item's name within its sale.
    pub id: String,
    /// The title on the page.
    pub title: Text,
    /// The description of the item, possibly empty.
    pub description: Text,
    /// URL of a picture.
    #[schema(required = true)]
    pub image: Option<String>,
    /// Further pictures, shown after `image`; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub gallery: Vec<Picture>,
    /// Facts about the product, shown as a table; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub facts: Vec<Fact>,
    /// Price of one unit.
    pub price: Money,
    /// A price for comparison, such as the usual price.
    #[schema(required = true)]
    pub list_price: Option<Money>,
    /// The largest number of units of the item that one buyer may have.
    #[schema(minimum = 1)]
    pub limit_per_buyer: u32,
    /// How long reserved units are held for payment, in seconds.
    #[schema(minimum = 1)]
    pub hold_secs: u32,
}

/// A further picture of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Picture {
    /// URL of the picture.
    pub image: String,
    /// What the picture shows, for people who cannot see the picture; possibly empty.
    #[serde(default)]
    pub alt: Text,
}

/// A fact about a product: its name and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fact {
    /// The name, such as `Weight`.
    pub name: Text,
    /// The value, such as `1.2 kg`.
    pub value: Text,
}

/// A sale and its status, as the list of sales shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListedSale {
    /// The sale.
    #[serde(flatten)]
    pub sale: Sale,
    /// The status of the sale, at most a second old.
    pub status: Status,
}

/// A page of the sales that a buyer may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SaleList {
    /// The sales of this page.
    pub sales: Vec<ListedSale>,
    /// The `cursor` of the next page; `null` on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// What a buyer must provide before a purchase. A page reads these members to know what to request
/// from the buyer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "pass": "required", "challenge": "slider", "waiting_room": "off", "rooms": "sale", "members_only": false, "min_level": 0,
    "access_codes": "off"
})))]
pub struct StatusFrontDoor {
    /// Whether a purchase requires a pass. A sale with a challenge, a waiting room or access codes
    /// always requires a pass, because only a pass proves that the buyer met these requirements.
    pub pass: RequirementMode,
    /// The kind of challenge that the sale requires.
    pub challenge: ChallengeKind,
    /// Whether there is a waiting room.
    pub waiting_room: WaitingRoomMode,
    /// Whether the waiting room is for the whole sale or for each item.
    pub rooms: RoomScope,
    /// Whether only members may buy.
    pub members_only: bool,
    /// The lowest level (from the buyer's token) with which a buyer may buy.
    pub min_level: u8,
    /// Whether the pass requires an access code.
    pub access_codes: RequirementMode,
}

impl From<FrontDoor> for StatusFrontDoor {
    fn from(door: FrontDoor) -> Self {
        Self {
            pass: if door.needs_pass() { RequirementMode::Required } else { RequirementMode::Off },
            challenge: door.challenge,
            waiting_room: door.waiting_room,
            rooms: door.rooms,
            members_only: door.members_only,
            min_level: door.min_level,
            access_codes: door.access_codes,
        }
    }
}

words! {
    /// Whether buyers can buy an item now. If buyers cannot buy the item, the state says why.
    ItemState {
        /// The sale is not open yet.
        Upcoming = "upcoming",
        /// Units are available.
        OnSale = "on_sale",
        /// No units are available now; unpaid units may return.
        HeldOut = "held_out",
        /// No units are left, and none will return.
        SoldOut = "sold_out",
        /// An operator or the audit paused the sale.
        Paused = "paused",
        /// The sale has ended.
        Ended = "ended",
    }
}

/// The part of a sale that changes quickly. This part can be cached for a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "server_time": "2026-11-20T10:00:00.250Z", "sale": "spring", "phase": "open", "started": true,
    "starts_at": "2026-11-20T10:00:00.000Z", "ends_at": null, "version": "k3v9x2",
    "front_door": {"pass": "off", "challenge": "off", "waiting_room": "off", "rooms": "sale", "members_only": false, "min_level": 0,
                   "access_codes": "off"},
    "items": [{"item": "phone", "state": "on_sale", "count": 100, "access": 37, "remaining": 63, "held": 12}]
})))]
pub struct Status {
    /// The server's clock when the status was made.
    pub server_time: Time,
    /// The sale's name.
    pub sale: String,
    /// The sale's phase.
    pub phase: Phase,
    /// Whether the sale has opened. From the opening on, the value stays `true`.
    pub started: bool,
    /// When the sale opens; `null` if no time is set.
    #[schema(required = true)]
    pub starts_at: Option<Time>,
    /// When the sale closes; `null` if no time is set.
    #[schema(required = true)]
    pub ends_at: Option<Time>,
    /// An opaque string that changes when the sale changes or opens.
    pub version: String,
    /// What a buyer must provide.
    pub front_door: StatusFrontDoor,
    /// Each item's numbers.
    pub items: Vec<ItemStatus>,
}

/// One item's numbers. `remaining` is `count` minus `access`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemStatus {
    /// The item's name.
    pub item: String,
    /// Whether the item can be bought now.
    pub state: ItemState,
    /// All units; `null` for unlimited stock.
    #[schema(required = true)]
    pub count: Option<u64>,
    /// Units that are not available now. These are the units of unpaid orders, of paid orders and
    /// of queued requests, and the units that are kept for the waitlist.
    pub access: u64,
    /// Units that are available now; `null` for unlimited stock.
    #[schema(required = true)]
    pub remaining: Option<u64>,
    /// Units reserved and unpaid, which may return.
    pub held: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_phases_and_states_match_their_json() {
        fn check<T: Serialize>(value: T, word: &str) {
            assert_eq!(
                serde_json::to_string(&value).expect("plain data serialises"),
                format!("\"{word}\"")
            );
        }
        for phase in Phase::ALL {
            check(phase, phase.as_str());
            assert_eq!(Phase::parse(phase.as_str()), Some(phase));
        }
        for state in ItemState::ALL {
            check(state, state.as_str());
        }
        for state in crate::order::OrderState::ALL {
            check(state, state.as_str());
            assert_eq!(crate::order::OrderState::parse(state.as_str()), Some(state));
        }
    }
}
