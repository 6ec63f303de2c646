//! Endpoints of the waiting room: a buyer's entry, and the draw that ranks the entries.

use super::buyers::BUYER_ENDPOINT;
use super::operators::VIEWER_ENDPOINT;
use super::response::{created, no_content, ok};
use super::{Auth, Content, Endpoint, Method, Param, ResponseHeader, SuccessResponse, json_body};
use crate::gate::{Draw, NewWaitingRoomPosition, WaitingRoomPosition};
use crate::problem::Code;

endpoints!(
    enter_waiting_room = Endpoint {
        method: Method::Post,
        path: "/v1/sales/{sale}/waiting-room",
        summary: "Join a sale's waiting room",
        description: "Each buyer has at most one entry in a waiting room. A repeated request \
            returns this entry. If each item of the sale has a waiting room, the request names the \
            item, and a buyer may wait for several items. Buyers who enter before the opening take \
            part in a draw. Later buyers follow in the order of their arrival. If a buyer did not \
            use an admission in time and joins again, the buyer gets a new entry at the end. If \
            the sale has no waiting room, the response is `404`.",
        body: json_body::<NewWaitingRoomPosition>(),
        may_lack_body: true,
        responses: &[
            ok::<WaitingRoomPosition>("The buyer's existing entry."),
            created::<WaitingRoomPosition>("A new entry."),
        ],
        codes: &[Code::Forbidden, Code::Ended, Code::RateLimited],
        ..BUYER_ENDPOINT
    },
    get_place = Endpoint {
        path: "/v1/sales/{sale}/waiting-room",
        summary: "Read the buyer's own entry in a sale's waiting room",
        description: "The server answers from memory, so a client may poll every few seconds. \
            Events report changes sooner. If the buyer has no entry, or the admission has \
            expired, the response is `404`.",
        params: &[Param::RoomItem],
        responses: &[ok::<WaitingRoomPosition>("The entry's present state.")],
        codes: &[Code::Forbidden, Code::RateLimited],
        ..BUYER_ENDPOINT
    },
    leave_waiting_room = Endpoint {
        method: Method::Delete,
        path: "/v1/sales/{sale}/waiting-room",
        summary: "Leave a sale's waiting room",
        description: "If the buyer is not in the waiting room, the response is `204` as well. If \
            the buyer was admitted, the admission ends at once. The buyer's lot stays in the draw. \
            A buyer can enter again. If the server has not reached the buyer's old position yet, \
            the buyer gets this position back.",
        params: &[Param::RoomItem],
        responses: &[no_content("The buyer has no entry.")],
        codes: &[Code::Forbidden, Code::RateLimited],
        ..BUYER_ENDPOINT
    },
    get_draw = Endpoint {
        path: "/v1/sales/{sale}/draw",
        auth: Auth::Public,
        summary: "Read the draw of a sale's waiting room",
        description: "The commitment is the SHA-256 of the seed. The server shows the commitment \
            before the first buyer enters, and the seed after the sale has opened. A participant's \
            lot is an HMAC-SHA-256 of the buyer's id. The key is the seed's 32 bytes. The server \
            admits the participants in the order of their lots, the smallest first. If each item \
            has a waiting room, all draws have the same seed, and the message of the HMAC is the \
            item's name, a zero byte and the buyer's id.",
        params: &[Param::RoomItem],
        responses: &[ok::<Draw>("The draw.").headers(&[ResponseHeader::CacheControl])],
        ..BUYER_ENDPOINT
    },
    export_draw = Endpoint {
        path: "/v1/admin/sales/{sale}/draw.csv",
        summary: "Export the participants of a sale's draw, sorted by rank",
        description: "Streams the list after the sale has opened. Before the opening, the order of \
            the participants is secret.",
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
