//! Events for pages. The JSON is the same in server-sent events and over a WebSocket. Events can be
//! lost, so a client must read the stored state with `GET`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::gate::{EstimateSecs, WaitingRoomPositionState};
use crate::order::AnyOrder;
use crate::sale::Status;
use crate::value::Time;

/// The WebSocket subprotocol that carries these events.
pub const SUBPROTOCOL: &str = "doorbuster.v1";

/// Prefix of the WebSocket subprotocol that contains a browser's token. A browser sends its token
/// in this way, because browsers cannot set headers on a WebSocket.
pub const BEARER_SUBPROTOCOL_PREFIX: &str = "bearer.";

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(examples(
    json!({"type": "hello", "server_time": "2026-11-20T10:00:00.000Z"}),
    json!({"type": "order", "order": {
        "id": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa", "sale": "spring", "item": "phone", "buyer": "alice", "units": 10,
        "state": "refused", "code": "sold_out"}})
))]
pub enum Event {
    /// The event that the server sends first on every connection.
    Hello {
        /// The server's clock.
        server_time: Time,
    },
    /// One of the buyer's own orders has changed, or a queued request has its verdict.
    Order {
        /// The order, or the verdict on a queued request.
        order: AnyOrder,
    },
    /// The new status of a sale that the connection subscribed to.
    Status {
        /// The new status.
        status: Status,
    },
    /// The buyer's new state in a waiting room. For a sale that the connection subscribed to, the
    /// server sends this event for every new state. For any other sale, the server sends this event
    /// only for an admission.
    WaitingRoom {
        /// The sale.
        sale: String,
        /// The item of the waiting room; `null` if the waiting room is for the whole sale.
        item: Option<String>,
        /// The id of the buyer's entry in the waiting room.
        place: String,
        /// The entry's state.
        state: WaitingRoomPositionState,
        /// The entry's position. The server admits the entry at position 1 next.
        position: Option<u64>,
        /// The expected time until the entry is admitted; `null` if the server has no estimate.
        estimate_secs: Option<EstimateSecs>,
        /// The time at which the entry's admission ends; `null` if the entry is not admitted.
        admitted_until: Option<Time>,
    },
    /// The server accepted a newer token on an open WebSocket.
    Renewed {
        /// When the newer token expires.
        expires_at: Time,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_its_type_first() {
        let event = Event::Hello { server_time: Time::from_millis(0) };
        let text = serde_json::to_string(&event).expect("plain data serialises");
        assert_eq!(text, r#"{"type":"hello","server_time":"1970-01-01T00:00:00.000Z"}"#);
        assert_eq!(serde_json::from_str::<Event>(&text).expect("the output must parse"), event);
    }
}
