//! Endpoints for purchase passes and access codes. In some sales, a pass requires an access code.

use super::buyers::BUYER_ENDPOINT;
use super::operators::{OPERATOR_ENDPOINT, VIEWER_ENDPOINT};
use super::response::{created, ok};
use super::{Endpoint, Method, json_body};
use crate::admin::access_codes::{CodeCounts, CreatedCodes, NewCodes};
use crate::gate::{NewPass, Pass};
use crate::problem::Code;

endpoints!(
    issue_pass = Endpoint {
        method: Method::Post,
        path: "/v1/sales/{sale}/passes",
        summary: "Get a purchase pass for an item",
        description: "The server issues passes from 60 seconds before the opening. The first check \
            that fails decides the response. The server makes the checks in this order: identity, \
            body, sale and item, the sale's phase, blocks, membership and level, rate limits, the \
            waiting room, the presence of a required access code, the challenge, the validity of \
            the access code. The buyer's first answer uses up the challenge. When the server \
            issues the pass, it counts one use of the access code. The same buyer may use the \
            code again.",
        body: json_body::<NewPass>(),
        responses: &[created::<Pass>("The pass.")],
        codes: &[
            Code::Forbidden,
            Code::NotEligible,
            Code::ChallengeRequired,
            Code::ChallengeFailed,
            Code::WaitingRoom,
            Code::NotStarted,
            Code::Paused,
            Code::Ended,
            Code::RateLimited,
        ],
        ..BUYER_ENDPOINT
    },
    create_codes = Endpoint {
        method: Method::Post,
        path: "/v1/admin/sales/{sale}/access-codes",
        summary: "Create access codes for a sale",
        description: "Only this response shows the codes, because the server stores only their \
            hashes. A sale has at most 1,000,000 codes.",
        body: json_body::<NewCodes>(),
        responses: &[created::<CreatedCodes>("The codes.")],
        codes: &[Code::WrongState],
        ..OPERATOR_ENDPOINT
    },
    count_codes = Endpoint {
        path: "/v1/admin/sales/{sale}/access-codes",
        summary: "Read how many access codes a sale has, and how many buyers used them",
        responses: &[ok::<CodeCounts>("The counts.")],
        ..VIEWER_ENDPOINT
    },
);
