//! The endpoint that issues challenges.

use super::buyers::BUYER_ENDPOINT;
use super::response::created;
use super::{Endpoint, Method, json_body};
use crate::gate::{Challenge, ChallengeRequest};
use crate::problem::Code;

endpoints!(
    get_challenge = Endpoint {
        method: Method::Post,
        path: "/v1/sales/{sale}/challenges",
        summary: "Get the challenge that a buyer solves for a purchase pass",
        description: "The challenge is for this buyer and this sale, and is valid for two minutes. \
            The buyer's first answer uses up the challenge, even if the answer is wrong. A buyer \
            may request any kind. `pow` needs no sight and no manual skill, and is always \
            available. If the sale requires no challenge, the response is `404`.",
        body: json_body::<ChallengeRequest>(),
        responses: &[created::<Challenge>("The challenge.")],
        codes: &[Code::Forbidden, Code::Ended, Code::RateLimited],
        ..BUYER_ENDPOINT
    },
);
