//! The line of an item that is held out: who waits there has the next unit that comes back.

use super::buyers::BUYER_ENDPOINT;
use super::response::{json, ok};
use super::{Content, Endpoint, Method, Param, ResponseHeader, SuccessResponse};
use crate::order::{AnyOrder, WaitingOrder};
use crate::problem::Code;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        method: Method::Post,
        path: "/v1/sales/{sale}/items/{item}/waitlist",
        id: "join_waitlist",
        summary: "Stand in line for a unit of an item that is held out",
        description: "A place is for one unit, and a buyer has one place of an item. When a unit comes back, it becomes an order of the first in line \
            before others can buy it, under the place's id, to be paid within 5 minutes or the item's own hold if that is shorter. Whoever let such an order \
            lapse, or cancelled it, does not join that line again: `wrong_state`. No more stand in a line than units are held or kept: `waitlist_full`. The front door asks \
            what it asks of a purchase, and the request counts as one. The first check that fails answers, in this order: who asks, the key, sale and \
            item, the phase, eligibility and pass, rate limits, stock, the buyer's limit, the line.",
        params: &[Param::IdempotencyKey, Param::PurchasePass],
        responses: &[
            ok::<AnyOrder>("The place that the buyer had, or the order that the key has.")
                .headers(&[ResponseHeader::IdempotentReplayed, ResponseHeader::Location]),
            SuccessResponse::new(
                201,
                json::<AnyOrder>(),
                "The buyer has this place since now; a unit may have come already.",
            )
            .headers(&[ResponseHeader::Location]),
        ],
        codes: &[
            Code::Forbidden,
            Code::NotEligible,
            Code::PassRequired,
            Code::PassInvalid,
            Code::PassExpired,
            Code::WaitingRoom,
            Code::SoldOut,
            Code::NotHeldOut,
            Code::WaitlistFull,
            Code::LimitReached,
            Code::NotStarted,
            Code::Paused,
            Code::Ended,
            Code::WrongState,
            Code::IdempotencyKeyReused,
            Code::RateLimited,
        ],
        ..BUYER_ENDPOINT
    },
    Endpoint {
        path: "/v1/sales/{sale}/items/{item}/waitlist",
        id: "get_waitlist_entry",
        summary: "Read one's own place in an item's line",
        description: "A buyer who does not wait there: `404`. What became of a place is read as an order, by its id.",
        responses: &[ok::<WaitingOrder>("The place as it stands now.")],
        ..BUYER_ENDPOINT
    },
    Endpoint {
        method: Method::Delete,
        path: "/v1/sales/{sale}/items/{item}/waitlist",
        id: "leave_waitlist",
        summary: "Leave an item's line",
        description: "Also where the buyer has no place there. A place that a unit came for is an order, and is not left: `wrong_state`, with that order's state.",
        responses: &[SuccessResponse::new(204, Content::None, "The buyer does not wait there.")],
        codes: &[Code::WrongState],
        ..BUYER_ENDPOINT
    },
];
