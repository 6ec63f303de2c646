//! Endpoints of an item's waitlist.

use super::buyers::BUYER_ENDPOINT;
use super::response::{created, no_content, ok};
use super::{Endpoint, Method, Param, ResponseHeader};
use crate::order::{AnyOrder, WaitingOrder};
use crate::problem::Code;

endpoints!(
    join_waitlist = Endpoint {
        method: Method::Post,
        path: "/v1/sales/{sale}/items/{item}/waitlist",
        summary: "Join the waitlist of an item in the state `held_out`",
        description: "An entry is for one unit, and a buyer has at most one entry for an item. \
            When a unit comes back, the first entry becomes an order under the entry's id before \
            other buyers can buy the unit. The buyer must pay the order within 5 minutes, or \
            within the item's own payment window if this window is shorter. A buyer who let such \
            an order expire, or cancelled it, cannot join that waitlist again. The response is \
            then `wrong_state`. A waitlist has at most as many entries as there are held and kept \
            units. If the waitlist is full, the response is `waitlist_full`. The front door has \
            the same requirements as for a purchase. For the rate limits, the request counts as \
            one purchase. The first check that fails decides the response. The server makes the \
            checks in this order: identity, the key, sale and item, the phase, eligibility and \
            pass, rate limits, stock, the buyer's limit, the waitlist.",
        params: &[Param::IdempotencyKey, Param::PurchasePass],
        responses: &[
            ok::<AnyOrder>("The buyer's existing entry, or the order with this request key.")
                .headers(&[ResponseHeader::IdempotentReplayed, ResponseHeader::Location]),
            created::<AnyOrder>("A new entry, which may already have become an order.")
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
    get_waitlist_entry = Endpoint {
        path: "/v1/sales/{sale}/items/{item}/waitlist",
        summary: "Read the buyer's own entry in an item's waitlist",
        description: "If the buyer has no entry, the response is `404`. To read the result of an \
            entry, read the order with the entry's id.",
        responses: &[ok::<WaitingOrder>("The entry's present state.")],
        ..BUYER_ENDPOINT
    },
    leave_waitlist = Endpoint {
        method: Method::Delete,
        path: "/v1/sales/{sale}/items/{item}/waitlist",
        summary: "Leave an item's waitlist",
        description: "If the buyer is not on the waitlist, the response is `204` as well. If \
            the entry became an order, the response is `wrong_state` with the order's state.",
        responses: &[no_content("The buyer has no entry.")],
        codes: &[Code::WrongState],
        ..BUYER_ENDPOINT
    },
);
