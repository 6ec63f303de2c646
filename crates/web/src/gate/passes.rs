//! `POST /v1/sales/{sale}/passes`: checks a request for a pass and issues the pass. The API's
//! contract defines the order of the checks.

use std::sync::Arc;

use axum::extract::State;
use doorbuster_api::gate::{NewPass, Pass};
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::{Code, Problem, Requirement};
use doorbuster_core::gate::pass::{ISSUE_EARLY_MS, Membership, PassTerms};
use doorbuster_core::{BuyerId, Millis, Phase};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::purchase::{Refusal, phase_refusal};
use doorbuster_engine::sale_limits::Route;
use doorbuster_engine::sale_room::SaleRoom;
use doorbuster_gate::waiting_room::Admission;
use doorbuster_gate::{access_codes, eligibility_refusal};
use doorbuster_steps::memory::unless_stale;
use http::StatusCode;

use crate::App;
use crate::gate::{challenges, waiting_room};
use crate::identity::{Buyer, BuyerMembership, ClientAddress};
use crate::path_names::PathNames;
use crate::refusals::refusal_problem;
use crate::reply::{HandlerError, HandlerResult, json};
use crate::request_body::JsonBody;
use crate::sales::find_sale;

/// `POST /v1/sales/{sale}/passes`
pub(crate) async fn issue(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    BuyerMembership(membership): BuyerMembership,
    client: ClientAddress,
    PathNames([sale]): PathNames<1>,
    JsonBody(body): JsonBody<BODY_BYTES_MAX>,
) -> HandlerResult {
    let wanted = NewPass::from_json(&body)?;
    let sale = find_sale(&app, &sale).await?;
    let item = sale.item(&wanted.item).cloned();
    let made = issue_pass(&app, &sale, &buyer, membership, client, wanted).await;
    let refused = made.as_ref().err().map(|refused| refused.problem.code());
    app.gate.passes.count(refused.map_or("issued", Code::as_str));
    if let (Some(item), Some(code)) = (item, refused) {
        app.node.note_refusal(&item, buyer.as_str(), code, app.node.now());
    }
    Ok(json(StatusCode::CREATED, &made?))
}

async fn issue_pass(
    app: &App,
    sale: &SaleState,
    buyer: &BuyerId,
    membership: Membership,
    client: ClientAddress,
    wanted: NewPass,
) -> Result<Pass, HandlerError> {
    let item =
        sale.item(&wanted.item).ok_or_else(|| Problem::not_found("the sale has no such item"))?;
    let opening = opens_at(app, sale).map_err(|refusal| refusal_problem(&refusal))?;
    app.ensure_not_blocked(client, buyer)?;
    if let Some(refusal) = eligibility_refusal(sale, membership) {
        return Err(refusal_problem(&Refusal::AtDoor(refusal)).into());
    }
    let room = sale.room_of(item);
    app.check_rate_limit(Route::Pass, client, buyer, sale).await?;
    // A pass never lasts longer than the buyer's admission, because the next visitor is admitted
    // when the admission ends.
    let (until, issued_without_room) = match app
        .gate
        .room
        .admission(&app.node, room, buyer)
        .await
        .map_err(waiting_room::room_problem)?
    {
        // No waiting room is open. A waiting room that opens later makes this pass invalid, so the
        // pass says that it was issued without a room.
        Admission::NotNeeded => (Millis(i64::MAX), true),
        Admission::AdmittedUntil(until) => (keep_turn(app, room, buyer, until).await?, false),
        Admission::MustWait => return Err(Problem::waiting_room().into()),
    };
    check_challenge(app, sale, buyer, &wanted, until).await?;
    let now = app.node.now();
    check_token_outlives(until, now)?;
    let valid_from = opening.max(now);
    let terms = PassTerms {
        buyer: buyer.as_str(),
        membership,
        issued_without_room,
        valid_from,
        expires_at: until,
    };
    let pass = app.gate.passes.issue(now, terms, &sale.row.id, &item.row.name);
    Ok(Pass {
        pass: pass.text,
        item: wanted.item,
        valid_from: api_conversion::time(valid_from),
        expires_at: api_conversion::time(pass.expires_at),
    })
}

/// Extends the buyer's turn, because a buyer who requests a pass is active. Returns the new end of
/// the turn.
async fn keep_turn(
    app: &App,
    room: SaleRoom<'_>,
    buyer: &BuyerId,
    until: Millis,
) -> Result<Millis, HandlerError> {
    let kept = app.gate.room.keep_turn(&app.node, room, buyer, until).await;
    kept.map_err(waiting_room::room_problem)
}

/// Returns when the sale opens or opened. Fails if the sale issues no passes now.
fn opens_at(app: &App, sale: &SaleState) -> Result<Millis, Refusal> {
    let starts_at = sale.row.starts_at;
    match (sale.row.phase, starts_at) {
        (Phase::Scheduled, Some(starts_at)) if app.node.now().plus(ISSUE_EARLY_MS) >= starts_at => {
            Ok(starts_at)
        }
        (Phase::Open, _) if !sale.is_draining() => Ok(sale.row.opened_at.unwrap_or(Millis(0))),
        _ => {
            let refusal = phase_refusal(&app.node, sale)
                .unwrap_or(Refusal::NotStarted { opens_at: starts_at });
            Err(unless_stale(app.node.memory_age_ms(), refusal))
        }
    }
}

/// Fails if the buyer's admission, which ends at `until`, has ended. This can happen while the
/// other checks run. The next visitor is then admitted in this buyer's place.
fn check_token_outlives(until: Millis, now: Millis) -> Result<(), Problem> {
    if until <= now { Err(Problem::waiting_room()) } else { Ok(()) }
}

/// Checks the challenge and then the access code. Each check uses up the challenge or the code. So
/// before each check, this function fails if the buyer's admission has ended.
async fn check_challenge(
    app: &App,
    sale: &SaleState,
    buyer: &BuyerId,
    wanted: &NewPass,
    until: Millis,
) -> Result<(), HandlerError> {
    let code = match (&wanted.access_code, sale.front_door.access_codes.is_required()) {
        (Some(code), true) => Some(code),
        (None, true) => return Err(Problem::not_eligible(Requirement::AccessCode).into()),
        (_, false) => None,
    };
    check_token_outlives(until, app.node.now())?;
    challenges::redeem(app, sale, buyer, wanted.challenge.as_deref(), wanted.answer.as_ref())
        .await?;
    check_token_outlives(until, app.node.now())?;
    if let Some(code) = code
        && !access_codes::spend(app.node.store(), &sale.row.id, code, buyer).await?
    {
        return Err(Problem::not_eligible(Requirement::AccessCode).into());
    }
    Ok(())
}
