//! What anyone may see of a sale: its texts and prices, and the quickly changing status beside
//! them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::front_door::FrontDoor;
use crate::gate::{Asked, ChallengeKind, Room};
use crate::value::{Money, Time};

/// Phase of a sale. Buyers never see a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Being prepared; does not exist for buyers.
    Draft,
    /// Opens by itself at `starts_at`.
    Scheduled,
    /// Selling.
    Open,
    /// Stopped for a while.
    Paused,
    /// Over.
    Closed,
}

impl Phase {
    /// Every phase, in the order of a sale's life.
    pub const ALL: [Phase; 5] =
        [Self::Draft, Self::Scheduled, Self::Open, Self::Paused, Self::Closed];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Scheduled => "scheduled",
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Closed => "closed",
        }
    }

    /// The phase that `word` names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }
}

/// A sale as its buyers see it; cacheable for a minute, so nothing in it changes quickly.
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
    /// What it is called on the page.
    pub title: String,
    /// When it opens, if that is fixed.
    #[schema(required = true)]
    pub starts_at: Option<Time>,
    /// When it closes, if that is fixed.
    #[schema(required = true)]
    pub ends_at: Option<Time>,
    /// What is on sale.
    pub items: Vec<Item>,
}

/// An item as its buyers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    /// The item's name within its sale.
    pub id: String,
    /// What it is called on the page.
    pub title: String,
    /// A longer text, maybe empty.
    pub description: String,
    /// Address of a picture.
    #[schema(required = true)]
    pub image: Option<String>,
    /// Price of one unit.
    pub price: Money,
    /// What it costs elsewhere, to compare.
    #[schema(required = true)]
    pub list_price: Option<Money>,
    /// Most units that one buyer may have of it.
    #[schema(minimum = 1)]
    pub limit_per_buyer: u32,
    /// How long reserved units are held for payment, in seconds.
    #[schema(minimum = 1)]
    pub hold_secs: u32,
}

/// A page of the sales that a buyer may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SaleList {
    /// The sales of this page.
    pub sales: Vec<Sale>,
    /// Give it as `cursor` to read on; `null` at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// What a buyer has to bring to the door, so that a page knows what to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "pass": "required", "challenge": "slider", "waiting_room": "off", "members_only": false, "min_level": 0,
    "access_codes": "off"
})))]
pub struct StatusFrontDoor {
    /// Whether a purchase pass is asked for: also where the sale asks for what only a pass can
    /// prove.
    pub pass: Asked,
    /// Which challenge is asked for.
    pub challenge: ChallengeKind,
    /// Whether there is a waiting room.
    pub waiting_room: Room,
    /// Whether only members may buy.
    pub members_only: bool,
    /// Lowest level that may buy.
    pub min_level: u8,
    /// Whether an access code is asked for with the pass.
    pub access_codes: Asked,
}

impl From<FrontDoor> for StatusFrontDoor {
    fn from(door: FrontDoor) -> Self {
        Self {
            pass: if door.needs_pass() { Asked::Required } else { Asked::Off },
            challenge: door.challenge,
            waiting_room: door.waiting_room,
            members_only: door.members_only,
            min_level: door.min_level,
            access_codes: door.access_codes,
        }
    }
}

/// Whether an item can be bought now, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// The sale has not opened.
    Upcoming,
    /// Units are to be had.
    OnSale,
    /// None left right now; unpaid units may return.
    HeldOut,
    /// None left, and none will return.
    SoldOut,
    /// Stopped for a while.
    Paused,
    /// The sale is over.
    Ended,
}

impl ItemState {
    /// Every state.
    pub const ALL: [ItemState; 6] =
        [Self::Upcoming, Self::OnSale, Self::HeldOut, Self::SoldOut, Self::Paused, Self::Ended];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upcoming => "upcoming",
            Self::OnSale => "on_sale",
            Self::HeldOut => "held_out",
            Self::SoldOut => "sold_out",
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }
}

/// The quickly changing part of a sale; cacheable for a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "server_time": "2026-11-20T10:00:00.250Z", "sale": "spring", "phase": "open", "started": true,
    "starts_at": "2026-11-20T10:00:00.000Z", "ends_at": null, "version": "k3v9x2",
    "front_door": {"pass": "off", "challenge": "off", "waiting_room": "off", "members_only": false, "min_level": 0,
                   "access_codes": "off"},
    "items": [{"item": "phone", "state": "on_sale", "count": 100, "access": 37, "remaining": 63, "held": 12}]
})))]
pub struct Status {
    /// The server's clock when this was made.
    pub server_time: Time,
    /// The sale's name.
    pub sale: String,
    /// Where the sale stands.
    pub phase: Phase,
    /// Whether it has opened; stays true afterwards.
    pub started: bool,
    /// When it opens, if that is fixed.
    #[schema(required = true)]
    pub starts_at: Option<Time>,
    /// When it closes, if that is fixed.
    #[schema(required = true)]
    pub ends_at: Option<Time>,
    /// A random word that changes when the sale opens.
    pub version: String,
    /// What a buyer has to bring.
    pub front_door: StatusFrontDoor,
    /// Each item's numbers.
    pub items: Vec<ItemStatus>,
}

/// One item's numbers: `remaining = count - access`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ItemStatus {
    /// The item's name.
    pub item: String,
    /// Whether it can be bought now.
    pub state: ItemState,
    /// All units; `null` for unlimited stock.
    #[schema(required = true)]
    pub count: Option<u64>,
    /// Units not to be had now: held, paid, or in the queue.
    pub access: u64,
    /// Units to be had now; `null` for unlimited stock.
    #[schema(required = true)]
    pub remaining: Option<u64>,
    /// Units reserved and unpaid, which may return.
    pub held: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_phases_and_states_are_those_that_serde_writes() {
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
