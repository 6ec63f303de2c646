//! The waiting room in JSON: a buyer's entry, and the data to verify the draw.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::Time;

/// The state of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingRoomPositionState {
    /// The sale has not opened; the entry takes part in the draw.
    Before,
    /// The entry waits to be admitted.
    Waiting,
    /// The entry is admitted: its buyer may get a purchase pass.
    Admitted,
    /// More entries are before this entry than units are left. The entry waits again as soon as
    /// units return.
    Gone,
}

/// The expected number of seconds until an entry is admitted, a range from the measured rate and
/// its uncertainty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EstimateSecs {
    /// The shortest expected time.
    pub from: u64,
    /// The longest expected time.
    pub to: u64,
}

/// A buyer's entry in a sale's waiting room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "place": "plc_d2hhdCBhIHBsYWNlISE", "state": "waiting", "position": 118,
    "estimate_secs": {"from": 95, "to": 140}, "admitted_until": null
})))]
pub struct WaitingRoomPosition {
    /// The entry's id; the same for every request of this buyer.
    pub place: String,
    /// The entry's state.
    pub state: WaitingRoomPositionState,
    /// The number of entries that are admitted before this entry, plus 1. `null` before the draw,
    /// after the admission, and after the end of the sale.
    pub position: Option<u64>,
    /// The expected time until the entry is admitted; `null` without an estimate.
    pub estimate_secs: Option<EstimateSecs>,
    /// The time until which the entry is admitted.
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
    /// `sha256:` and the SHA-256 of the seed's 32 bytes, in hexadecimal; shown before the opening
    /// too.
    pub commitment: String,
    /// The seed in hexadecimal, once the sale has opened.
    pub seed: Option<String>,
    /// The algorithm of the lots: `hmac-sha256` of the buyer's id under the seed. The smallest lot
    /// is first.
    pub algorithm: String,
    /// The number of participants. It no longer changes after the seed is shown.
    pub participants: u64,
}
