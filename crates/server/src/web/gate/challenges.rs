//! Challenges over HTTP.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::gate::ChallengeRequest;
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::{Problem, Scope};
use doorbuster_core::Phase;
use http::StatusCode;

use crate::gate::ChallengeFault;
use crate::web::App;
use crate::web::failure::failed;
use crate::web::input::{self, Names};
use crate::web::limits::RETRY_SECS;
use crate::web::reply::{Answer, Refused, json};
use crate::web::sales::shown_or_new;
use crate::web::who::Buyer;

/// `POST /v1/sales/{sale}/challenges`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    Names([sale]): Names<1>,
    request: axum::extract::Request,
) -> Answer {
    let body = input::body(request, BODY_BYTES_MAX).await?;
    let asked = ChallengeRequest::from_json(&body)?;
    let sale = shown_or_new(&app, &sale).await?;
    if sale.row.phase == Phase::Closed {
        return Err(Problem::ended().into());
    }
    if sale.door.challenge.is_off() {
        return Err(Problem::not_found("this sale asks for no challenge").into());
    }
    let kind = asked.kind.unwrap_or(sale.door.challenge);
    let offered = app.gate.challenges.offer(app.engine.now(), &sale.row.id, &buyer, kind).await;
    let challenge = offered.ok_or_else(|| Problem::overloaded(RETRY_SECS))?;
    Ok(json(StatusCode::CREATED, &challenge))
}

/// What an answer that does not count is answered.
pub(crate) fn refused(fault: ChallengeFault) -> Refused {
    match fault {
        ChallengeFault::Failed => Problem::challenge_failed().into(),
        ChallengeFault::TooMany { retry_secs } => Problem::rate_limited(Scope::Buyer, retry_secs).into(),
        ChallengeFault::Store(error) => failed(error),
    }
}
