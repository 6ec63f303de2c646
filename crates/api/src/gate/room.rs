//! The waiting room in JSON: a buyer's entry, and the data to verify the draw.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::{object, read};
use crate::problem::Problem;
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
    /// The entry cannot be admitted now, because its position is higher than the number of free
    /// units. When units return, the entry waits again. The state is also `gone` if the entry's
    /// admission or the sale has ended.
    Gone,
}

/// The expected time until an entry is admitted, as a range in seconds. The server computes the
/// range from the measured rate of admissions and the uncertainty of the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EstimateSecs {
    /// The shortest expected time.
    pub from: u64,
    /// The longest expected time.
    pub to: u64,
}

/// A request to join a waiting room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({}), json!({"item": "phone"})))]
pub struct NewWaitingRoomPosition {
    /// The item whose waiting room the buyer joins. Required if each item of the sale has its own
    /// waiting room. Not needed if the sale has one waiting room for all items.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = crate::admin::schema::name, required = false)]
    pub item: Option<String>,
}

impl NewWaitingRoomPosition {
    /// Reads the request. An absent body names no item.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        object(bytes, &["item"], |body| {
            let item = body.optional("item", None, read::not_null(read::name))?;
            Some(Self { item: item.map(Into::into) })
        })
    }
}

/// A buyer's entry in a waiting room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "place": "plc_d2hhdCBhIHBsYWNlISE", "state": "waiting", "position": 118,
    "estimate_secs": {"from": 95, "to": 140}, "admitted_until": null, "item": null
})))]
pub struct WaitingRoomPosition {
    /// The entry's id. A buyer always gets the same id in the same waiting room.
    pub place: String,
    /// The entry's state.
    pub state: WaitingRoomPositionState,
    /// The entry's position. The server admits the entry at position 1 next. `null` before the
    /// draw, after the admission, and after the end of the sale.
    pub position: Option<u64>,
    /// The expected time until the entry is admitted; `null` if the server has no estimate.
    pub estimate_secs: Option<EstimateSecs>,
    /// The time at which the entry's admission ends; `null` if the entry is not admitted.
    pub admitted_until: Option<Time>,
    /// The item of the waiting room; `null` if the waiting room is for the whole sale.
    pub item: Option<String>,
}

/// The draw of a waiting room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "commitment": "sha256:630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd",
    "seed": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "algorithm": "hmac-sha256", "participants": 5, "item": null
})))]
pub struct Draw {
    /// The commitment to the seed: `sha256:`, and then the SHA-256 of the seed's 32 bytes in
    /// hexadecimal. The server shows the commitment even before the sale opens.
    pub commitment: String,
    /// The seed in hexadecimal; `null` before the draw, which happens when the sale opens.
    pub seed: Option<String>,
    /// The algorithm that computes each buyer's lot: `hmac-sha256` with the seed as the key. The
    /// message is the buyer's id. In a draw for one item, the item's name and a zero byte come
    /// before the buyer's id. The buyer with the smallest lot is first.
    pub algorithm: String,
    /// The number of buyers in the draw. After the server shows the seed, this number does not
    /// change.
    pub participants: u64,
    /// The item of the waiting room; `null` if the waiting room is for the whole sale.
    pub item: Option<String>,
}
