//! The waiting room: a buyer's entry in it, and its draw.

use super::buyers::BUYER_ENDPOINT;
use super::operators::VIEWER_ENDPOINT;
use super::response::{json, ok};
use super::{
    Auth, Body, Content, Endpoint, JsonType, Method, Param, ResponseHeader, SuccessResponse,
};
use crate::gate::{Draw, NewWaitingRoomPosition, WaitingRoomPosition};
use crate::header::BodyType;
use crate::problem::Code;

endpoints!(
    enter_waiting_room = Endpoint {
        method: Method::Post,
        path: "/v1/sales/{sale}/waiting-room",
        summary: "Join a sale's waiting room",
        description: "Each buyer has at most one entry in a waiting room, and a repeated request returns the \
            entry. If each item of the sale has a waiting room, the request names the item, and a buyer may wait \
            for several items. Buyers who join before the opening are shuffled; later buyers follow in the order of \
            arrival. A buyer who did not use an admission in time gets a new entry at the end. `404` if the \
            sale has no waiting room.",
        body: Some(Body {
            media: BodyType::Json,
            json_type: JsonType::for_type::<NewWaitingRoomPosition>(),
        }),
        may_lack_body: true,
        responses: &[
            ok::<WaitingRoomPosition>("The buyer's existing entry."),
            SuccessResponse::new(201, json::<WaitingRoomPosition>(), "A new entry."),
        ],
        codes: &[Code::Forbidden, Code::Ended, Code::RateLimited],
        ..BUYER_ENDPOINT
    },
    get_place = Endpoint {
        path: "/v1/sales/{sale}/waiting-room",
        summary: "Read the buyer's own entry in a sale's waiting room",
        description: "The server answers from memory, so a client may poll every few seconds; events \
            report changes sooner. `404` if the buyer has no entry or the admission has expired.",
        params: &[Param::RoomItem],
        responses: &[ok::<WaitingRoomPosition>("The entry's present state.")],
        codes: &[Code::Forbidden, Code::RateLimited],
        ..BUYER_ENDPOINT
    },
    leave_waiting_room = Endpoint {
        method: Method::Delete,
        path: "/v1/sales/{sale}/waiting-room",
        summary: "Leave a sale's waiting room",
        description: "Succeeds also if the buyer has no entry. An admission ends at once. A buyer \
            who joins again gets the same position, unless its turn has passed. The buyer's lot \
            stays in the draw.",
        params: &[Param::RoomItem],
        responses: &[SuccessResponse::new(204, Content::None, "The buyer has no entry.")],
        codes: &[Code::Forbidden, Code::RateLimited],
        ..BUYER_ENDPOINT
    },
    get_draw = Endpoint {
        path: "/v1/sales/{sale}/draw",
        auth: Auth::Public,
        summary: "Read the draw of a sale's waiting room",
        description: "The commitment is published before the first buyer joins; the seed is shown \
            once the sale has opened. A participant's lot is HMAC-SHA-256 of the buyer's id under \
            the seed's 32 bytes. If each item has a waiting room, all draws have the same seed, and the message \
            is the item's name, a zero byte and the buyer's id. Participants are admitted in the order of their lots, the \
            smallest first.",
        params: &[Param::RoomItem],
        responses: &[ok::<Draw>("The draw.").headers(&[ResponseHeader::CacheControl])],
        ..BUYER_ENDPOINT
    },
    export_draw = Endpoint {
        path: "/v1/admin/sales/{sale}/draw.csv",
        summary: "Export the participants of a sale's draw, in their order",
        description: "The list is available once the sale has opened, as a stream. Before, the order is secret.",
        params: &[Param::RoomItem],
        responses: &[SuccessResponse::new(
            200,
            Content::Csv("rank,buyer"),
            "The line `rank,buyer`, then one line for each participant.",
        )],
        codes: &[Code::WrongState],
        ..VIEWER_ENDPOINT
    },
);
