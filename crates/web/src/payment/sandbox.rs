//! The checkout page of the sandbox, which is a simulated payment provider. The page is the same
//! for every checkout; its script reads the checkout's state as JSON.
//!
//! Anyone who knows the address of a checkout can press its buttons. A real provider's checkout
//! pages also work without a sign-in.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{MethodFilter, MethodRouter, on};
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use doorbuster_payments::sandbox::{ButtonAction, ButtonResult, Sandbox};
use http::{HeaderMap, StatusCode};

use crate::App;
use crate::method_router::get;
use crate::path_names::PathNames;
use crate::reply::{HandlerResult, json, no_store};
use crate::request_body;

/// Returns the path, name and handler of each route of the sandbox.
pub(crate) fn routes() -> Vec<(&'static str, &'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/sandbox/checkout/{session}", "sandbox", get(page)),
        ("/sandbox/checkout/{session}/state", "sandbox", get(state)),
        ("/sandbox/checkout/{session}/{action}", "sandbox", on(MethodFilter::POST, press)),
    ]
}

async fn page(State(app): State<Arc<App>>, headers: HeaderMap) -> HandlerResult {
    sandbox(&app)?;
    app.live().assets.page("sandbox.html", &headers)
}

async fn state(State(app): State<Arc<App>>, PathNames([session]): PathNames<1>) -> HandlerResult {
    let view = sandbox(&app)?.checkout(&session).await?;
    Ok(no_store(json(StatusCode::OK, &view.ok_or_else(no_such_checkout)?)))
}

async fn press(
    State(app): State<Arc<App>>,
    PathNames([session, action]): PathNames<2>,
    request: axum::extract::Request,
) -> HandlerResult {
    request_body::body(request, BODY_BYTES_MAX).await?;
    let action = ButtonAction::parse(&action).ok_or_else(no_such_checkout)?;
    let sandbox = sandbox(&app)?;
    if !app.payments.sandbox_page() {
        let detail = "the buttons work only with serve --demo, or with payment.sandbox_page = true";
        return Err(Problem::forbidden(detail).into());
    }
    match sandbox.press(&session, action).await? {
        ButtonResult::Shown(view) => Ok(no_store(json(StatusCode::OK, &view))),
        ButtonResult::Over(view) => Ok(no_store(json(StatusCode::CONFLICT, &view))),
        ButtonResult::NotFound => Err(no_such_checkout().into()),
    }
}

fn sandbox(app: &App) -> Result<&Sandbox, Problem> {
    app.payments
        .sandbox()
        .ok_or_else(|| Problem::not_found("the sandbox is not the payment provider"))
}

fn no_such_checkout() -> Problem {
    Problem::not_found("there is no such checkout")
}
