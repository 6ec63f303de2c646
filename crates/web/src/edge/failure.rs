//! The response of the edge to a request that no node answered.

use doorbuster_api::problem::Problem;
use doorbuster_engine::edge::PassFailure;
use http::HeaderValue;

use crate::limits::RETRY_SECS;
use crate::reply::{Reply, no_store, problem};
use crate::request_id::REQUEST_ID;

pub(super) fn reply(failure: PassFailure, id: HeaderValue) -> Reply {
    let mut reply = problem(&failure_problem(failure));
    reply.headers_mut().insert(REQUEST_ID, id);
    no_store(reply)
}

pub(super) fn failure_problem(failure: PassFailure) -> Problem {
    let detail = match failure {
        PassFailure::Unanswered => {
            "the node did not answer; send the same request with the same key again"
        }
        PassFailure::Unsent => {
            "no node behind this edge can be reached and nothing was sent; send the request again"
        }
        PassFailure::FromAnEdge => {
            "another edge names this edge in edge.upstreams; that setting must name nodes"
        }
    };
    Problem::unavailable(detail, RETRY_SECS)
}
