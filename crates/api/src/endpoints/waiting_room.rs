//! The waiting room: a place in it, and its draw.

use super::buyers::BUYER_ENDPOINT;
use super::operators::VIEWER_ENDPOINT;
use super::response::{json, ok};
use super::{Auth, Content, Endpoint, Method, ResponseHeader, SuccessResponse};
use crate::gate::{Draw, WaitingPlace};
use crate::problem::Code;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::Post,
        path: "/v1/sales/{sale}/waiting-room",
        id: "enter_waiting_room",
        summary: "Take a place in a sale's waiting room",
        description: "One place for each buyer: who has one gets it again. Those who come before the opening are \
            shuffled, later ones follow in the order of arrival. Whoever was called in and did not come in time gets a \
            new place at the end. A sale without a waiting room has none to enter: `404`.",
        responses: &[
            ok::<WaitingPlace>("The buyer had this place."),
            SuccessResponse::new(
                201,
                json::<WaitingPlace>(),
                "The buyer has this place since now.",
            ),
        ],
        codes: &[Code::Forbidden, Code::Ended, Code::RateLimited],
        ..BUYER_ENDPOINT
    },
    Endpoint {
        path: "/v1/sales/{sale}/waiting-room",
        id: "get_place",
        summary: "Read one's own place in a sale's waiting room",
        description: "Answered from memory, cheap enough to be asked every few seconds; events tell the same sooner. \
            A buyer without a place, or whose admission has lapsed: `404`.",
        responses: &[ok::<WaitingPlace>("The place as it stands now.")],
        codes: &[Code::Forbidden, Code::RateLimited],
        ..BUYER_ENDPOINT
    },
    Endpoint {
        path: "/v1/sales/{sale}/draw",
        id: "get_draw",
        auth: Auth::Public,
        summary: "Read the draw of a sale's waiting room",
        description: "The commitment stands before anybody enters; the seed is shown once the sale has opened. A \
            participant's lot is HMAC-SHA-256 of the buyer's id under the seed's 32 bytes; the line is in the order of \
            the lots, the smallest first.",
        responses: &[ok::<Draw>("The draw.").headers(&[ResponseHeader::CacheControl])],
        ..BUYER_ENDPOINT
    },
    Endpoint {
        path: "/v1/admin/sales/{sale}/draw.csv",
        id: "export_draw",
        summary: "Export who took part in a sale's draw, in its order",
        description: "Once the sale has opened; before, nobody knows the order. Streamed.",
        responses: &[SuccessResponse::new(
            200,
            Content::Csv("rank,buyer"),
            "The line `rank,buyer`, then one line for each participant.",
        )],
        codes: &[Code::WrongState],
        ..VIEWER_ENDPOINT
    },
];
