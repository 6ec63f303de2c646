//! What operators owe to buyers who leave.

use super::operators::VIEWER_ENDPOINT;
use super::response::ok;
use super::{Auth, Body, Endpoint, JsonType, Method};
use crate::admin::erasures::{Erasure, NewErasure};
use crate::admin::keys::Role;
use crate::header::BodyType;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::Post,
    path: "/v1/admin/erasures",
    id: "erase_buyer",
    auth: Auth::Operator(Role::Admin),
    summary: "Erase a buyer",
    description: "Puts a name that cannot be led back in the place of the buyer's id, and of the keys of the buyer's requests, in every closed \
        sale. What is still on, or still waits for money, stays and is named. Repeating goes on with what can be erased by then.",
    body: Some(Body { media: BodyType::Json, json_type: JsonType::for_type::<NewErasure>() }),
    responses: &[ok::<Erasure>("What was erased, and what has to stay for now.")],
    ..VIEWER_ENDPOINT
}];
