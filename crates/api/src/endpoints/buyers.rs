//! Endpoints for buyers: purchases, orders, sales and events.

use super::operators::VIEWER_ENDPOINT;
use super::response::{NOT_MODIFIED, created, json, no_content, ok};
use super::{
    Auth, Content, Endpoint, EndpointGroup, JsonType, Method, Param, ResponseHeader,
    SuccessResponse, json_body,
};
use crate::body::Purchase;
use crate::buyer_session::BuyerSession;
use crate::event::Event;
use crate::order::{AnyOrder, Order, OrderList, QueuedOrder};
use crate::problem::Code;
use crate::sale::{Sale, SaleList, Status};

pub(super) const BUYER_ENDPOINT: Endpoint =
    Endpoint { group: EndpointGroup::Buying, auth: Auth::Buyer, ..VIEWER_ENDPOINT };

endpoints!(
    purchase = Endpoint {
        method: Method::Post,
        path: "/v1/orders",
        summary: "Buy units of an item",
        description: "The first check that fails decides the response. The server makes the checks \
            in this order: body and headers, identity, sale and item, the key, the sale's phase, \
            blocks, eligibility and pass, rate limits, stock and the buyer's limit. The server \
            stores the key of each order, but not the key of a refused request. So after a \
            refusal, a request with the same key is a new attempt.",
        params: &[Param::IdempotencyKey, Param::Prefer, Param::PurchasePass],
        body: json_body::<Purchase<'static>>(),
        responses: &[
            ok::<Order>("The key already belongs to an order. The body shows the order.")
                .headers(&[ResponseHeader::IdempotentReplayed, ResponseHeader::Location]),
            created::<Order>("The units are reserved.").headers(&[ResponseHeader::Location]),
            SuccessResponse::new(
                202,
                json::<QueuedOrder>(),
                "The request is queued; the verdict follows by `decide_by`.",
            )
            .headers(&[ResponseHeader::Location, ResponseHeader::RetryAfter]),
        ],
        codes: &[
            Code::Forbidden,
            Code::NotEligible,
            Code::PassRequired,
            Code::PassInvalid,
            Code::PassExpired,
            Code::WaitingRoom,
            Code::NotFound,
            Code::SoldOut,
            Code::LimitReached,
            Code::NotStarted,
            Code::Paused,
            Code::Ended,
            Code::IdempotencyKeyReused,
            Code::RateLimited,
        ],
        ..BUYER_ENDPOINT
    },
    list_orders = Endpoint {
        path: "/v1/orders",
        summary: "List the buyer's own orders",
        description: "Lists orders, newest first. Queued and refused requests are not in the list.",
        params: &[Param::State, Param::Cursor, Param::Limit],
        responses: &[ok::<OrderList>("A page of orders.")],
        ..BUYER_ENDPOINT
    },
    get_order = Endpoint {
        path: "/v1/orders/{order}",
        auth: Auth::BuyerOrOperator,
        summary: "Read an order, a waitlist entry, or the verdict on a queued request",
        description: "A buyer may read only the buyer's own orders. The response to a request for \
            another buyer's order is `404`. An operator may read every decided order.",
        responses: &[ok::<AnyOrder>("The object that the id refers to now.")],
        ..BUYER_ENDPOINT
    },
    cancel_order = Endpoint {
        method: Method::Post,
        path: "/v1/orders/{order}/cancel",
        summary: "Cancel an unpaid order",
        description: "The order's units go back on sale. If the order is already cancelled, the \
            server returns it unchanged.",
        responses: &[ok::<Order>("The order, cancelled.")],
        codes: &[Code::WrongState],
        ..BUYER_ENDPOINT
    },
    keep_buyer = Endpoint {
        method: Method::Post,
        path: "/v1/session",
        summary: "Keep the buyer's token in a cookie",
        description: "The pages use this cookie. The cookie contains the token of the header \
            `Authorization`, and expires together with the token. The cookie is `HttpOnly` and `SameSite=Lax`, and behind TLS \
            also `Secure`. If a request has the cookie and no `Authorization`, the server takes \
            the buyer from the cookie. Every such request except `GET` and `HEAD` needs the \
            header `X-Doorbuster-Page: 1`. Without this header, the response is `401`.",
        responses: &[no_content("The cookie is set.")],
        ..BUYER_ENDPOINT
    },
    get_buyer_session = Endpoint {
        path: "/v1/session",
        summary: "Read who the buyer is",
        description: "The cookie or `Authorization` identifies the buyer.",
        responses: &[ok::<BuyerSession>("The buyer.")],
        ..BUYER_ENDPOINT
    },
    forget_buyer = Endpoint {
        method: Method::Delete,
        path: "/v1/session",
        summary: "Remove the buyer's cookie",
        description: "The token itself stays valid until it expires.",
        responses: &[no_content("The cookie is removed.")],
        ..BUYER_ENDPOINT
    },
    list_sales = Endpoint {
        path: "/v1/sales",
        auth: Auth::Public,
        summary: "List the sales that a buyer may see",
        description: "Lists every sale except drafts, with its status. Caches may keep the \
            response for a second, if the address has no query or exactly the query `?limit=48`.",
        params: &[Param::Search, Param::Cursor, Param::Limit, Param::IfNoneMatch],
        responses: &[
            ok::<SaleList>("A page of sales.")
                .headers(&[ResponseHeader::ETag, ResponseHeader::CacheControl]),
            NOT_MODIFIED,
        ],
        ..BUYER_ENDPOINT
    },
    get_sale = Endpoint {
        path: "/v1/sales/{sale}",
        auth: Auth::Public,
        summary: "Read a sale and its items",
        description: "Returns texts, prices, limits and times. Caches may keep the response for a \
            minute.",
        params: &[Param::IfNoneMatch],
        responses: &[
            ok::<Sale>("The sale.").headers(&[ResponseHeader::ETag, ResponseHeader::CacheControl]),
            NOT_MODIFIED,
        ],
        ..BUYER_ENDPOINT
    },
    get_status = Endpoint {
        path: "/v1/sales/{sale}/status",
        auth: Auth::Public,
        summary: "Read a sale's status: its phase and each item's remaining units",
        description: "Caches may keep the response for a second.",
        params: &[Param::IfNoneMatch],
        responses: &[
            ok::<Status>("The status.")
                .headers(&[ResponseHeader::ETag, ResponseHeader::CacheControl]),
            NOT_MODIFIED,
        ],
        ..BUYER_ENDPOINT
    },
    stream_events = Endpoint {
        path: "/v1/events",
        summary: "Follow the buyer's orders and the status of sales, as server-sent events",
        description: "The first event is `hello`. Events can be lost, so read the stored state \
            with `GET`. The server disconnects a reader with more than 1 MiB of unread events. A \
            buyer whom an operator blocks gets no more events.",
        params: &[Param::Follow, Param::LastEventId],
        responses: &[SuccessResponse::new(
            200,
            Content::Events(JsonType::for_type::<Event>()),
            "A stream of events.",
        )
        .headers(&[ResponseHeader::CacheControl])],
        codes: &[Code::Forbidden, Code::NotFound, Code::RateLimited],
        ..BUYER_ENDPOINT
    },
    open_websocket = Endpoint {
        path: "/v1/ws",
        summary: "Follow the buyer's orders and the status of sales, over a WebSocket",
        description: "The subprotocol is `doorbuster.v1`. A browser cannot set `Authorization` for \
            a WebSocket, so the page offers its token as a second subprotocol, `bearer.<JWT>`. If \
            the token is invalid, the server refuses the request before the upgrade. If a reader \
            has more than 1 MiB of unread events, the server closes the connection with code 1013. \
            If an operator blocks the buyer, the code is 1008.",
        params: &[Param::Follow],
        responses: &[SuccessResponse::new(
            101,
            Content::WebSocket(JsonType::for_type::<Event>()),
            "The connection becomes a WebSocket; each text frame is an event.",
        )],
        codes: &[Code::Forbidden, Code::NotFound, Code::RateLimited],
        ..BUYER_ENDPOINT
    },
);
