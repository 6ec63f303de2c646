//! Challenges.

use super::buyers::BUYER_ENDPOINT;
use super::response::json;
use super::{Body, Endpoint, JsonType, Method, SuccessResponse};
use crate::gate::{Challenge, ChallengeRequest};
use crate::header::BodyType;
use crate::problem::Code;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint {
    method: Method::Post,
    path: "/v1/sales/{sale}/challenges",
    id: "get_challenge",
    summary: "Get a challenge, whose answer a purchase pass asks for",
    description: "For this buyer and this sale, once, within two minutes; it is spent by its first answer, right or \
        wrong. Any kind may be asked for: `pow` needs no eyes and no hand, and is always there. A sale that asks for no \
        challenge has none: `404`.",
    body: Some(Body { media: BodyType::Json, json_type: JsonType::for_type::<ChallengeRequest>() }),
    responses: &[SuccessResponse::new(201, json::<Challenge>(), "The challenge.")],
    codes: &[Code::Forbidden, Code::Ended, Code::RateLimited],
    ..BUYER_ENDPOINT
}];
