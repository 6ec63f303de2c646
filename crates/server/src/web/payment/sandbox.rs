//! The sandbox's checkout page: the same bytes for every checkout, what it shows as JSON, and its buttons.
//!
//! Whoever has the address of a checkout may press them, as at any provider.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{MethodFilter, MethodRouter, on};
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::Problem;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::payment::sandbox::{Action, Desk, Done, Sandbox};
use crate::web::App;
use crate::web::failure::failed;
use crate::web::input::{self, Names};
use crate::web::reply::{Answer, Reply, json};
use crate::web::router::get;

/// Paths of the sandbox: path, name of the route, handler.
pub(crate) fn routes() -> Vec<(&'static str, &'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/sandbox/checkout/{session}", "sandbox", get(page)),
        ("/sandbox/checkout/{session}/state", "sandbox", get(state)),
        ("/sandbox/checkout/{session}/{action}", "sandbox", on(MethodFilter::POST, press)),
    ]
}

async fn page(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer {
    sandbox(&app)?;
    app.assets.page("sandbox.html", &headers)
}

async fn state(State(app): State<Arc<App>>, Names([session]): Names<1>) -> Answer {
    let desk = sandbox(&app)?.show(&session).await.map_err(failed)?;
    Ok(shown(StatusCode::OK, &desk.ok_or_else(nothing)?))
}

async fn press(
    State(app): State<Arc<App>>,
    Names([session, action]): Names<2>,
    request: axum::extract::Request,
) -> Answer {
    input::body(request, BODY_BYTES_MAX).await?;
    let action = Action::parse(&action).ok_or_else(nothing)?;
    let sandbox = sandbox(&app)?;
    if !app.payments.sandbox_page() {
        let detail = "the buttons work in a demonstration, or with payment.sandbox_page = true";
        return Err(Problem::forbidden(detail).into());
    }
    match sandbox.press(&session, action).await.map_err(failed)? {
        Done::Shown(desk) => Ok(shown(StatusCode::OK, &desk)),
        Done::Over(desk) => Ok(shown(StatusCode::CONFLICT, &desk)),
        Done::NotFound => Err(nothing().into()),
    }
}

fn sandbox(app: &App) -> Result<&Sandbox, Problem> {
    app.payments.sandbox().ok_or_else(|| Problem::not_found("payments are not made here"))
}

fn nothing() -> Problem {
    Problem::not_found("there is no such checkout")
}

fn shown(status: StatusCode, desk: &Desk) -> Reply {
    let mut reply = json(status, desk);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
