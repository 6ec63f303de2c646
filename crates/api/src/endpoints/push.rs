//! Endpoints for web push.

use super::buyers::BUYER_ENDPOINT;
use super::response::no_content;
use super::{Endpoint, Method, json_body};
use crate::problem::Code;
use crate::push::NewPushSubscription;

endpoints!(
    subscribe_push = Endpoint {
        method: Method::Post,
        path: "/v1/push-subscriptions",
        summary: "Get messages when the page is closed",
        description: "A message tells the buyer one of two things: it is the buyer's turn in a \
            waiting room, or units are reserved for the buyer. The message has the time at which \
            the turn or the reservation ends. If the settings have no `page.push.key`, the \
            response is `404`. The store keeps the subscription for 24 hours. Each time a page is \
            opened, the page renews its subscription.",
        body: json_body::<NewPushSubscription>(),
        responses: &[no_content("The browser gets messages.")],
        codes: &[Code::NotFound],
        ..BUYER_ENDPOINT
    },
    unsubscribe_push = Endpoint {
        method: Method::Delete,
        path: "/v1/push-subscriptions",
        summary: "Get no more messages",
        description: "Removes all subscriptions of the buyer from the server. The page also ends \
            the browser's subscription at the push service.",
        responses: &[no_content("The subscriptions are removed.")],
        codes: &[Code::NotFound],
        ..BUYER_ENDPOINT
    },
);
