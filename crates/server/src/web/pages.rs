//! Pages for people, with the same bytes for everyone, and guests' identities in a demonstration.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use axum::extract::State;
use axum::routing::{MethodFilter, MethodRouter, on};
use doorbuster_api::header::accepts_explicitly;
use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_api::problem::{Problem, Scope};
use doorbuster_core::TicketId;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::input::PathNames;
use super::limits::{GUEST_TTL, GUESTS_PER_MINUTE};
use super::reply::{Answer, json};
use super::router::get;
use super::sales::shown_or_new;
use super::{App, assets, input, payment};
use crate::auth::{NewToken, token};
use crate::config::AuthSettings;

/// Routes beside the API: path, name, handler.
pub(crate) fn routes(app: &App) -> Vec<(&'static str, &'static str, MethodRouter<Arc<App>>)> {
    let page = |name: &'static str| {
        get(move |State(app): State<Arc<App>>, headers: HeaderMap| async move {
            app.assets.page(name, &headers)
        })
    };
    let mut routes = vec![
        ("/", "page", page("index.html")),
        ("/console", "console", page("console.html")),
        ("/sale/{sale}", "page", get(sale)),
        ("/order/{order}", "page", get(order)),
        ("/assets/{name}", "asset", get(assets::get)),
    ];
    if app.payments.sandbox().is_some() {
        routes.extend(payment::sandbox::routes());
    }
    if app.guests.is_some() {
        routes.push(("/demo/guest", "guest", on(MethodFilter::POST, guest)));
    }
    routes
}

/// The page of a sale. It exists if any node knows the sale.
async fn sale(
    State(app): State<Arc<App>>,
    PathNames([name]): PathNames<1>,
    headers: HeaderMap,
) -> Answer {
    let is_there = shown_or_new(&app, &name).await.is_ok();
    page_reply(&app, is_there, "sale.html", &headers)
}

/// The page of an order. The page exists for every well-formed id, because only the buyer may know
/// whether the order exists.
async fn order(
    State(app): State<Arc<App>>,
    PathNames([id]): PathNames<1>,
    headers: HeaderMap,
) -> Answer {
    page_reply(&app, TicketId::parse(&id).is_some(), "order.html", &headers)
}

fn page_reply(app: &App, is_there: bool, page: &str, headers: &HeaderMap) -> Answer {
    if is_there {
        return app.assets.page(page, headers);
    }
    // A browser asks for HTML and gets a page; another client gets the usual problem.
    if accepts_explicitly(headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes), "text/html") {
        return app.assets.missing_page(page, headers);
    }
    Err(Problem::not_found("there is nothing at this address").into())
}

/// Issues guests' tokens, with a limit per minute.
#[derive(Debug)]
pub(crate) struct GuestSignIn {
    secret: SecretString,
    issuer: Option<String>,
    audience: Option<String>,
    minute: AtomicI64,
    made: AtomicU32,
}

#[derive(Serialize)]
struct GuestToken {
    token: String,
}

impl GuestSignIn {
    pub(crate) fn new(secret: SecretString, auth: &AuthSettings) -> Self {
        Self {
            secret,
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            minute: AtomicI64::new(0),
            made: AtomicU32::new(0),
        }
    }

    fn token(&self, now_ms: i64) -> Result<String, Problem> {
        let minute = now_ms.div_euclid(60_000);
        if self.minute.swap(minute, Ordering::Relaxed) != minute {
            self.made.store(0, Ordering::Relaxed);
        }
        if self.made.fetch_add(1, Ordering::Relaxed) >= GUESTS_PER_MINUTE {
            return Err(Problem::rate_limited(Scope::Interface, 60));
        }
        let name = format!("guest-{:012x}", rand::random::<u64>() >> 16);
        let claims = NewToken {
            iss: self.issuer.as_deref(),
            aud: self.audience.as_deref(),
            ..NewToken::new(&name, now_ms.div_euclid(1_000), GUEST_TTL)
        };
        Ok(token(self.secret.expose_secret().as_bytes(), &claims))
    }
}

/// `POST /demo/guest`, in a demonstration only.
async fn guest(State(app): State<Arc<App>>, request: axum::extract::Request) -> Answer {
    input::body(request, BODY_BYTES_MAX).await?;
    let guests = app
        .guests
        .as_ref()
        .ok_or_else(|| Problem::not_found("only available with `serve --demo`"))?;
    let token = guests.token(app.engine.now().0)?;
    Ok(json(StatusCode::CREATED, &GuestToken { token }))
}
