//! Endpoints for web push.

use super::buyers::BUYER_ENDPOINT;
use super::{Body, Content, Endpoint, JsonType, Method, SuccessResponse};
use crate::header::BodyType;
use crate::problem::Code;
use crate::push::NewPushSubscription;

endpoints!(
    subscribe_push = Endpoint {
        method: Method::Post,
        path: "/v1/push-subscriptions",
        summary: "Get messages when the page is closed",
        description: "For the pages: a message says that it is the buyer's turn in a waiting room, \
            or that units are reserved for the buyer, each with the time until which that holds. \
            Where the shop set no key for push, this is not found. The subscription lasts for 24 \
            hours; a page renews it when it is opened.",
        body: Some(Body {
            media: BodyType::Json,
            json_type: JsonType::for_type::<NewPushSubscription>(),
        }),
        responses: &[SuccessResponse::new(204, Content::None, "The browser gets messages.")],
        codes: &[Code::NotFound],
        ..BUYER_ENDPOINT
    },
    unsubscribe_push = Endpoint {
        method: Method::Delete,
        path: "/v1/push-subscriptions",
        summary: "Get no more messages",
        description: "Removes all subscriptions of the buyer. A browser also ends its own \
            subscription at its push service.",
        responses: &[SuccessResponse::new(204, Content::None, "The subscriptions are removed.")],
        codes: &[Code::NotFound],
        ..BUYER_ENDPOINT
    },
);
