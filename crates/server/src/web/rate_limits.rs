//! Limits on what buyers ask for beside a purchase: challenges, passes, the waiting room, the line,
//! checkouts. Every answer on these addresses says where the caller stands, a purchase's too: with
//! the sale's limits, or with those by default where it is about no sale.
//!
//! Blocks and limits are asked by the handlers, once, of the sale that they serve: nothing is
//! checked of a name that was read in another way than theirs.

use std::sync::LazyLock;

use axum::extract::{FromRequestParts, Request};
use axum::response::Response;
use doorbuster_api::admin::front_door::Limits;
use doorbuster_api::problem::Problem;
use doorbuster_core::{BuyerId, Phase};
use http::HeaderMap;

use super::App;
use super::identity::{Buyer, Client};
use super::input::PathNames;
use super::refusals::BLOCKED;
use crate::catalogue::SaleState;
use crate::gate::{Caller, LimitRules, RateLimitExceeded, RateLimitStatus, Route};

/// A request on a limited address.
#[derive(Debug)]
pub(crate) struct LimitedRequest {
    route: Route,
    sale: Option<String>,
    /// Who asks, if that was proved.
    buyer: Option<BuyerId>,
    client: Client,
}

/// The sale that an answer is about whose address does not name it: an extension of the answer,
/// which its handler leaves there.
#[derive(Clone, Debug)]
pub(crate) struct ResponseSale(pub String);

impl LimitedRequest {
    /// What a request to this path of the table is, if it is limited.
    pub(crate) async fn from_request(path: &str, request: Request) -> (Option<Self>, Request) {
        let route = match path {
            "/v1/sales/{sale}/challenges" => Route::Challenge,
            "/v1/sales/{sale}/passes" => Route::Pass,
            "/v1/sales/{sale}/waiting-room" => Route::Room,
            // Whoever stands in line asks for units.
            "/v1/sales/{sale}/items/{item}/waitlist" => Route::Purchase,
            "/v1/orders/{order}/checkout" => Route::Checkout,
            _ => return (None, request),
        };
        let (mut parts, body) = request.into_parts();
        let sale = match route {
            Route::Checkout => None,
            Route::Purchase => PathNames::from_request_parts(&mut parts, &())
                .await
                .ok()
                .map(|PathNames([sale, _])| sale),
            _ => PathNames::from_request_parts(&mut parts, &())
                .await
                .ok()
                .map(|PathNames([sale])| sale),
        };
        let buyer = parts.extensions.get::<Buyer>().map(|Buyer(buyer)| buyer.clone());
        let this = parts.extensions.get::<Client>().map(|client| Self {
            route,
            sale,
            buyer,
            client: *client,
        });
        (this, Request::from_parts(parts, body))
    }

    /// Says in the answer where the caller stands now.
    pub(crate) fn add_status_headers(&self, app: &App, response: &mut Response) {
        let buyer = self.buyer.as_ref().map_or("", BuyerId::as_str);
        let caller = self.client.caller(buyer);
        let about = response.extensions_mut().remove::<ResponseSale>();
        let sale = about.as_ref().map(|ResponseSale(sale)| sale.as_str()).or(self.sale.as_deref());
        app.add_rate_limit_status(self.route, caller, sale, response.headers_mut());
    }
}

/// The limits by default, which are told where an answer is about no sale.
static DEFAULT_RULES: LazyLock<[LimitRules; 3]> = LazyLock::new(|| {
    let limits = Limits::default();
    [
        LimitRules::new(&limits),
        LimitRules::for_challenges(&limits),
        LimitRules::for_checkouts(&limits),
    ]
});

impl App {
    /// Says in an answer where the caller stands, unless it does so already. Who proved to be
    /// nobody stands as one who used nothing up.
    pub(super) fn add_rate_limit_status(
        &self,
        route: Route,
        caller: Caller<'_>,
        sale: Option<&str>,
        headers: &mut HeaderMap,
    ) {
        if RateLimitStatus::is_present(headers) {
            return;
        }
        let catalogue = self.engine.catalogue();
        let sale = sale
            .and_then(|sale| catalogue.sale(sale))
            .filter(|sale| sale.row.phase != Phase::Draft);
        match sale {
            Some(sale) => self
                .gate
                .limits
                .rate_limit_status(route, caller, sale)
                .insert(sale.limits_of(route), headers),
            None => {
                let [plain, challenges, checkouts] = &*DEFAULT_RULES;
                let rules = match route {
                    Route::Challenge => challenges,
                    Route::Checkout => checkouts,
                    Route::Purchase | Route::Pass | Route::Room => plain,
                };
                RateLimitStatus::unused(rules).insert(rules, headers);
            }
        }
    }

    /// Whether operators let this caller buy.
    ///
    /// # Errors
    /// `403 forbidden`.
    pub(crate) fn ensure_not_blocked(
        &self,
        client: Client,
        buyer: &BuyerId,
    ) -> Result<(), Problem> {
        match self.gate.blocks.is_blocked(client.addresses(), buyer.as_str(), self.engine.now()) {
            true => Err(Problem::forbidden(BLOCKED)),
            false => Ok(()),
        }
    }

    /// Whether a request is neither turned away nor one too many, which uses up one. Each handler
    /// of a limited address asks this once, or both parts.
    ///
    /// # Errors `403` or `429`.
    pub(crate) fn admit(
        &self,
        route: Route,
        client: Client,
        buyer: &BuyerId,
        sale: &SaleState,
    ) -> Result<(), Problem> {
        self.ensure_not_blocked(client, buyer)?;
        self.check_rate_limit(route, client, buyer, sale)
    }

    /// Whether a request is within the sale's limits, of which it uses up one.
    ///
    /// # Errors
    /// `429 rate_limited`.
    pub(crate) fn check_rate_limit(
        &self,
        route: Route,
        client: Client,
        buyer: &BuyerId,
        sale: &SaleState,
    ) -> Result<(), Problem> {
        let caller = client.caller(buyer.as_str());
        match self.gate.limits.acquire(route, caller, sale) {
            Ok(_) => Ok(()),
            Err(RateLimitExceeded { scope, retry_after_secs, .. }) => {
                Err(Problem::rate_limited(scope, retry_after_secs))
            }
        }
    }
}
