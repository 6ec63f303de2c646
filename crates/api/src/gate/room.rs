//! The waiting room on the wire: a buyer's place, and the draw that anybody can make again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::Time;

/// What a place stands for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlaceState {
    /// The sale has not opened; the place takes part in the draw.
    Before,
    /// It waits to be called in.
    Waiting,
    /// It was called in: its buyer may get a purchase pass.
    Admitted,
    /// More stand before it than there are units left. It waits again as soon as units return.
    Gone,
}

/// In how many seconds a place is expected to be called in, by the measured rate and how sure that
/// is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EstimateSecs {
    /// At the earliest.
    pub from: u64,
    /// At the latest.
    pub to: u64,
}

/// A buyer's place in a sale's waiting room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "place": "plc_d2hhdCBhIHBsYWNlISE", "state": "waiting", "position": 118,
    "estimate_secs": {"from": 95, "to": 140}, "admitted_until": null
})))]
pub struct WaitingPlace {
    /// The place's own name, the same each time this buyer asks.
    pub place: String,
    /// What it stands for now.
    pub state: PlaceState,
    /// How many are called in before it, and 1. `null`: not drawn yet, called in, or the sale is
    /// over.
    pub position: Option<u64>,
    /// When it is expected to be called in. `null`: nobody can say.
    pub estimate_secs: Option<EstimateSecs>,
    /// Until when it is called in.
    pub admitted_until: Option<Time>,
}

/// The draw of a sale's waiting room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "commitment": "sha256:630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd",
    "seed": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "algorithm": "hmac-sha256", "participants": 5
})))]
pub struct Draw {
    /// `sha256:` and the SHA-256 of the seed's 32 bytes, in hexadecimal; shown from the beginning.
    pub commitment: String,
    /// The seed in hexadecimal, once the sale has opened.
    pub seed: Option<String>,
    /// How lots are made from it: `hmac-sha256` of the buyer's id under the seed, the smallest
    /// first.
    pub algorithm: String,
    /// How many take part; final once the seed is shown.
    pub participants: u64,
}
