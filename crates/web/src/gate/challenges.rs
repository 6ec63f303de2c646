//! Creates challenges.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::gate::{Challenge, ChallengeAnswer, ChallengeRequest};
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::{Problem, RateLimitScope};
use doorbuster_api::value::Time;
use doorbuster_challenge::{CAPTCHA_HEIGHT, CAPTCHA_WIDTH, PUZZLE_HEIGHT, PUZZLE_WIDTH};
use doorbuster_core::{BuyerId, Phase};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::sale_limits::Route;
use doorbuster_gate::{ChallengeContent, ChallengeFault, IssuedChallenge};
use futures_util::future::try_join_all;
use http::StatusCode;

use crate::App;
use crate::gate::waiting_room::room_problem;
use crate::identity::{Buyer, ClientAddress};
use crate::limits::RETRY_SECS;
use crate::path_names::PathNames;
use crate::reply::{HandlerError, HandlerResult, json};
use crate::request_body::OptionalJsonBody;
use crate::sales::find_sale;

/// `POST /v1/sales/{sale}/challenges`
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    client: ClientAddress,
    PathNames([sale]): PathNames<1>,
    OptionalJsonBody(body): OptionalJsonBody<BODY_BYTES_MAX>,
) -> HandlerResult {
    let wanted = ChallengeRequest::from_json(&body)?;
    let sale = find_sale(&app, &sale).await?;
    if sale.row.phase == Phase::Closed {
        return Err(Problem::ended().into());
    }
    if sale.front_door.challenge.is_off() {
        return Err(Problem::not_found("this sale requires no challenge").into());
    }
    app.admit(Route::Challenge, client, &buyer, &sale).await?;
    keep_turn(&app, &sale, &buyer).await?;
    let kind = wanted.kind.unwrap_or(sale.front_door.challenge);
    let offered = app
        .gate
        .challenges
        .issue(app.node.now(), &sale.row.id, &buyer, kind, sale.front_door.pow_effort)
        .await;
    let IssuedChallenge { token, until, shown } =
        offered.ok_or_else(|| Problem::overloaded(RETRY_SECS))?;
    Ok(json(StatusCode::CREATED, &challenge_view(token, api_conversion::time(until), shown)))
}

/// Extends the turns of a buyer whom a waiting room has admitted, because the buyer is active. A
/// challenge is not for one item, so the turns in all rooms of the sale are extended. The
/// extensions run concurrently, so that one batch of writes contains all of them.
async fn keep_turn(app: &App, sale: &SaleState, buyer: &BuyerId) -> Result<(), HandlerError> {
    let rooms = &app.gate.room;
    let kept = sale.rooms().map(|room| rooms.keep_turn_if_admitted(&app.node, room, buyer));
    try_join_all(kept).await.map(drop).map_err(room_problem)
}

fn challenge_view(challenge: String, expires_at: Time, shown: ChallengeContent) -> Challenge {
    match shown {
        ChallengeContent::Image { image } => Challenge::Image {
            challenge,
            expires_at,
            image,
            width: CAPTCHA_WIDTH,
            height: CAPTCHA_HEIGHT,
        },
        ChallengeContent::Slider { background, piece, piece_y } => {
            let (width, height) = (PUZZLE_WIDTH, PUZZLE_HEIGHT);
            Challenge::Slider { challenge, expires_at, background, piece, width, height, piece_y }
        }
        ChallengeContent::WorkChallenge { altcha, tries_max } => {
            Challenge::Pow { challenge, expires_at, altcha, tries_max }
        }
    }
}

/// Checks the answer to a challenge, if the sale requires one. Each challenge can be answered only
/// once, even if the answer is wrong.
///
/// # Errors
///
/// If the request contains no challenge or no answer, or if the answer is not accepted.
pub(crate) async fn redeem(
    app: &App,
    sale: &SaleState,
    buyer: &BuyerId,
    challenge: Option<&str>,
    answer: Option<&ChallengeAnswer>,
) -> Result<(), HandlerError> {
    if sale.front_door.challenge.is_off() {
        return Ok(());
    }
    let (Some(challenge), Some(answer)) = (challenge, answer) else {
        return Err(Problem::challenge_required().into());
    };
    let store = app.node.store();
    app.gate
        .challenges
        .redeem(store, &sale.row.id, buyer, challenge, answer)
        .await
        .map_err(challenge_problem)
}

fn challenge_problem(fault: ChallengeFault) -> HandlerError {
    match fault {
        ChallengeFault::Failed => Problem::challenge_failed().into(),
        ChallengeFault::TooMany { retry_secs } => {
            Problem::rate_limited(RateLimitScope::Buyer, retry_secs).into()
        }
        ChallengeFault::Store(error) => error.into(),
    }
}
